"""Streams between Anthropic's Messages and chat completions, event by event, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wires.messages_answers import FINISHED, citations, stop_reason, usage_from_chat, usage_to_chat
from gateway.wires.words import Fields, written


class ChunksOfEvents:
    """The chunks of a chat completion that say what the events of one Messages stream say."""

    def __init__(self, created: int, *, include_usage: bool) -> None:
        self._head: Fields = {"object": "chat.completion.chunk", "created": created}
        self._include_usage = include_usage
        self._usage: Fields = {}
        self._blocks: dict[int, Fields] = {}
        self._calls = 0
        self._length = 0

    def feed(self, event: Mapping[str, Any]) -> Iterator[Fields]:
        """Yield the chunks of one event; pings, and what Anthropic's own tools write, have none."""
        match event.get("type"):
            case "message_start":
                message = event["message"]
                self._usage |= message.get("usage") or {}
                self._head = {"id": message.get("id"), **self._head, "model": message.get("model")}
                yield self._chunk({"role": "assistant", "content": ""})
            case "content_block_start":
                yield from self._begun(event["index"], dict(event["content_block"]))
            case "content_block_delta":
                yield from self._told(self._blocks.get(event["index"], {}), event["delta"])
            case "content_block_stop":
                yield from self._ended(self._blocks.pop(event["index"], {}))
            case "message_delta":
                self._usage |= {key: value for key, value in (event.get("usage") or {}).items() if value is not None}
                if reason := event["delta"].get("stop_reason"):
                    yield self._chunk({}, FINISHED.get(reason, "stop"), native_finish_reason=reason)
                    if self._include_usage:
                        yield {**self._head, "choices": [], "usage": usage_to_chat(self._usage)}

    def _chunk(self, delta: Fields, finish: str | None = None, **further: Any) -> Fields:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **further}
        return {**self._head, "choices": [choice]}

    def _begun(self, index: int, block: Fields) -> Iterator[Fields]:
        self._blocks[index] = block
        if block.get("type") == "tool_use":
            block["place"], self._calls = self._calls, self._calls + 1
            function = {"name": block.get("name"), "arguments": ""}
            call = {"index": block["place"], "id": block.get("id"), "type": "function", "function": function}
            yield self._chunk({"tool_calls": [call]})
            if block.get("input"):
                yield from self._told(block, {"type": "input_json_delta", "partial_json": written(block["input"])})
        elif block.get("type") == "text" and block.get("text"):
            yield self._chunk({"content": block["text"]})

    def _told(self, block: Fields, delta: Mapping[str, Any]) -> Iterator[Fields]:
        match delta.get("type"):
            case "text_delta":
                block["text"] = block.get("text", "") + delta["text"]
                yield self._chunk({"content": delta["text"]})
            case "thinking_delta":
                block["thinking"] = block.get("thinking", "") + delta["thinking"]
                yield self._chunk({"reasoning_content": delta["thinking"]})
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "citations_delta":
                block.setdefault("cited", []).append(delta["citation"])
            case "input_json_delta" if block.get("type") == "tool_use" and delta["partial_json"]:
                block["told"] = True
                call = {"index": block["place"], "function": {"arguments": delta["partial_json"]}}
                yield self._chunk({"tool_calls": [call]})

    def _ended(self, block: Fields) -> Iterator[Fields]:
        match block.get("type"):
            case "thinking" | "redacted_thinking":
                yield self._chunk({"thinking_blocks": [block]})
            case "tool_use" if not block.get("told"):
                # A tool without arguments says so with an empty piece; for OpenAI's clients that is no JSON.
                yield self._chunk({"tool_calls": [{"index": block["place"], "function": {"arguments": "{}"}}]})
            case "text":
                said = block.get("text", "")
                if quoted := citations([{"text": said, "citations": block.get("cited")}], self._length):
                    yield self._chunk({"annotations": quoted})
                self._length += len(said)


class EventsOfChunks:
    """The events of a Messages stream that say what the chunks of one chat completion stream say.

    A message is a list of blocks that follow each other: a block ends where something of another kind begins.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._started = False
        self._open: tuple[str, int] | None = None
        self._places: dict[int, int] = {}
        """Where the calls stand among the blocks, by their index among the calls."""
        self._blocks: list[Fields] = []
        self._finish: str | None = None
        self._usage: Fields = {}

    def feed(self, chunk: Mapping[str, Any]) -> Iterator[Fields]:
        """Yield the events of one chunk; of several choices only the first is told."""
        if not self._started:
            self._started = True
            yield self._start(chunk)
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        for choice in chunk.get("choices") or ():
            if not choice.get("index"):
                yield from self._said(choice.get("delta") or {})
                self._finish = choice.get("finish_reason") or self._finish

    def end(self) -> Iterator[Fields]:
        """Yield the events behind the last chunk, all but `message_stop`."""
        yield from self._close()
        stopped = {"stop_reason": stop_reason(self._finish, self._blocks), "stop_sequence": None}
        yield {"type": "message_delta", "delta": stopped, "usage": usage_from_chat(self._usage)}

    def _start(self, chunk: Mapping[str, Any]) -> Fields:
        message: Fields = {
            "id": chunk.get("id"),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_from_chat(chunk.get("usage") or {}),
        }
        return {"type": "message_start", "message": message}

    def _said(self, delta: Mapping[str, Any]) -> Iterator[Fields]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            yield from self._turn_to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._delta({"type": "thinking_delta", "thinking": thought})
        for block in delta.get("thinking_blocks") or ():
            yield from self._signed(block)
        content = delta.get("content") or delta.get("refusal")
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content if part.get("type") == "text")
        if content:
            yield from self._turn_to("text", {"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": content})
        for call in delta.get("tool_calls") or ():
            yield from self._called(call)

    def _signed(self, block: Mapping[str, Any]) -> Iterator[Fields]:
        """Sign the thinking that has just been streamed; tell what nobody may read."""
        if block.get("type") == "redacted_thinking":
            yield from self._turn_to("redacted_thinking", dict(block), len(self._blocks))
            yield from self._close()
        elif block.get("signature"):
            if self._open != ("thinking", 0):
                yield from self._turn_to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                yield self._delta({"type": "thinking_delta", "thinking": block.get("thinking", "")})
            yield self._delta({"type": "signature_delta", "signature": block["signature"]})
            yield from self._close()

    def _called(self, call: Mapping[str, Any]) -> Iterator[Fields]:
        number = call.get("index") or 0
        function = call.get("function") or {}
        if number not in self._places:
            block = {"type": "tool_use", "id": call.get("id") or f"call_{number}", "name": function.get("name")}
            yield from self._turn_to("tool_use", {**block, "input": {}}, number)
            self._places[number] = len(self._blocks) - 1
        if arguments := function.get("arguments"):
            told = arguments if isinstance(arguments, str) else written(arguments)
            yield self._delta({"type": "input_json_delta", "partial_json": told}, self._places[number])

    def _turn_to(self, kind: str, block: Fields, number: int = 0) -> Iterator[Fields]:
        if self._open == (kind, number):
            return
        yield from self._close()
        self._open = (kind, number)
        self._blocks.append(block)
        yield {"type": "content_block_start", "index": len(self._blocks) - 1, "content_block": block}

    def _delta(self, delta: Fields, index: int | None = None) -> Fields:
        place = len(self._blocks) - 1 if index is None else index
        return {"type": "content_block_delta", "index": place, "delta": delta}

    def _close(self) -> Iterator[Fields]:
        if self._open is not None:
            self._open = None
            yield {"type": "content_block_stop", "index": len(self._blocks) - 1}
