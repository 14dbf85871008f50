"""A live Messages stream: complete only when the wire said so, passed on as it came or as chunks of a completion."""

from __future__ import annotations

from datetime import UTC, datetime

import aiohttp
import msgspec

from fanin import Candidate, ToolCall
from gateway.domain import Failure, FailureKind, Target
from gateway.providers import classify
from gateway.providers.anthropic_reading import (
    MESSAGES,
    Event,
    finished,
    nothing_said,
    read_event,
    tool_call,
)
from gateway.providers.openai_stream import WireStream
from gateway.wires import legacy_functions
from gateway.wires.messages_events import ChunksOfEvents

_encode = msgspec.json.Encoder().encode


class MessagesStream(WireStream):
    """The events of one response, each as it came.

    The end is complete only after a `stop_reason` or `message_stop`; a connection that closes earlier broke off.
    """

    wire = MESSAGES

    async def commit(self) -> Candidate | Failure:
        """Read up to the first words or the first call of a tool."""
        outcome = await super().commit()
        if isinstance(outcome, Failure) and outcome.kind in {FailureKind.EMPTY, FailureKind.FILTERED}:
            return nothing_said(self._target, self._finish)
        return outcome

    def _take(self, data: bytes) -> None:
        if self._over:
            return
        event = read_event(data)
        if event is None:
            self._end(self._failed(FailureKind.MALFORMED, "an event of the stream is not valid JSON"))
        elif event.error is not None:
            self._end(classify.from_error_object(self._target.name, event.error, None))
        else:
            if event.type != "ping":
                self._heard = self._loop.time()
            self._keep(data)
            self._note_event(event)
            if event.type == "message_stop":
                self._done = self._over = True
            self._hurry()

    def _keep(self, data: bytes) -> None:
        self._ready.append(data)

    def _note_event(self, event: Event) -> None:
        """Take down what an event says: tokens, the first words, the stop reason."""
        tokens = event.message.usage if event.message else event.usage
        if tokens is not None:
            self._counted = tokens.usage(self._counted)
        block, delta = event.content_block, event.delta
        if block is not None and (block.text or block.type.endswith("tool_use")):
            calls = (tool_call(block),) if block.type == "tool_use" else ()
            self._first = self._first or self._candidate(block.text, calls)
            self._remember(block.text if not calls and block.text else None)
        if delta is not None:
            self._deltas += delta.type is not None
            if delta.text:
                self._remember(delta.text)
                self._first = self._first or self._candidate(delta.text)
            self._finish = finished(delta.stop_reason) or self._finish

    def _candidate(self, text: str, calls: tuple[ToolCall, ...] = ()) -> Candidate:
        return Candidate(
            target=self._target.name,
            text=text,
            tool_calls=calls,
            weight=self._target.weight,
            priority=self._target.priority,
            payload=self,
        )


class TranslatedStream(MessagesStream):
    """The same stream as the chunks of a chat completion."""

    wire = "chat"

    def __init__(self, target: Target, response: aiohttp.ClientResponse, *, include_usage: bool, legacy: bool) -> None:
        super().__init__(target, response)
        self._legacy = legacy
        created = int(datetime.now(UTC).timestamp())
        self._chunks = ChunksOfEvents(created, include_usage=include_usage)

    def _keep(self, data: bytes) -> None:
        chunks = self._chunks.feed(msgspec.json.decode(data))
        self._ready += [_encode(legacy_functions.answered(chunk) if self._legacy else chunk) for chunk in chunks]
