"""What every live stream shares, whatever its wire: events held until they are asked for, and one honest end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fanin import Candidate
from gateway.domain import Failure, FailureKind, Headers, Target, Usage
from gateway.errors import StreamBroken
from gateway.providers.closing import Closing
from gateway.providers.reading import Choice, Reading, candidate, is_content, thinking, thought_of
from gateway.providers.splicing import Splice
from gateway.providers.spoken import Spoken

GRACE = 2.0
"""Seconds after a `finish_reason` that a usage event or the end of the body may still take."""
PIECE = 64 * 1024
"""Bytes that are taken in at once: what a slow client has not read yet is held once more on its way out."""
_WORDLESS = 65_536
"""Events without words that are held for a stream that has not begun; reasoning may come in as many."""


class EventStream(Closing):
    """The events of one upstream stream (see `gateway.live_stream`); a wire adds how they come in and how it is closed.

    Headers, role chunks and pings prove nothing: `commit` reads until an event carries words, a tool call or a refusal.
    """

    wire = "chat"
    postscript: Mapping[str, Any] = {}
    headers: Headers = ()
    dropped: tuple[str, ...] = ()
    media: str | None = None

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target
        self._ready: list[bytes] = []
        self._first: Candidate | None = None
        self._finish: str | None = None
        self._unfinished: set[int] = set()
        """The choices that have begun and not said that they are complete."""
        self._over = False
        self._failure: Failure | None = None
        self._counted: Usage | None = None
        self._deltas = 0
        self._said: Spoken | None = Spoken()
        """The text so far; None once there is more than the text of one choice."""
        self._thoughts: list[str] | None = [] if target.on_reasoning_only == "answer" else None
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        """When an event with data came last, or since when we wait; infinity while nobody waits for one."""

    async def _more(self) -> None:
        """Take in what arrives next: `_take` it, or set `_over` and perhaps `_failure`."""
        raise NotImplementedError

    async def _disconnect(self) -> None:
        """Close the connection; one whose body was read to its end stays in the pool."""
        raise NotImplementedError

    async def commit(self) -> Candidate | Failure:
        """Read up to the first words; return the candidate that carries the open stream, or why there is none."""
        while self._first is None and not self._over:
            await self._more()
            if len(self._ready) > _WORDLESS:
                return self._failed(FailureKind.EMPTY, "the provider's stream goes on and on without content")
        if self._first is None and self._failure is None and (thought := "".join(self._thoughts or ())):
            self._first = candidate(self._target, thinking(thought, self._finish), self)
        if self._first is not None:
            self._heard = math.inf
            return self._first
        if self._failure is not None:
            return self._failure
        if self._finish == "content_filter":
            return self._failed(FailureKind.FILTERED, "the provider's content filter held the answer back")
        return self._failed(FailureKind.EMPTY, "the provider's stream ended without content")

    def _failed(self, kind: FailureKind, detail: str) -> Failure:
        return Failure(self._target.name, kind, detail)

    def _note(self, reading: Reading) -> None:
        """Take down what an event says: tokens, the first words, the finish reason."""
        self._counted = reading.usage_or(self._counted)
        for choice in reading.choices or ():
            if is_content(choice):
                self._deltas += 1
                self._first = self._first or candidate(self._target, choice, self)
                self._unfinished.add(choice.index)
                self._remember(_plain(choice))
            elif self._thoughts is not None:
                self._thoughts.append(thought_of(choice))
            if choice.finish_reason:
                self._finish = choice.finish_reason
                self._unfinished.discard(choice.index)

    def _remember(self, text: str | None) -> None:
        """Keep a piece of the text (None: of what is more than the text of one choice); end a stream that is in a loop.

        A loop would go on to the limit, and be paid for.
        """
        if text is None:
            self._said = None
        elif self._said is not None and self._said.add(text):
            self._end(self._failed(FailureKind.DEGENERATE, "the answer repeats itself"))

    def _end(self, failure: Failure) -> None:
        """Note the end of the stream; after a `finish_reason` the answer is complete, whatever comes then."""
        raise NotImplementedError

    @property
    def target(self) -> str:
        """The target's name."""
        return self._target.name

    @property
    def failure(self) -> Failure | None:
        """What broke it off."""
        return self._failure

    async def hear(self, count: int) -> str | None:
        """Read on until it has said so many characters or is over; return all of it, None where that is not all."""
        while True:
            said = None if self._said is None or self.wire != "chat" else self._said.text
            if said is None or len(said) >= count or self._over:
                return said
            if self._heard == math.inf:
                self._heard = self._loop.time()
            await self._more()

    def forget(self) -> None:
        """Keep the text no longer."""
        if self._said is not None:
            self._said.forget()

    async def resume(self, like: bytes, skip: int) -> AsyncIterator[list[bytes]]:
        """Give the events behind so many characters as the continuation of another stream."""
        splice = Splice(like, skip)
        async for events in self:
            if chunks := splice(events):
                yield chunks

    @property
    def usage(self) -> Usage | None:
        """The upstream's own count, or the number of content deltas so far."""
        if self._counted is not None:
            return self._counted
        return Usage(completion=self._deltas, exact=False) if self._deltas else None

    async def __aiter__(self) -> AsyncIterator[list[bytes]]:
        """Give the data of the events that came together; raise StreamBroken when the upstream broke off."""
        if not self._ready:
            self._heard = self._loop.time()
        while True:
            if self._ready:
                events, self._ready = self._ready, []
                self._heard = math.inf  # a slow client is no silence of the upstream's
                yield events
                self._heard = self._loop.time()
            if self._failure is not None:
                raise StreamBroken(self._failure)
            if self._over:
                return
            await self._more()

    async def aclose(self) -> None:
        """End the stream; the upstream stops writing."""
        try:
            await self._disconnect()
        finally:
            self._closed()


def _plain(choice: Choice) -> str | None:
    """Return the text of a piece that is nothing but text of the only choice."""
    said = choice.delta
    if said is None or choice.index or said.tool_calls or said.function_call or said.refusal or said.audio:
        return None
    return said.content if isinstance(said.content, str) else None
