"""The load: HTTP/1.1 connections that ask, check every answer, and cost little themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import httptools

_HEAD = b"POST %b HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_CHAT = b'{"model":"%b","stream":%b,"temperature":0.2,"messages":[{"role":"user","content":"%b"}]}'
_MESSAGES = b'{"model":"%b","max_tokens":500,"temperature":0.2,"messages":[{"role":"user","content":"%b"}]}'
_RESPONSES = b'{"model":"%b","temperature":0.2,"input":[{"role":"user","content":"%b"}]}'
_ANSWERS = (b'"choices"', b'"stop_reason"', b'"output"')
_EVENT = b'data: {"'


class Unanswered(Exception):
    """A server did not give the answer that was asked for: what was measured with it would mean nothing."""


def chat_request(model: str, question: str, *, stream: bool = False) -> bytes:
    """Return the bytes of a request; neither text may need escaping in JSON."""
    return _post(b"/v1/chat/completions", _CHAT % (model.encode(), b"true" if stream else b"false", question.encode()))


def messages_request(model: str, question: str) -> bytes:
    """Return the bytes of a request in Anthropic's dialect; neither text may need escaping in JSON."""
    return _post(b"/v1/messages", _MESSAGES % (model.encode(), question.encode()))


def responses_request(model: str, question: str) -> bytes:
    """Return the bytes of a request for a response; neither text may need escaping in JSON."""
    return _post(b"/v1/responses", _RESPONSES % (model.encode(), question.encode()))


def _post(path: bytes, body: bytes) -> bytes:
    return _HEAD % (path, len(body)) + body


class Connection(asyncio.Protocol):
    """A keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._first, self._last = self._loop.create_future(), self._loop.create_future()

    async def ask(self, request: bytes) -> bytes:
        """Send a request and return the whole body of its answer."""
        self._send(request)
        await self._last
        return self._checked()

    async def begin(self, request: bytes) -> None:
        """Send a request and wait for the first piece of its answer only; nothing else can be asked after that."""
        self._send(request)
        await self._first
        self._checked()

    def close(self) -> None:
        """Close the connection, in the middle of an answer if need be."""
        self._transport.abort()

    def _send(self, request: bytes) -> None:
        self._body.clear()
        self._first, self._last = self._loop.create_future(), self._loop.create_future()
        self._transport.write(request)

    def _checked(self) -> bytes:
        status, body = self._parser.get_status_code(), bytes(self._body)
        if status != 200 or not any(mark in body for mark in _ANSWERS):
            raise Unanswered(f"expected an answer, found {status} {body[:200]!r}")
        return body

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        for awaited in (self._first, self._last):
            if not awaited.done():
                awaited.set_exception(Unanswered(f"a connection was closed before its answer: {exc or 'end of file'}"))
                awaited.exception()  # of the two, only one is awaited

    # httptools

    def on_body(self, part: bytes) -> None:  # noqa: D102
        self._body += part
        if not self._first.done():
            self._first.set_result(None)

    def on_message_complete(self) -> None:  # noqa: D102
        self._last.set_result(None)


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """Open so many connections to a server on this machine, and close them at the end."""
    loop = asyncio.get_running_loop()
    opened: list[Connection] = []
    try:
        for _ in range(count):
            _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
            opened.append(connection)
        yield opened
    finally:
        for connection in opened:
            connection.close()


async def closed_loop(opened: Sequence[Connection], request: bytes, total: int) -> None:
    """Ask `total` times in all, on each connection as soon as the answer before has come."""
    left = iter(range(total))

    async def one_after_another(connection: Connection) -> None:
        for _ in left:
            await connection.ask(request)

    async with asyncio.TaskGroup() as together:
        for connection in opened:
            together.create_task(one_after_another(connection))


async def streams(opened: Sequence[Connection], request: bytes) -> int:
    """Ask for one stream on each connection at once; return how many events came in all."""
    async with asyncio.TaskGroup() as together:
        asked = [together.create_task(connection.ask(request)) for connection in opened]
    return sum(stream.result().count(_EVENT) for stream in asked)


async def in_turns(opened: Sequence[Connection], request: bytes, rate: float, each: int) -> list[list[float]]:
    """Ask the servers in turns, `rate` times a second each; return the seconds that their answers took.

    What disturbs the machine disturbs them all alike.
    """
    taken: list[list[float]] = [[] for _ in opened]
    pause = 1 / (rate * len(opened))
    due = time.perf_counter()
    for turn in range(each * len(opened)):
        due += pause
        await asyncio.sleep(due - time.perf_counter())
        server = turn % len(opened)
        start = time.perf_counter()
        await opened[server].ask(request)
        taken[server].append(time.perf_counter() - start)
    return taken
