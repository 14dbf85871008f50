"""What goes out on a client's connection, and when: as few packets as possible, and nothing held back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from gateway.api.exchange import ClientGone, Exchange
from gateway.serving.connection import Connection
from gateway.settings import Limits
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Application:
    """Sends a head, and its body at once or only when it may."""

    limits = Limits()

    def __init__(self, body: bytes, *, at_once: bool) -> None:
        self.body, self.may_go_on = body, asyncio.Event()
        if at_once:
            self.may_go_on.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = [(b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not self.may_go_on.is_set():
            await self.may_go_on.wait()
        await send({"type": "http.response.body", "body": self.body})


@asynccontextmanager
async def answering(application: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's connection to a server that runs the application."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(application, http=Connection, lifespan="off", proxy_headers=False, log_config=None)
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server._serve([listener]))
            while not server.started:  # noqa: ASYNC110 -- uvicorn offers no event to wait for
                await asyncio.sleep(0.001)
            reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            try:
                yield reader, writer
            finally:
                writer.close()
                server.should_exit = True


class Watching:
    """Answers the first request at once and is long in cleaning up; works at the second for as long as it may."""

    limits = Limits()

    def __init__(self) -> None:
        self.clean, self.working = asyncio.Event(), asyncio.Event()
        self.heard: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await exchange.body()
            if exchange.path == "/late":
                self.working.set()
                assert (await receive())["type"] == "http.disconnect"
            with exchange.watched():
                if exchange.path == "/first":
                    await exchange.respond(200, b"hello", {})
                    await self.clean.wait()
                    self.heard.append("/first is clean")
                else:
                    self.working.set()
                    await asyncio.Event().wait()
        except ClientGone:
            self.heard.append(f"{exchange.path} is gone")


async def test_who_leaves_is_heard_by_the_request_that_is_served_and_by_no_other() -> None:
    """Also where the one before is still cleaning up, and ends, after this one began."""
    application = Watching()
    async with answering(application) as (reader, writer):
        writer.write(REQUEST.replace(b"/", b"/first", 1))
        assert (await reader.read(65536)).endswith(b"hello")
        writer.write(REQUEST.replace(b"/", b"/second", 1))
        await application.working.wait()
        application.clean.set()
        await eventually(lambda: len(application.heard) == 1)
        writer.close()
        await eventually(lambda: len(application.heard) == 2)
    assert application.heard == ["/first is clean", "/second is gone"]


async def test_who_has_left_before_the_work_begins_is_noticed_at_once() -> None:
    """A client may be gone between its request and its turn."""
    application = Watching()
    async with answering(application) as (_, writer):
        writer.write(REQUEST.replace(b"/", b"/late", 1))
        await application.working.wait()
        writer.close()
        await eventually(lambda: len(application.heard) == 1)
    assert application.heard == ["/late is gone"]


async def test_a_response_is_one_packet() -> None:
    """Head and body come with the first read, also if the body looks like a head."""
    for body in (b"hello", b"HTTP/1.1 200 OK"):
        async with answering(Application(body, at_once=True)) as (reader, writer):
            for _ in range(20):
                writer.write(REQUEST)
                assert (await reader.read(65536)).endswith(b"\r\n\r\n" + body)


async def test_a_head_does_not_wait_for_a_body_that_takes_its_time() -> None:
    """The client knows the status and the headers of a stream before its first words."""
    application = Application(b"hello", at_once=False)
    async with answering(application) as (reader, writer):
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        application.may_go_on.set()
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"\r\n\r\nhello")


class Echo(Application):
    """Answers with the method, the path and the body."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        event, body = await receive(), b""
        while event["type"] == "http.request":
            body += event["body"]
            if not event["more_body"]:
                break
            event = await receive()
        self.body = b"%s %s %s" % (scope["method"].encode(), scope["raw_path"], body)
        await super().__call__(scope, receive, send)


OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n"


@pytest.mark.parametrize("pieces", [1, 2, 40])
async def test_a_client_that_offers_http2_is_served_in_http1_with_its_body(pieces: int) -> None:
    """Java's own client offers it with every request; the connection goes on, also with what comes behind at once."""
    request = b"POST /v1/x HTTP/1.1\r\nhost: x\r\n" + OFFER + b"content-length: 9\r\n\r\n{'a': 12}"
    async with answering(Echo(b"", at_once=True)) as (reader, writer):
        for sent in (request, request + REQUEST):
            size = -(-len(sent) // pieces)
            for start in range(0, len(sent), size):
                writer.write(sent[start : start + size])
                await writer.drain()
                await asyncio.sleep(0.001)
            assert (await reader.readuntil(b"}")).endswith(b"\r\n\r\nPOST /v1/x {'a': 12}")
        assert b"GET / " in await reader.read(65536)


async def test_an_offer_without_a_body_or_in_chunks_is_declined_as_well() -> None:
    """A GET, and a body whose length nobody has said."""
    chunked = b"POST / HTTP/1.1\r\nhost: x\r\n" + OFFER + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with answering(Echo(b"", at_once=True)) as (reader, writer):
        writer.write(REQUEST[:-2] + OFFER + b"\r\n")
        assert (await reader.read(65536)).endswith(b"\r\n\r\nGET / ")
        writer.write(chunked)
        assert (await reader.read(65536)).endswith(b"\r\n\r\nPOST / abc")
