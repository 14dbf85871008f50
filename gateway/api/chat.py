"""`/v1/chat/completions`: the dialect that is the inner one. An answer is the winner's own body under another name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from gateway.api import sse
from gateway.api.asked import Asked, expect_list, field, parse
from gateway.api.dialect import CHAT, Translation
from gateway.api.envelope import envelope
from gateway.api.side_effects import refuse_effects
from gateway.domain import Answer, Route
from gateway.engine.choices import replay, together
from gateway.errors import HedgerowError

_DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw])


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
