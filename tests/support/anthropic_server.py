"""Anthropic's Messages API as it looks on the wire: whole answers, event streams and errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.wire_server import End, Reply

MODEL = "claude-haiku-4-5"
Block = Mapping[str, Any]


def text(words: str) -> Block:
    """A text block."""
    return {"type": "text", "text": words}


def thinking(words: str, signature: str = "EqQBCg") -> Block:
    """A thinking block with its signature."""
    return {"type": "thinking", "thinking": words, "signature": signature}


def tool_use(name: str, arguments: Mapping[str, Any], tool_id: str = "toolu_01") -> Block:
    """A call of a tool."""
    return {"type": "tool_use", "id": tool_id, "name": name, "input": dict(arguments)}


def message(*blocks: Block, stop_reason: str = "end_turn", delay: float = 0.0) -> Reply:
    """A whole answer."""
    body = _envelope(list(blocks), stop_reason) | {"usage": {"input_tokens": 12, "output_tokens": 7}}
    headers = {"content-type": "application/json", "request-id": "req_1"}
    return Reply(200, headers, json.dumps(body).encode(), delay=delay)


def refusal(status: int, kind: str, words: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error answer."""
    return Reply(status, {"content-type": "application/json", **(headers or {})}, _json(error(kind, words)))


def error(kind: str, words: str) -> dict[str, Any]:
    """The error object, which is also the data of an `error` event."""
    return {"type": "error", "error": {"type": kind, "message": words}}


def stream(frames: Sequence[bytes], *, pause: float = 0.0, end: End = "clean", delay: float = 0.0) -> Reply:
    """A streamed answer."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Reply(200, headers, frames=frames, pause=pause, end=end, delay=delay)


def frames(*blocks: Block, stop_reason: str = "end_turn", pieces: int = 3) -> list[bytes]:
    """The events of a streamed answer, each block cut into `pieces` deltas."""
    started = _envelope([], None) | {"usage": {"input_tokens": 12, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": started}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        events += _block_events(index, block, pieces)
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}})
    events.append({"type": "message_stop"})
    return [frame(event) for event in events]


def frame(event: Mapping[str, Any]) -> bytes:
    """One event; non-ASCII characters stay what they are, as Anthropic sends them."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + _json(event) + b"\n\n"


def _block_events(index: int, block: Block, pieces: int) -> list[dict[str, Any]]:
    match block["type"]:
        case "text":
            empty: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in _cut(block["text"], pieces)]
        case "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _cut(block["thinking"], pieces)]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case _:
            empty = {**block, "input": {}}
            arguments = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *_cut(arguments, pieces))]
    return [
        {"type": "content_block_start", "index": index, "content_block": empty},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _envelope(content: list[Block], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
    }


def _cut(words: str, pieces: int) -> list[str]:
    size = max(1, -(-len(words) // pieces))
    return [words[start : start + size] for start in range(0, len(words), size)]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
