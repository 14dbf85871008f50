"""OpenAI's chat completions: reads a request, writes the body, the chunks of a stream and the errors.

The order of members and the chunks (role first, an empty delta at the end, usage without choices) are those of
api.openai.com.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from gateway.providers.simulator.asking import Ask, Tool, count_prompt, invalid, said, typed
from gateway.providers.simulator.framing import DONE, Event
from gateway.providers.simulator.problems import Problem
from gateway.providers.simulator.replying import Choice, Reply, token_logprobs

_encode = msgspec.json.encode
_MOST_CHOICES = 128
_NO_OTHER_TOKENS = {
    "reasoning_tokens": 0,
    "audio_tokens": 0,
    "accepted_prediction_tokens": 0,
    "rejected_prediction_tokens": 0,
}
_ALTERNATIVES = (
    " the",
    " a",
    "\n",
    " and",
    ".",
    " is",
    ",",
    " in",
    " to",
    " of",
    " it",
    " as",
    "!",
    " on",
    " or",
    " at",
    "?",
    " by",
    ":",
    " I",
)
_FILTER_RESULTS = [
    {
        "prompt_index": 0,
        "content_filter_results": {
            kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")
        },
    }
]


class OpenAIDialect:
    """The wire of POST /v1/chat/completions."""

    ping = b""
    media = "application/json"

    def read(self, body: dict[str, Any]) -> Ask:
        """Read a request; raises RefusedError in OpenAI's words when it is not valid."""
        model = typed(body, "model", str, "a string")
        if not model:
            raise invalid("you must provide a model parameter")
        messages = typed(body, "messages", list, "an array of objects")
        if not messages or not all(isinstance(message, dict) for message in messages):
            raise invalid(
                "Invalid 'messages': expected an array with at least one object.", "messages", "invalid_value"
            )
        n = typed(body, "n", int, "an integer")
        if n is not None and not 1 <= n <= _MOST_CHOICES:
            raise invalid(f"Invalid 'n': expected an integer from 1 to {_MOST_CHOICES}.", "n", "invalid_value")
        options = typed(body, "stream_options", dict, "an object") or {}
        choice, tools = _read_tools(body)
        return Ask(
            model=model,
            stream=bool(typed(body, "stream", bool, "a boolean")),
            question=next((said(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), ""),
            system=next((said(m.get("content")) for m in messages if m.get("role") in {"system", "developer"}), ""),
            prompt_tokens=count_prompt(m.get("content") for m in messages),
            n=n or 1,
            max_tokens=typed(body, "max_completion_tokens", int, "an integer")
            or typed(body, "max_tokens", int, "an integer"),
            tools=tools,
            tool_choice=choice,
            after_tool=messages[-1].get("role") == "tool",
            prefilled=messages[-1].get("role") == "assistant",
            logprobs=(typed(body, "top_logprobs", int, "an integer") or 0) if body.get("logprobs") else None,
            schema=_read_schema(typed(body, "response_format", dict, "an object") or {}),
            include_usage=bool(options.get("include_usage")),
        )

    def whole(self, reply: Reply) -> bytes:
        """Return the body of an answer that is not streamed."""
        choices = [] if reply.behaviour.empty == "choices" else [_choice(c, reply) for c in reply.choices]
        body: dict[str, Any] = {
            "id": _id(reply),
            "object": "chat.completion",
            "created": reply.created,
            "model": reply.model,
            "choices": choices,
        }
        if reply.behaviour.usage != "never":
            body["usage"] = _usage(reply)
        return _encode(body | {"service_tier": "default", "system_fingerprint": _fingerprint(reply.model)})

    def events(self, reply: Reply) -> Iterator[Event]:
        """Give the events of a stream in order."""
        behaviour = reply.behaviour
        usage_asked = reply.ask.include_usage and behaviour.usage == "asked"
        chunks = _Chunks(reply, usage_null=usage_asked)
        if behaviour.metadata_chunk:
            yield Event(
                _encode(
                    {
                        "choices": [],
                        "created": 0,
                        "id": "",
                        "model": "",
                        "object": "",
                        "prompt_filter_results": _FILTER_RESULTS,
                    }
                )
            )
        if behaviour.empty == "choices":
            yield Event(chunks.write(b""))
        else:
            yield from self._deltas(reply, chunks)
        if usage_asked or behaviour.usage == "always":
            yield Event(chunks.write(b"", _encode(_usage(reply))))
        if not behaviour.no_done:
            yield Event(DONE)

    def _deltas(self, reply: Reply, chunks: _Chunks) -> Iterator[Event]:
        for choice in reply.choices:
            yield Event(chunks.delta(choice.index, _encode(_opening(choice))))
        running = [_tokens(choice, chunks, reply) for choice in reply.choices]
        while running:  # the choices of one answer are written in turn, a token each
            for tokens in tuple(running):
                event = next(tokens, None)
                if event is None:
                    running.remove(tokens)
                else:
                    yield event
        for choice in reply.choices:
            if choice.finish is not None:
                usage = _encode(_usage(reply)) if reply.behaviour.usage == "last" else b""
                yield Event(chunks.delta(choice.index, b"{}", finish=choice.finish, usage=usage))

    def problem(self, problem: Problem, shape: str, _request_id: str) -> bytes:
        """Return the body of an error."""
        error: dict[str, Any] = {"message": problem.message}
        if shape == "openrouter":
            return _encode({"error": error | {"code": problem.status}, "user_id": "user_simulated"})
        if shape == "detail":
            return _encode({"detail": problem.message})
        return _encode({"error": error | {"type": problem.type, "param": problem.param, "code": problem.code}})

    def problem_events(self, problem: Problem, shape: str, request_id: str, done: bool) -> Iterator[Event]:
        """Give the events of an error in the middle of a stream."""
        yield Event(self.problem(problem, shape, request_id))
        if done:
            yield Event(DONE)

    def answer_headers(self, request_id: str, elapsed: float) -> list[tuple[str, str]]:
        """Return the header fields that every answer carries; `elapsed` is in seconds."""
        return [
            ("x-request-id", request_id),
            ("openai-processing-ms", str(int(elapsed * 1000))),
            ("openai-version", "2020-10-01"),
        ]


class _Chunks:
    """Writes chunks: all but the delta is the same in every chunk of a stream and is encoded once."""

    def __init__(self, reply: Reply, *, usage_null: bool) -> None:
        head = {
            "id": _id(reply),
            "object": "chat.completion.chunk",
            "created": reply.created,
            "model": reply.model,
            "service_tier": "default",
            "system_fingerprint": _fingerprint(reply.model),
        }
        self._head = _encode(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}' if usage_null else b"]}"

    def write(self, choice: bytes, usage: bytes = b"") -> bytes:
        """Return a chunk around an encoded choice, or around none."""
        return self._head + choice + (b'],"usage":' + usage + b"}" if usage else self._tail)

    def delta(
        self, index: int, delta: bytes, logprobs: bytes = b"null", finish: str | None = None, usage: bytes = b""
    ) -> bytes:
        """Return a chunk with one delta."""
        return self.write(
            b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}' % (index, delta, logprobs, _encode(finish)),
            usage,
        )


