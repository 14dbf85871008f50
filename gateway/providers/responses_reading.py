"""Read OpenAI's responses and their events: what a selector needs to know of them, and nothing is changed."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from fanin import Candidate, ToolCall
from gateway.domain import Answer, Failure, FailureKind, Outcome, Target, Usage
from gateway.providers import classify
from gateway.providers.openai_stream import WireStream
from gateway.providers.reading import broken, flaw

RESPONSES = "responses"
"""The name of the wire."""

_FATAL = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_FINISHED = {"max_output_tokens": "length", "content_filter": "content_filter"}
_PENDING = frozenset({"queued", "in_progress"})
_SILENT = frozenset({"message", "reasoning", "compaction"})
"""Items that are no words or calls by themselves."""


class _Tokens(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Part(Struct):
    text: str = ""
    refusal: str = ""


class _Item(Struct):
    type: str = "message"
    content: list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: Any = ""
    input: Any = ""


class _Incomplete(Struct):
    reason: str | None = None


class _Response(Struct):
    output: list[_Item] | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None
    usage: _Tokens | None = None

    @property
    def counted(self) -> Usage | None:
        """The tokens."""
        if self.usage is None:
            return None
        return Usage(self.usage.input_tokens or 0, self.usage.output_tokens or 0)

    @property
    def finish(self) -> str:
        """The `finish_reason` that selectors know."""
        reason = self.incomplete_details.reason if self.incomplete_details else None
        calls = any(item.type in {"function_call", "custom_tool_call"} for item in self.output or ())
        return _FINISHED.get(str(reason)) or ("tool_calls" if calls else "stop")


class _Event(Struct):
    type: str
    delta: Any = None
    item: _Item | None = None
    response: _Response | None = None
    error: Any = None


_responses = msgspec.json.Decoder(_Response)
_events = msgspec.json.Decoder(_Event)
_objects: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


def read_response(target: Target, body: bytes) -> Outcome:
    """Turn a whole response into a candidate that carries it as it came, or into the failure that it really is."""
    try:
        response, fields = _responses.decode(body), _objects.decode(body)
    except _FATAL:
        return Failure(target.name, FailureKind.MALFORMED, "the provider's answer is not a response")
    if response.error is not None:
        return classify.from_error_object(target.name, response.error, None)
    if response.output is None:
        return Failure(target.name, FailureKind.MALFORMED, "the provider's answer is not a response")
    parts = [part for item in response.output if item.type == "message" for part in item.content or ()]
    text = "".join(part.text or part.refusal for part in parts)
    acted = any(item.type not in _SILENT for item in response.output)
    if not (text or acted or response.status in _PENDING):
        return _nothing_said(target, response.finish)
    calls = tuple(call for item in response.output if (call := _call(item)) is not None)
    refused = any(part.refusal for part in parts)
    answer = Candidate(
        target=target.name,
        text=text,
        tool_calls=calls,
        finish_reason=response.finish,
        weight=target.weight,
        priority=target.priority,
        payload=Answer(fields, response.counted, RESPONSES),
        flaw=flaw(text, response.finish, refused=refused, calls=bool(calls)),
    )
    custom = any(item.type == "custom_tool_call" for item in response.output)  # its input is free text
    return (None if custom else broken(answer)) or answer


def _nothing_said(target: Target, finish: str | None) -> Failure:
    if finish == "content_filter":
        return Failure(target.name, FailureKind.FILTERED, "the provider's content filter held the answer back")
    return Failure(target.name, FailureKind.EMPTY, "the provider answered without content")


def _call(item: _Item) -> ToolCall | None:
    if item.type == "function_call":
        return ToolCall(item.name or "", str(item.arguments), item.call_id or "")
    if item.type == "custom_tool_call":
        return ToolCall(item.name or "", str(item.input), item.call_id or "")
    return None


class ResponsesStream(WireStream):
    """The events of one response, each as it came.

    The end is complete only after `response.completed` or `response.incomplete`; a connection that closes earlier broke
    off.
    """

    wire = RESPONSES

    def _take(self, data: bytes) -> None:
        if self._over:
            return
        self._heard = self._loop.time()
        if data == b"[DONE]":
            return  # some servers end this wire, too, as they end the other
        try:
            event = _events.decode(data)
        except _FATAL:
            self._end(self._failed(FailureKind.MALFORMED, "an event of the stream is not valid JSON"))
            return
        if event.type == "error":
            self._end(classify.from_error_object(self._target.name, event.error or msgspec.json.decode(data), None))
        elif event.type == "response.failed":
            error = (event.response.error if event.response else None) or {"message": "the response failed"}
            self._end(classify.from_error_object(self._target.name, error, None))
        else:
            self._ready.append(data)
            self._note_event(event)

    def _note_event(self, event: _Event) -> None:
        if event.response is not None:
            self._counted = event.response.counted or self._counted
            if event.type in {"response.completed", "response.incomplete"}:
                self._finish = event.response.finish
                self._done = self._over = True
        elif event.type in {"response.output_text.delta", "response.refusal.delta"} and event.delta:
            self._deltas += 1
            self._first = self._first or self._candidate(str(event.delta))
        elif event.item is not None and event.item.type not in _SILENT:
            call = _call(event.item)
            self._first = self._first or self._candidate("", call)

    def _candidate(self, text: str, call: ToolCall | None = None) -> Candidate:
        return Candidate(
            target=self._target.name,
            text=text,
            tool_calls=() if call is None else (call,),
            weight=self._target.weight,
            priority=self._target.priority,
            payload=self,
        )
