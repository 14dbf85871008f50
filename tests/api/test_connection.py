"""What goes out on a client's connection, and when: as few packets as possible, and nothing held back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from gateway.serving.connection import Connection
from gateway.settings import Limits

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
async def answering(application: Application) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
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