def _tokens(choice: Choice, chunks: _Chunks, reply: Reply) -> Iterator[Event]:
    for token in choice.reasoning:
        yield Event(chunks.delta(choice.index, b'{"reasoning_content":%b}' % _encode(token)), tokens=1)
    logprobs = _logprobs(choice, reply)
    member = b'{"refusal":%b}' if choice.refused else b'{"content":%b}'
    for i, token in enumerate(choice.tokens):
        told = _encode({"content": [logprobs[i]], "refusal": None}) if logprobs else b"null"
        yield Event(chunks.delta(choice.index, member % _encode(token), told), tokens=1)
    for i, call in enumerate(choice.calls):
        function = {"name": call.name, "arguments": ""}
        begun = {"tool_calls": [{"index": i, "id": f"call_{call.id}", "type": "function", "function": function}]}
        yield Event(chunks.delta(choice.index, _encode(begun)), tokens=1)
        for piece in call.pieces:
            more = {"tool_calls": [{"index": i, "function": {"arguments": piece}}]}
            yield Event(chunks.delta(choice.index, _encode(more)), tokens=1)


def _opening(choice: Choice) -> dict[str, Any]:
    if choice.calls:
        return {"role": "assistant", "content": None}
    return {"role": "assistant", "content": "", "refusal": None}


def _choice(choice: Choice, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    text = "".join(choice.tokens)
    if choice.refused:
        message["refusal"] = text
    elif not choice.calls and reply.behaviour.empty != "null" and not reply.behaviour.reasoning_only:
        message["content"] = text
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["tool_calls"] = [
            {"id": f"call_{call.id}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in choice.calls
        ]
    message["annotations"] = []
    logprobs = _logprobs(choice, reply)
    return {
        "index": choice.index,
        "message": message,
        "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
        "finish_reason": choice.finish,
    }


def _logprobs(choice: Choice, reply: Reply) -> list[dict[str, Any]]:
    asked = reply.ask.logprobs
    if asked is None or not reply.behaviour.logprobs or choice.refused:
        return []
    drawn = token_logprobs(len(choice.tokens), choice.confidence, reply.turn.chance)
    return [_logprob(token, value, asked) for token, value in zip(choice.tokens, drawn, strict=True)]


def _logprob(token: str, value: float, alternatives: int) -> dict[str, Any]:
    # The alternatives share what probability is left, each half as likely as the one before it.
    others = [other for other in _ALTERNATIVES if other != token][: max(0, alternatives - 1)]
    top = [(token, value), *((other, value - 1.0 - 0.7 * i) for i, other in enumerate(others))]
    return _scored(token, value) | {"top_logprobs": [_scored(*pair) for pair in top[:alternatives]]}


def _scored(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}


def _usage(reply: Reply) -> dict[str, Any]:
    prompt, completion = reply.ask.prompt_tokens, reply.claimed
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": _NO_OTHER_TOKENS | {"reasoning_tokens": reply.reasoned},
    }


def _id(reply: Reply) -> str:
    return f"chatcmpl-{reply.turn.digest[:29]}"


@lru_cache(maxsize=1024)
def _fingerprint(model: str) -> str:
    return f"fp_{hashlib.blake2b(model.encode(), digest_size=5).hexdigest()}"


def _read_tools(body: dict[str, Any]) -> tuple[str, tuple[Tool, ...]]:
    offered = typed(body, "tools", list, "an array of objects") or []
    functions = [tool.get("function") for tool in offered if isinstance(tool, dict)]
    tools = tuple(Tool(f["name"], f.get("parameters", {})) for f in functions if isinstance(f, dict) and "name" in f)
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        tools = tuple(tool for tool in tools if tool.name == name)
        if not tools:
            raise invalid(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice", "invalid_value")
        return "required", tools
    if choice not in {None, "auto", "none", "required"}:
        raise invalid(
            f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.",
            "tool_choice",
            "invalid_value",
        )
    return choice or "auto", tools


def _read_schema(response_format: dict[str, Any]) -> Any:
    match response_format.get("type"):
        case "json_object":
            return True
        case "json_schema":
            described = response_format.get("json_schema")
            return described.get("schema", True) if isinstance(described, dict) else True
    return None
