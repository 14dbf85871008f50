"""Outgoing server-sent events: framing, and a whole answer replayed as the stream it would have been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_encode = msgspec.json.Encoder().encode
_choices = msgspec.json.Decoder(list[dict[str, Raw]])
_object = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[dict[str, Raw]])
_NULL, _NOTHING = Raw(b"null"), Raw(b"[]")
_OPENAI = frozenset({"index", "message", "logprobs", "finish_reason"})


def frame(data: bytes) -> bytes:
    """Frame one event. JSON that an upstream wrote over several lines becomes several data lines."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"data: %b\n\n" % data


def renamed(data: bytes, model: Raw) -> bytes:
    """Return one chunk with the model's name that the client asked for, everything else as it came."""
    fields = _object.decode(data)
    if "model" in fields:
        fields["model"] = model
    return _encode(fields)


def replay(fields: Mapping[str, Raw], *, include_usage: bool) -> Iterator[bytes]:
    """Yield the chunks of a stream that says what a whole chat completion said.

    As in a real stream: the role comes first and once per choice, the end carries the finish reason, and the usage
    comes last, in a chunk without choices, only if the client asked for it.
    """
    shared: dict[str, Any] = {key: value for key, value in fields.items() if key not in {"choices", "usage", "object"}}
    head = {"id": shared.pop("id", _NULL), "object": "chat.completion.chunk", **shared}
    usage: dict[str, Any] = {"usage": None} if include_usage else {}

    def chunk(index: Raw, delta: Mapping[str, Any], finish: Any = None, **further: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **further}
        return _encode({**head, "choices": [choice], **usage})

    for position, choice in enumerate(_choices.decode(fields["choices"])):
        index = choice.get("index", Raw(b"%d" % position))
        message: dict[str, Any] = dict(_object.decode(choice["message"]))
        role = message.pop("role", Raw(b'"assistant"'))
        if (calls := message.get("tool_calls", _NULL)) != _NULL:
            message["tool_calls"] = [{"index": place, **call} for place, call in enumerate(_list.decode(calls))]
        said = {key: value for key, value in message.items() if value not in (_NULL, _NOTHING)}
        opening = {"role": role, "content": "" if "content" in said else None}
        vendor = {key: value for key, value in choice.items() if key not in _OPENAI}
        yield chunk(index, opening)
        yield chunk(index, said, logprobs=choice.get("logprobs"))
        yield chunk(index, {}, choice.get("finish_reason"), **vendor)
    if include_usage:
        yield _encode({**head, "choices": [], "usage": fields.get("usage", _NULL)})


def head(data: bytes, model: Raw) -> dict[str, Any]:
    """Return what all chunks of a stream share, read from one of them."""
    fields = _object.decode(data)
    return {key: fields[key] for key in ("id", "created") if key in fields} | {"model": model}


def explained(shared: Mapping[str, Any], explanation: Raw) -> bytes:
    """Return the chunk without choices that carries the explanation, sent after all others."""
    kept = {key: shared[key] for key in ("id", "created", "model") if key in shared}
    return _encode({**kept, "object": "chat.completion.chunk", "choices": [], "hedgerow": explanation})
