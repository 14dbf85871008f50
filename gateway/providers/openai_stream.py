"""A live chat completion stream: committed at the first words, complete only when the wire said so."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable

import aiohttp

from fanin import Candidate
from gateway.domain import Failure, FailureKind, Target, Usage
from gateway.errors import StreamBroken
from gateway.providers import classify
from gateway.providers.reading import Reading, candidate, is_content, read_chunk
from gateway.providers.sse import SSEParser

_DONE = b"[DONE]"
IDLE = 30.0
"""Seconds between two events with data before a stream counts as stalled. Pings and comments do not reset it."""
GRACE = 2.0
"""Seconds after a `finish_reason` that a usage event or `[DONE]` may still take."""
_DRAIN = 0.05


class WireStream:
    """The events of one upstream stream (see `domain.LiveStream`).

    Headers, role chunks and pings prove nothing: `begin` reads until an event carries words, a tool call or a refusal.
    The end is complete only after a `finish_reason` or `[DONE]`; a connection that closes earlier broke off, however
    cleanly it closed.
    """

    def __init__(self, target: Target, response: aiohttp.ClientResponse) -> None:
        self._target = target
        self._response = response
        self._parser = SSEParser()
        self._ready: deque[bytes] = deque()
        self._first: Candidate | None = None
        self._finished = False
        self._over = False
        self._failure: Failure | None = None
        self._counted: Usage | None = None
        self._deltas = 0
        self._callbacks: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()

    @classmethod
    async def begin(cls, target: Target, response: aiohttp.ClientResponse) -> Candidate | Failure:
        """Read up to the first words; return the candidate that carries the open stream, or why there is none."""
        stream = cls(target, response)
        while stream._first is None and not stream._over:
            await stream._more()
        if stream._first is not None:
            return stream._first
        if stream._failure is not None:
            return stream._failure
        return Failure(target.name, FailureKind.EMPTY, "the provider's stream ended without content")

    @property
    def usage(self) -> Usage | None:
        """The upstream's own count, or the number of content deltas so far."""
        if self._counted is not None:
            return self._counted
        return Usage(completion=self._deltas, exact=False) if self._deltas else None

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once when the stream is over."""
        self._callbacks.append(callback)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give each event's data; raise StreamBroken when the upstream broke off."""
        while True:
            while self._ready:
                yield self._ready.popleft()
            if self._failure is not None:
                raise StreamBroken(self._failure)
            if self._over:
                return
            await self._more()

    async def _more(self) -> None:
        """Take in what arrives next."""
        try:
            async with asyncio.timeout_at(self._heard + (GRACE if self._finished else IDLE)):
                chunk = await self._response.content.readany()
            for data in self._parser.feed(chunk) if chunk else self._parser.close():
                self._heard = self._loop.time()
                self._take(data)
        except TimeoutError:
            self._end(Failure(self._target.name, FailureKind.STALLED, f"the stream fell silent for {IDLE:g} s"))
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            self._end(classify.from_exception(self._target.name, exc))
        else:
            if not chunk:
                self._end(Failure(self._target.name, FailureKind.TRUNCATED, "the stream ended before the answer did"))

    def _take(self, data: bytes) -> None:
        if self._over:
            return
        if data == _DONE:
            self._finished = self._over = True
            return
        reading = read_chunk(data)
        if reading is None:
            self._end(Failure(self._target.name, FailureKind.MALFORMED, "an event of the stream is not valid JSON"))
        elif reading.error is not None:
            self._end(classify.from_error_object(self._target.name, reading.error, None))
        else:
            self._ready.append(data)
            self._note(reading)

    def _note(self, reading: Reading) -> None:
        self._counted = reading.usage_or(self._counted)
        for choice in reading.choices or ():
            if is_content(choice):
                self._deltas += 1
                if self._first is None:
                    self._first = candidate(self._target, choice, self)
            if choice.finish_reason:
                self._finished = True

    def _end(self, failure: Failure) -> None:
        """Note the end of the stream: after a `finish_reason` the answer is complete, whatever the connection does."""
        self._over = True
        if not self._finished:
            self._failure = failure

    async def aclose(self) -> None:
        """Close the connection; one whose body was read to its end is back in the pool already."""
        content = self._response.content
        try:
            if self._finished and not content.is_eof():
                # The end of the body arrives with `[DONE]` or right behind it; the connection is worth this moment.
                with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                    async with asyncio.timeout(_DRAIN):
                        await content.readany()
        finally:
            self._response.close()  # a no-op for the connection of a body that was read to its end
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()
