"""Plays a reply: in the scripted rhythm, event by event, and broken where the script breaks it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.providers.simulator import transmission
from gateway.providers.simulator.asking import Ask
from gateway.providers.simulator.framing import Event, Framer
from gateway.providers.simulator.journal import Entry
from gateway.providers.simulator.problems import Problem, retry_headers
from gateway.providers.simulator.readers import Wait
from gateway.providers.simulator.replying import Reply
from gateway.providers.simulator.stage import Turn
from gateway.providers.simulator.transmission import Transmission, pause

_JSON = ("Content-Type", "application/json")
_SSE = ("Content-Type", "text/event-stream; charset=utf-8")
_NEVER_SENT = 1_000_000  # the Content-Length of a stream that is `short`
_HTML = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


class Dialect(Protocol):
    """One wire format: how a request is read and an answer written.

    `ping` is its keep-alive event, or empty; `media` the content type of a whole answer.
    """

    ping: bytes
    media: str

    def __hash__(self) -> int: ...

    def read(self, body: dict[str, Any], /) -> Ask:
        """Read a request or raise RefusedError."""
        ...

    def whole(self, reply: Reply, /) -> bytes:
        """Return the body of an answer that is not streamed."""
        ...

    def events(self, reply: Reply, /) -> Iterator[Event]:
        """Give the events of a stream."""
        ...

    def problem(self, problem: Problem, shape: str, request_id: str, /) -> bytes:
        """Return the body of an error."""
        ...

    def problem_events(self, problem: Problem, shape: str, request_id: str, done: bool, /) -> Iterator[Event]:
        """Give the events of an error in the middle of a stream, with the end of the stream if `done`."""
        ...

    def answer_headers(self, request_id: str, elapsed: float, /) -> list[tuple[str, str]]:
        """Return the header fields that every answer carries; `elapsed` is in seconds."""
        ...


@dataclass(slots=True)
class Call:
    """One request on its way: how to answer it, and where to write down what happened.

    `problem` is the error that the script wants, `epoch` the reading of `time.monotonic` at which the journal's clock
    starts.
    """

    dialect: Dialect
    turn: Turn
    entry: Entry
    epoch: float
    problem: Problem | None = None


class Player:
    """Plays one call on its transmission."""

    def __init__(self, call: Call, line: Transmission) -> None:
        self._call = call
        self._behaviour = call.turn.behaviour
        self._entry = call.entry
        self._line = line
        self._framer = Framer(call.turn.behaviour)
        self._due = call.epoch + call.entry.started  # the monotonic time of the next scripted moment

    async def preamble(self, *, reused: bool) -> None:
        """Play what comes before any answer: silence, a reset, the latency. `reused` tells of the connection."""
        await self._until(self._behaviour.silent)
        if self._behaviour.reset or (self._behaviour.stale and reused):
            await self._line.end(transmission.RST)
        await self._until(self._draw(self._behaviour.latency))

    async def refuse(self, problem: Problem) -> None:
        """Answer with an error; also with one that hides in a 200 body."""
        behaviour = self._behaviour
        status = problem.status if behaviour.error_in == "status" else 200
        fields = self._fields()
        if behaviour.retry_after is not None:
            fields += retry_headers(behaviour.retry_after, behaviour.retry_as, self._line.now)
        match behaviour.error_shape:
            case "none":
                await self._line.send(status, b"", fields)
            case "text":
                await self._line.send(status, problem.message.encode(), [("Content-Type", "text/plain"), *fields])
            case shape:
                body = self._call.dialect.problem(problem, shape, self._request_id)
                await self._line.send(status, body, [_JSON, *fields])

    async def redirect(self, location: str) -> None:
        """Answer with a redirect."""
        await self._line.send(self._behaviour.status or 302, b"", [("Location", location), *self._fields()])

    async def page(self) -> None:
        """Answer with an HTML page, as a proxy in front of a provider does."""
        status = self._behaviour.status or 200
        page = _HTML.format("Welcome" if status == 200 else f"{status} Error")
        await self._line.send(status, page.encode(), [("Content-Type", "text/html"), *self._fields()])

    async def whole(self, reply: Reply) -> None:
        """Answer in one body, after the time that its tokens take."""
        behaviour, total = self._behaviour, reply.generated
        body = self._call.dialect.whole(reply)
        position = total if behaviour.cut is None else min(behaviour.cut, total)
        await self._until(self._draw(behaviour.ttft))
        if behaviour.stall:
            await self._generate(min(behaviour.stall_at, position))
            await self._until(behaviour.stall)
        await self._generate(position)
        if behaviour.malformed is not None or behaviour.truncated:
            body = body[: len(body) * 2 // 3]
        fields = [("Content-Type", self._call.dialect.media), *self._fields()]
        if behaviour.cut is None:
            await self._line.send(200, body, fields)
            return
        # The break comes as far into the body as its token is into the answer.
        length = None if behaviour.cut_by == transmission.EOF else len(body) + 1
        await self._line.open(200, fields, length)
        await self._line.write(body[: len(body) * position // max(total, 1)])
        await self._line.end(behaviour.cut_by)

    async def _generate(self, position: int) -> None:
        """Wait as long as the tokens up to a position take; count also those that the client does not wait for."""
        begun, done = self._due, max(1, self._entry.generated)
        gaps = max(0, position - done)
        wait = self._draw_many(self._behaviour.pace, gaps)
        try:
            await self._until(wait)
        except asyncio.CancelledError:
            self._entry.generated = min(position, done + int((time.monotonic() - begun) * gaps / wait))
            raise
        self._entry.generated = position

    async def stream(self, reply: Reply) -> None:
        """Answer event by event."""
        behaviour = self._behaviour
        events = self._call.dialect.events(reply)
        if behaviour.early != "none":
            await self._open_stream()
        if behaviour.early == "role":
            await self._emit(next(events))
        await self._until(self._draw(behaviour.ttft))
        if behaviour.early == "none":
            await self._open_stream()
        await self._line.end(await self._tokens(events, reply.generated))

    async def _open_stream(self) -> None:
        await self._line.open(200, [_SSE, *self._fields()], _NEVER_SENT if self._behaviour.short else None)
        if self._framer.opening:
            await self._line.write(self._framer.opening)

    async def _tokens(self, events: Iterator[Event], total: int) -> str:
        """Send the events one by one, striking where a fault is scripted; return how the stream ends."""
        behaviour = self._behaviour
        bad = max(1, min(behaviour.malformed, total)) if behaviour.malformed is not None else None
        ending = await self._strike(0, total)
        while ending is None and (event := next(events, None)) is not None:
            if not event.tokens:
                await self._emit(event)
                continue
            if self._entry.generated:
                await self._until(self._draw(behaviour.pace))
            self._entry.generated += event.tokens
            position = self._entry.generated
            last = behaviour.truncated and position == total
            await self._line.write(self._framer.frame(event, broken=last or position == bad, unfinished=last))
            ending = transmission.EOF if last else await self._strike(position, total)
        return ending or (transmission.FIN if behaviour.short else transmission.WHOLE)

    async def _strike(self, position: int, total: int) -> str | None:
        """Play the faults scripted for after so many tokens; return how the stream ends, or None if it goes on."""
        behaviour, problem = self._behaviour, self._call.problem
        if behaviour.stall and position == min(behaviour.stall_at, total):
            await self._until(behaviour.stall)
        if problem is not None and position == min(behaviour.error_at, total):
            done = not behaviour.no_done
            for event in self._call.dialect.problem_events(problem, behaviour.error_shape, self._request_id, done):
                await self._emit(event)
            return transmission.WHOLE
        if behaviour.cut is not None and position == min(behaviour.cut, total):
            return behaviour.cut_by
        return None

    async def _emit(self, event: Event) -> None:
        await self._line.write(self._framer.frame(event))

    async def _until(self, seconds: float) -> None:
        """Let the script's clock go on by so many seconds, with signs of life while a stream is open."""
        self._due += seconds
        ping = self._behaviour.ping if self._line.response is not None else None
        while (rest := self._due - time.monotonic()) > 0:
            await pause(rest if ping is None else min(rest, ping))
            if ping is not None and self._due > time.monotonic():
                await self._line.write(self._framer.ping(self._call.dialect.ping))

    def _draw(self, wait: Wait) -> float:
        return wait.draw(self._call.turn.chance) if wait.fixed is None else wait.fixed

    def _draw_many(self, wait: Wait, times: int) -> float:
        if times == 0:  # no gap is no time, though the gap be endless
            return 0.0
        return times * wait.fixed if wait.fixed is not None else sum(self._draw(wait) for _ in range(times))

    @property
    def _request_id(self) -> str:
        return f"req_{self._call.turn.digest}"

    def _fields(self) -> list[tuple[str, str]]:
        elapsed = time.monotonic() - self._call.epoch - self._entry.started
        return self._call.dialect.answer_headers(self._request_id, elapsed)
