"""`/v1/chat/completions`: the dialect that is the inner one. An answer is the winner's own body under another name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from gateway.api import sse
from gateway.api.asked import Asked, expect_list, field, parse
from gateway.api.collected import together
from gateway.api.dialect import CHAT, Translation
from gateway.api.envelope import envelope
from gateway.api.side_effects import refuse_effects
from gateway.domain import Answer, Route
from gateway.errors import HedgerowError

_DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[dict[str, Raw]])
_NULL, _NOTHING = Raw(b"null"), Raw(b"[]")
_OPENAI = frozenset({"index", "message", "logprobs", "finish_reason"})


class ChatDialect:
    """OpenAI's chat completions: nothing is translated, unknown fields pass both ways."""

    wire = CHAT
    keep_alive = sse.COMMENT
    id_headers: tuple[bytes, ...] = ()
    forwarded: tuple[bytes, ...] = ()

    def parse(self, body: bytes) -> Asked:
        """Read a request."""
        asked = parse(body)
        expect_list(asked.fields, "messages")
        _options(asked)
        return asked

    def admit(self, asked: Asked, route: Route) -> None:
        """Refuse what must not happen several times; what a provider cannot do is its branch's failure."""
        refuse_effects(asked.fields, route)

    def translated(self, asked: Asked) -> Translation:
        """Return the client's own fields."""
        return Translation(asked.fields)

    def together(self, first: Answer, answers: Sequence[Answer]) -> Answer:
        """Return one answer with the choices of all."""
        return together(first, answers)

    def whole(self, answer: Answer, asked: Asked, explanation: Raw | None) -> bytes:
        """Return the winner's own body with the model's name that the client asked for."""
        fields: dict[str, Any] = {**answer.fields, "model": asked.model}
        if explanation is not None:
            fields["hedgerow"] = explanation
        return _encode(fields)

    def writer(self, asked: Asked, wire: str) -> ChatWriter:  # noqa: ARG002 -- events come in as chunks, always
        """Return the writer of one stream."""
        return ChatWriter(asked)

    def error(self, error: HedgerowError, request_id: str) -> bytes:  # noqa: ARG002 -- stands in a header
        """Return OpenAI's envelope."""
        return envelope(error)


class ChatWriter:
    """The chunks of one stream: the upstream's own, renamed."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._model = Raw(_encode(asked.model))
        self._last: Mapping[str, Raw] = {}

    def events(self, data: Sequence[bytes]) -> bytes:
        """Pass chunks on."""
        return b"".join([self._framed(event) for event in data])

    def _framed(self, event: bytes) -> bytes:
        self._last = fields = _object.decode(event)
        if "model" in fields:
            fields["model"] = self._model
        return sse.frame(_encode(fields))

    def replay(self, answer: Answer) -> bytes:
        """Write a whole answer, all at once: nothing is gained by trickling it."""
        self._last = fields = {**answer.fields, "model": self._model}
        include_usage = _options(self._asked).get("include_usage") is True
        return b"".join([sse.frame(chunk) for chunk in replay(fields, include_usage=include_usage)])

    def end(self, explanation: Raw | None) -> bytes:
        """Write `[DONE]`, after a chunk without choices for an explanation."""
        if explanation is None:
            return _DONE
        shared = {key: self._last[key] for key in ("id", "created") if key in self._last}
        told = {
            **shared,
            "model": self._model,
            "object": "chat.completion.chunk",
            "choices": [],
            "hedgerow": explanation,
        }
        return sse.frame(_encode(told)) + _DONE

    def fail(self, error: HedgerowError, request_id: str) -> bytes:  # noqa: ARG002 -- stands in a header
        """Write an error event; there is no `[DONE]` behind it."""
        return sse.frame(envelope(error))


def _options(asked: Asked) -> dict[str, Any]:
    options: dict[str, Any] = field(asked.fields, "stream_options", dict, "an object", default={}, keep=True)
    return options


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

    for position, choice in enumerate(_list.decode(fields["choices"])):
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
