"""`/v1/responses`: OpenAI's newer dialect. Targets that have it get and give its own bytes, others a translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gateway.api import sse
from gateway.api.asked import Asked, parse
from gateway.api.dialect import CHAT, StreamWriter, Translation, translation
from gateway.api.envelope import envelope
from gateway.domain import Answer, Route
from gateway.engine.choices import added
from gateway.errors import HedgerowError, InvalidRequest
from gateway.wires import chat_to_responses, responses_to_chat
from gateway.wires.chat_to_responses import EventsOfChunks
from gateway.wires.words import decoded

WIRE = "responses"

_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])


class _Event(Struct):
    type: str
    response: Raw = Raw(b"")
    sequence_number: int = -1


_events = msgspec.json.Decoder(_Event)


class ResponsesDialect:
    """OpenAI's Responses, but for what a server would have to remember."""

    wire = WIRE
    keep_alive = sse.COMMENT
    id_headers: tuple[bytes, ...] = ()
    forwarded: tuple[bytes, ...] = (b"openai-beta",)

    def parse(self, body: bytes) -> Asked:
        """Read a request."""
        return parse(body)

    def admit(self, asked: Asked, route: Route) -> None:
        """Refuse what one provider would keep or run, where several may be asked."""
        if len(route.targets) > 1:
            names = ("background", "conversation", "previous_response_id", "prompt", "store", "tools")
            given = decoded({name: asked.fields[name] for name in names if name in asked.fields})
            if (refusal := responses_to_chat.stateful(given)) is not None:
                raise InvalidRequest(str(refusal), param=refusal.param)

    def translated(self, asked: Asked) -> Translation:
        """Return the chat completion request that means the same."""
        return translation(responses_to_chat.request, asked)

    def together(self, first: Answer, answers: Sequence[Answer]) -> Answer:
        """Return one response that holds the output items of all, one answer's behind the other's."""
        bare = Asked("", {}, stream=False, explain=False, overrides={})
        responses = [_response(answer, bare) for answer in answers]
        items = [item for response in responses for item in _list.decode(response["output"])]
        fields = _response(first, bare) | {"output": Raw(_encode(items))}
        if any(answer.wire != CHAT for answer in answers):
            told = [usage for each in responses if (usage := msgspec.json.decode(each.get("usage", Raw(b"null"))))]
            fields["usage"] = Raw(_encode(added(told)))
        return Answer(fields, first.usage, WIRE)

    def whole(self, answer: Answer, asked: Asked, explanation: Raw | None) -> bytes:
        """Return the response under the model's name that the client asked for."""
        fields: dict[str, Any] = _response(answer, asked)
        if explanation is not None:
            fields["hedgerow"] = explanation
        return _encode(fields)

    def writer(self, asked: Asked, wire: str) -> StreamWriter:
        """Return the writer of one stream."""
        return _Translating(asked) if wire == CHAT else _Native(asked)

    def error(self, error: HedgerowError, request_id: str) -> bytes:  # noqa: ARG002 -- stands in a header
        """Return OpenAI's envelope."""
        return envelope(error)


def _response(answer: Answer, asked: Asked) -> dict[str, Raw]:
    if answer.wire != CHAT:
        return {**answer.fields, "model": Raw(_encode(asked.model))}
    completion = {name: msgspec.json.decode(raw) for name, raw in answer.fields.items()}
    made = chat_to_responses.response(completion, decoded(asked.fields), asked.model)
    return {name: Raw(_encode(value)) for name, value in made.items()}


def _all(events: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join([sse.named(event["type"], _encode(event)) for event in events])


def _told(error: HedgerowError) -> dict[str, Any]:
    return {"code": error.code or error.type, "message": str(error), "param": error.param, **error.extra}


class _Native:
    """Events as they came; only the response's `model` is another, and with an explanation the last event."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._number = -1
        self._last: dict[str, Any] | None = None

    def events(self, data: Sequence[bytes]) -> bytes:
        """Pass events on; the last one waits for what `end` may add to it."""
        return b"".join([self._event(event) for event in data])

    def _event(self, data: bytes) -> bytes:
        event = _events.decode(data)
        self._number = event.sequence_number
        if not event.response:
            return sse.named(event.type, data)
        fields: dict[str, Any] = _object.decode(data)
        fields["response"] = {**_object.decode(event.response), "model": self._asked.model}
        if event.type in _LAST:
            self._last = fields
            return b""
        return sse.named(event.type, _encode(fields))

    def replay(self, answer: Answer) -> bytes:
        """Write a whole answer, all at once: its items added and done, as nobody waits for their pieces."""
        response = {name: msgspec.json.decode(raw) for name, raw in _response(answer, self._asked).items()}
        begun = response | {"status": "in_progress", "output": [], "usage": None}
        events: list[dict[str, Any]] = [{"type": f"response.{kind}", "response": begun} for kind in _BEGINNING]
        for place, item in enumerate(response.get("output") or ()):
            events += chat_to_responses.told(place, item)
        numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
        kind = f"response.{response.get('status', 'completed')}"
        self._last = {"type": kind, "response": response, "sequence_number": len(events)}
        return _all(numbered)

    def end(self, explanation: Raw | None) -> bytes:
        """Write the last event; its response carries an explanation."""
        if self._last is None:
            return b""
        if explanation is not None:
            self._last["response"] = {**self._last["response"], "hedgerow": explanation}
        kind = self._last["type"]
        name = kind if isinstance(kind, str) else msgspec.json.decode(kind)
        return sse.named(name, _encode(self._last))

    def fail(self, error: HedgerowError, request_id: str) -> bytes:  # noqa: ARG002 -- stands in a header
        """Write an `error` event; there is no `response.completed` behind it."""
        return _all([{"type": "error", "sequence_number": self._number + 1, **_told(error)}])


_BEGINNING = ("created", "in_progress")


class _Translating:
    """Events made of a chat completion's chunks."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._made: EventsOfChunks | None = None

    @property
    def _translation(self) -> EventsOfChunks:
        if self._made is None:
            self._made = EventsOfChunks(decoded(self._asked.fields), self._asked.model)
        return self._made

    def events(self, data: Sequence[bytes]) -> bytes:
        """Translate chunks."""
        feed = self._translation.feed
        return _all([event for chunk in data for event in feed(msgspec.json.decode(chunk))])

    def replay(self, answer: Answer) -> bytes:
        """Write a whole answer, all at once."""
        completion = {name: msgspec.json.decode(raw) for name, raw in answer.fields.items()}
        choices = [{**choice, "delta": _numbered(choice.get("message") or {})} for choice in completion["choices"]]
        return _all([*self._translation.feed({**completion, "choices": choices})])

    def end(self, explanation: Raw | None) -> bytes:
        """Write the end of a response; the last event's carries an explanation."""
        return _all([*self._translation.end({} if explanation is None else {"hedgerow": explanation})])

    def fail(self, error: HedgerowError, request_id: str) -> bytes:  # noqa: ARG002 -- stands in a header
        """Write an `error` event and the failed response; there is no `response.completed` behind them."""
        return _all([*self._translation.fail(_told(error))])


def _numbered(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = [{"index": place, **call} for place, call in enumerate(message.get("tool_calls") or ())]
    if (message.get("function_call") or {}).get("name"):
        calls.append({"index": len(calls), "function": message["function_call"]})
    return {**message, "tool_calls": calls}
