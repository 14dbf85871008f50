"""What every live stream shares, whatever its wire: events held until they are asked for, and one honest end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable

from fanin import Candidate
from gateway.domain import Failure, FailureKind, Target, Usage
from gateway.errors import StreamBroken
from gateway.providers.reading import Reading, candidate, is_content

GRACE = 2.0
"""Seconds after a `finish_reason` that a usage event or the end of the body may still take."""


class EventStream:
    """The events of one upstream stream (see `domain.LiveStream`); a wire adds how they come in and how it is closed.

    Headers, role chunks and pings prove nothing: `commit` reads until an event carries words, a tool call or a refusal.
    """

    wire = "chat"

    def __init__(self, target: Target) -> None:
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
        self._callbacks: list[Callable[[], None]] = []
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
        if self._first is not None:
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
            if choice.finish_reason:
                self._finish = choice.finish_reason
                self._unfinished.discard(choice.index)

    @property
    def usage(self) -> Usage | None:
        """The upstream's own count, or the number of content deltas so far."""
        if self._counted is not None:
            return self._counted
        return Usage(completion=self._deltas, exact=False) if self._deltas else None

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once when the stream is over."""
        self._callbacks.append(callback)

    async def __aiter__(self) -> AsyncIterator[list[bytes]]:
        """Give the data of the events that came together; raise StreamBroken when the upstream broke off."""
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
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()
