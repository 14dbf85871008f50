"""A live chat completion stream on the OpenAI wire: complete only when the wire said so."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp

from fanin import Candidate
from gateway.domain import Failure, FailureKind, Target
from gateway.providers import classify
from gateway.providers.live import GRACE, PIECE, EventStream
from gateway.providers.reading import read_chunk
from gateway.providers.sse import SSEParser

_DONE = b"[DONE]"
_DRAIN = 0.05
"""Seconds that the last bytes of a finished body may take before its connection is given up."""


class WireStream(EventStream):
    """The events of one response.

    The end is complete only after a `finish_reason` or `[DONE]`; a connection that closes earlier broke off, however
    cleanly it closed.
    """

    def __init__(self, target: Target, response: aiohttp.ClientResponse, wire: str | None = None) -> None:
        super().__init__(target)
        self.wire = wire or self.wire
        self._response = response
        self._parser = SSEParser()
        self._done = False
        self._stalled = False
        self._watch: asyncio.TimerHandle | None = None

    @property
    def _complete(self) -> bool:
        return self._done or (self._finish is not None and not self._unfinished)

    async def commit(self) -> Candidate | Failure:
        """Read up to the first words, for which the attempt's own timeout waits; from then on watch for silence."""
        outcome = await super().commit()
        if isinstance(outcome, Candidate):
            # One timer that looks again when it rings costs nothing an event; a timeout around every read does.
            self._watch = self._loop.call_later(GRACE if self._complete else self._target.idle, self._look)
        return outcome

    def _look(self) -> None:
        """End a stream that has been silent too long: closing its connection wakes whoever reads from it."""
        patience, now = GRACE if self._complete else self._target.idle, self._loop.time()
        if now < self._heard + patience:
            self._watch = self._loop.call_at(min(self._heard, now) + patience, self._look)
        else:
            self._stalled = True
            self._response.close()

    async def _more(self) -> None:
        try:
            chunk = await self._response.content.read(PIECE)
            for data in self._parser.feed(chunk) if chunk else self._parser.close():
                self._take(data)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            # aiohttp raises one and the same object for every connection that we close while it is read: what its
            # traceback holds, this stream among it, would stay for ever.
            exc.__traceback__ = None
            if self._stalled:
                self._end(self._failed(FailureKind.STALLED, f"the stream fell silent for {self._target.idle:g} s"))
            else:
                self._end(classify.from_exception(self._target.name, exc))
        else:
            if not chunk:
                self._end(self._failed(FailureKind.TRUNCATED, "the stream ended before the answer did"))

    def _take(self, data: bytes) -> None:
        if self._over:
            return
        self._heard = self._loop.time()
        if data == _DONE:
            self._done = self._over = True
            return
        reading = read_chunk(data)
        if reading is None:
            self._end(self._failed(FailureKind.MALFORMED, "an event of the stream is not valid JSON"))
        elif reading.error is not None:
            self._end(classify.from_error_object(self._target.name, reading.error, None))
        else:
            self._ready.append(data)
            self._note(reading)
            self._hurry()

    def _hurry(self) -> None:
        """Wait for the end of a complete answer no longer than the grace period."""
        if self._complete and self._watch is not None:
            self._watch.cancel()
            self._watch = self._loop.call_later(GRACE, self._look)

    def _end(self, failure: Failure) -> None:
        """Note the end of the stream: after a `finish_reason` the answer is complete, whatever the connection does."""
        self._over = True
        if not self._complete:
            self._failure = failure

    def _settle(self) -> None:
        """Take in what has arrived unread: the tokens of a stream that nobody wants any more are paid for, too."""
        if not self._over:
            with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, RuntimeError):
                for data in self._parser.feed(self._response.content.read_nowait()):
                    self._take(data)

    async def _disconnect(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        content = self._response.content
        self._settle()
        try:
            if self._complete and not content.is_eof():
                # The end of the body arrives with `[DONE]` or right behind it; the connection is worth this moment.
                with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
                    async with asyncio.timeout(_DRAIN):
                        await content.readany()
        finally:
            self._response.close()
