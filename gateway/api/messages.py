"""`/v1/messages`: Anthropic's dialect. Targets of Anthropic's get and give its own bytes, all others a translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.api import sse
from gateway.api.asked import Asked, expect_list, field, parse
from gateway.api.dialect import CHAT, StreamWriter, Translation, translation
from gateway.domain import Answer, Route
from gateway.engine.choices import added
from gateway.errors import HedgerowError
from gateway.wires import messages_answers, messages_to_chat
from gateway.wires.messages_events import EventsOfChunks

WIRE = "messages"

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""What Anthropic calls the error of a status; everything else is an `api_error`."""

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw])


class _Kind(Struct):
    type: str


_kinds = msgspec.json.Decoder(_Kind)


class MessagesDialect:
    """Anthropic's Messages."""

    wire = WIRE
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'
    id_headers: tuple[bytes, ...] = (b"request-id",)
    forwarded: tuple[bytes, ...] = (b"anthropic-beta", b"anthropic-version")

    def parse(self, body: bytes) -> Asked:
        """Read a request."""
        asked = parse(body)
        expect_list(asked.fields, "messages")
        field(asked.fields, "max_tokens", int, "the most tokens to generate, a whole number", keep=True)
        return asked

    def admit(self, asked: Asked, route: Route) -> None:
        """Refuse nothing: what an upstream cannot do is its branch's failure."""

    def translated(self, asked: Asked) -> Translation:
        """Return the chat completion request that means the same."""
        return translation(messages_to_chat.request, asked)

    def together(self, first: Answer, answers: Sequence[Answer]) -> Answer:
        """Return one message that holds the content blocks of all, one answer's behind the other's."""
        messages = [_message(answer, "") for answer in answers]
        content = [block for message in messages for block in msgspec.json.decode(message["content"], type=list[Raw])]
        fields = _message(first, "") | {"content": Raw(_encode(content))}
        if any(answer.wire != CHAT for answer in answers):
            fields["usage"] = Raw(_encode(added([msgspec.json.decode(message["usage"]) for message in messages])))
        return Answer(fields, first.usage, WIRE)

    def whole(self, answer: Answer, asked: Asked, explanation: Raw | None) -> bytes:
        """Return the message under the model's name that the client asked for."""
        fields: dict[str, Any] = _message(answer, asked.model)
        if explanation is not None:
            fields["hedgerow"] = explanation
        return _encode(fields)

    def writer(self, asked: Asked, wire: str) -> StreamWriter:
        """Return the writer of one stream."""
        return _Translating(asked) if wire == CHAT else _Native(asked)

    def error(self, error: HedgerowError, request_id: str) -> bytes:
        """Return Anthropic's error object; ours has our own details beside them."""
        kind = _TYPES.get(error.status, "api_error")
        described = {"type": kind, "message": str(error), **error.extra}
        return _encode({"type": "error", "error": described, "request_id": request_id})


def _message(answer: Answer, model: str) -> dict[str, Raw]:
    if answer.wire != CHAT:
        return {**answer.fields, "model": Raw(_encode(model))}
    completion = {name: msgspec.json.decode(raw) for name, raw in answer.fields.items()}
    made = messages_answers.from_chat(completion, model)
    return {name: Raw(_encode(value)) for name, value in made.items()}


class _Writer:
    """What the two kinds of streams share: a whole answer replayed, the last event, an error."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._last = b'{"type":"message_stop"}'

    def replay(self, answer: Answer) -> bytes:
        """Write a whole answer, all at once."""
        message: dict[str, Any] = {**_message(answer, self._asked.model)}
        stopped = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
        started = message | {"content": [], "stop_reason": None, "stop_sequence": None}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": started}]
        for index, block in enumerate(msgspec.json.decode(message["content"])):
            events += messages_answers.told(index, block)
        events.append({"type": "message_delta", "delta": stopped, "usage": message.get("usage")})
        return _all(events)

    def end(self, explanation: Raw | None) -> bytes:
        """Write the last event, which carries an explanation."""
        if explanation is None:
            return sse.named("message_stop", self._last)
        return sse.named("message_stop", _encode({**_object.decode(self._last), "hedgerow": explanation}))

    def fail(self, error: HedgerowError, request_id: str) -> bytes:
        """Write an `error` event; there is no `message_stop` behind it."""
        return sse.named("error", MessagesDialect().error(error, request_id))


class _Native(_Writer):
    """Events as they came; only `model` is another, and with an explanation the last event."""

    def events(self, data: Sequence[bytes]) -> bytes:
        """Pass events on."""
        return b"".join([self._event(event) for event in data])

    def _event(self, data: bytes) -> bytes:
        kind = _kinds.decode(data).type
        if kind == "message_start":
            fields: dict[str, Any] = _object.decode(data)
            fields["message"] = {**_object.decode(fields["message"]), "model": self._asked.model}
            data = _encode(fields)
        elif kind == "message_stop":
            self._last = data
            return b""
        return sse.named(kind, data)


class _Translating(_Writer):
    """Events made of a chat completion's chunks."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._translation: EventsOfChunks | None = None

    def events(self, data: Sequence[bytes]) -> bytes:
        """Translate chunks."""
        if self._translation is None:
            self._translation = EventsOfChunks(self._asked.model)
        feed = self._translation.feed
        return _all([event for chunk in data for event in feed(msgspec.json.decode(chunk))])

    def end(self, explanation: Raw | None) -> bytes:
        """Write the end of a message."""
        rest = b"" if self._translation is None else _all([*self._translation.end()])
        return rest + super().end(explanation)


def _all(events: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join([sse.named(event["type"], _encode(event)) for event in events])
