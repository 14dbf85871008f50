"""Gemini's generateContent and streamGenerateContent as they look on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.wire_server import End, Reply

MODEL = "gemini-2.5-flash"
Part = Mapping[str, Any]


def text(words: str) -> Part:
    """A text part."""
    return {"text": words}


def function_call(name: str, arguments: Mapping[str, Any]) -> Part:
    """A call of a function."""
    return {"functionCall": {"name": name, "args": dict(arguments)}}


def content(*parts: Part, finish: str | None = "STOP") -> dict[str, Any]:
    """One GenerateContentResponse: a whole answer, or one piece of a stream (then mostly without `finish`)."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 12, "candidatesTokenCount": 7, "totalTokenCount": 19}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": MODEL, "responseId": "resp-1"}


def blocked(reason: str = "SAFETY") -> dict[str, Any]:
    """An answer to a prompt that was refused."""
    return {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 12}, "modelVersion": MODEL}


def error(code: int, status: str, words: str, *details: Mapping[str, Any]) -> dict[str, Any]:
    """The error object."""
    return {"error": {"code": code, "message": words, "status": status, "details": list(details)}}


def answer(body: Mapping[str, Any], *, delay: float = 0.0) -> Reply:
    """A whole answer; an error object gives the status as well."""
    status = body["error"]["code"] if "error" in body else 200
    return Reply(status, {"content-type": "application/json; charset=UTF-8"}, json.dumps(body).encode(), delay=delay)


def stream(bodies: Sequence[Mapping[str, Any]], *, pause: float = 0.0, end: End = "clean") -> Reply:
    """A streamed answer (`alt=sse`)."""
    return Reply(200, {"content-type": "text/event-stream"}, frames=[frame(b) for b in bodies], pause=pause, end=end)


def frame(body: Mapping[str, Any]) -> bytes:
    """One event; Gemini ends its lines with CR LF."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\r\n\r\n"
