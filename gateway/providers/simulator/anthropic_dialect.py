"""Anthropic's Messages: reads a request, writes the message, the named events of a stream and the errors.

Shapes as documented under "Messages" and "Streaming messages" of Anthropic's API reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.providers.simulator.asking import Ask, Tool, count_prompt, invalid, said, typed
from gateway.providers.simulator.framing import Event
from gateway.providers.simulator.problems import Problem, anthropic_type
from gateway.providers.simulator.replying import Reply, ToolUse

_encode = msgspec.json.encode
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_SIGNATURE = "c2ltdWxhdGVk"


class AnthropicDialect:
    """The wire of POST /v1/messages."""

    ping = b'{"type": "ping"}'
    media = "application/json"

    def read(self, body: dict[str, Any]) -> Ask:
        """Read a request; raises RefusedError in Anthropic's words when it is not valid."""
        for name in ("model", "max_tokens", "messages"):
            if body.get(name) is None:
                raise invalid(f"{name}: Field required")
        model = typed(body, "model", str, "a string")
        messages = typed(body, "messages", list, "an array of objects")
        if not messages or not all(isinstance(message, dict) for message in messages):
            raise invalid("messages: at least one message is required")
        choice, tools = _read_tools(body)
        system = said(body.get("system"))
        return Ask(
            model=model,
            stream=bool(typed(body, "stream", bool, "a boolean")),
            question=next((said(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), ""),
            system=system,
            prompt_tokens=count_prompt([*(m.get("content") for m in messages), *([system] if system else [])]),
            max_tokens=typed(body, "max_tokens", int, "an integer"),
            tools=tools,
            tool_choice=choice,
            after_tool=_holds_tool_result(messages[-1].get("content")),
            prefilled=messages[-1].get("role") == "assistant",
        )

    def whole(self, reply: Reply) -> bytes:
        """Return the body of an answer that is not streamed."""
        content = [block.whole for block in _blocks(reply)]
        return _encode(_message(reply, content, _stop_reason(reply), reply.claimed))

    def events(self, reply: Reply) -> Iterator[Event]:
        """Give the events of a stream in order."""
        yield _event("message_start", message=_message(reply, [], None, 1))
        for index, block in enumerate(_blocks(reply)):
            # The name of a tool is a token of its own.
            yield _event("content_block_start", int("name" in block.start), index=index, content_block=block.start)
            if index == 0:
                yield Event(self.ping, b"ping")
            for delta in block.deltas:
                tokens = int(delta["type"] != "signature_delta")
                yield _event("content_block_delta", tokens, index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        stop_reason = _stop_reason(reply)
        if stop_reason is not None:
            ended = {"stop_reason": stop_reason, "stop_sequence": None}
            yield _event("message_delta", delta=ended, usage={"output_tokens": reply.claimed})
        if not reply.behaviour.no_done:
            yield _event("message_stop")

    def problem(self, problem: Problem, shape: str, request_id: str) -> bytes:
        """Return the body of an error."""
        if shape == "detail":
            return _encode({"detail": problem.message})
        error = {"type": anthropic_type(problem.status), "message": problem.message}
        return _encode({"type": "error", "error": error, "request_id": request_id})

    def problem_events(self, problem: Problem, shape: str, request_id: str, _done: bool) -> Iterator[Event]:
        """Give the event of an error in the middle of a stream, which is its last."""
        yield Event(self.problem(problem, shape, request_id), b"error")

    def answer_headers(self, request_id: str, _elapsed: float) -> list[tuple[str, str]]:
        """Return the header fields that every answer carries."""
        return [("request-id", request_id), ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000")]


@dataclass(frozen=True, slots=True)
class _Block:
    """A content block: how a stream opens it, what it adds, and the block as a whole."""

    start: dict[str, Any]
    deltas: tuple[dict[str, Any], ...]
    whole: dict[str, Any]


def _blocks(reply: Reply) -> list[_Block]:
    choice = reply.choices[0]
    blocks = []
    if choice.reasoning:
        thoughts = tuple({"type": "thinking_delta", "thinking": token} for token in choice.reasoning)
        signed = {"type": "signature_delta", "signature": _SIGNATURE}
        whole = {"type": "thinking", "thinking": "".join(choice.reasoning), "signature": _SIGNATURE}
        blocks.append(_Block({"type": "thinking", "thinking": "", "signature": ""}, (*thoughts, signed), whole))
    if choice.tokens or reply.behaviour.empty == "text":
        deltas = tuple({"type": "text_delta", "text": token} for token in choice.tokens)
        whole = {"type": "text", "text": "".join(choice.tokens)}
        blocks.append(_Block({"type": "text", "text": ""}, deltas, whole))
    blocks.extend(_tool_use(call) for call in choice.calls)
    return blocks


def _tool_use(call: ToolUse) -> _Block:
    start = {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": {}}
    try:
        arguments = msgspec.json.decode(call.arguments)
    except msgspec.DecodeError:
        arguments = {}  # in a whole message `input` is an object: half of one cannot be told
    deltas = tuple({"type": "input_json_delta", "partial_json": piece} for piece in call.pieces)
    return _Block(start, deltas, start | {"input": arguments})


def _message(reply: Reply, content: list[dict[str, Any]], stop_reason: str | None, output: int) -> dict[str, Any]:
    tokens = {
        "input_tokens": reply.ask.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
        "service_tier": "standard",
    }
    return {
        "model": reply.model,
        "id": f"msg_01{reply.turn.digest[:22]}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": tokens,
    }


def _event(name: str, tokens: int = 0, **members: Any) -> Event:
    return Event(_encode({"type": name} | members), name.encode(), tokens)


def _stop_reason(reply: Reply) -> str | None:
    choice = reply.choices[0]
    if choice.finish is None:
        return None
    return "refusal" if choice.refused else _STOP_REASONS[choice.finish]


def _read_tools(body: dict[str, Any]) -> tuple[str, tuple[Tool, ...]]:
    offered = typed(body, "tools", list, "an array of objects") or []
    tools = tuple(Tool(t["name"], t.get("input_schema", {})) for t in offered if isinstance(t, dict) and "name" in t)
    choice = typed(body, "tool_choice", dict, "an object") or {}
    match choice.get("type", "auto"):
        case "tool":
            tools = tuple(tool for tool in tools if tool.name == choice.get("name"))
            if not tools:
                raise invalid(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")
            return "required", tools
        case "any":
            return "required", tools
        case "none":
            return "none", tools
    return "auto", tools


def _holds_tool_result(content: Any) -> bool:
    return isinstance(content, list) and any(isinstance(p, dict) and p.get("type") == "tool_result" for p in content)
