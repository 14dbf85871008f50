"""An HTTP server on loopback whose answers are scripted: bodies or event streams, cut, stalled or refused at will."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

End = Literal["clean", "reset", "hang"]


@dataclass(frozen=True)
class Reply:
    """One scripted answer: a `body`, or the frames of an event stream.

    The server waits `pause` seconds before each frame and `delay` before the headers. After the last frame the answer
    ends as `end` says: cleanly, with a reset of the connection, or never.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    frames: Sequence[bytes] | None = None
    delay: float = 0.0
    pause: float = 0.0
    end: End = "clean"


@dataclass
class Received:
    """A request as it arrived, the frames sent, and the loop time at which its client hung up before the end.

    `client` is the port at the other end: the same for two requests on one connection.
    """

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    client: int
    gone_at: float | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.raw)


class WireServer:
    """Use it as `async with WireServer(reply) as server`; `server.received` is the journal."""

    def __init__(self, reply: Callable[[Received], Reply]) -> None:
        self._reply = reply
        self.received: list[Received] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # With cancellation on, a handler is cancelled the moment its client hangs up: that is what we want to see.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            request.path, dict(request.query), dict(request.headers), await request.read(), _port(request)
        )
        self.received.append(received)
        reply = self._reply(received)
        try:
            await asyncio.sleep(reply.delay)
            if reply.frames is None and reply.end == "clean":
                return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
            return await self._stream(request, received, reply)
        except (asyncio.CancelledError, ConnectionError):
            received.gone_at = asyncio.get_running_loop().time()
            received.gone.set()
            raise

    async def _stream(self, request: web.Request, received: Received, reply: Reply) -> web.StreamResponse:
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        await response.prepare(request)
        for frame in reply.frames if reply.frames is not None else [reply.body]:
            await asyncio.sleep(reply.pause)
            await response.write(frame)
            received.sent += 1
        if reply.end == "hang":
            await asyncio.Event().wait()
        if reply.end == "reset" and request.transport is not None:
            request.transport.abort()
        return response


def _port(request: web.Request) -> int:
    return int(request.transport.get_extra_info("peername")[1]) if request.transport is not None else 0
