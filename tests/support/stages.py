"""A provider whose streams a test plays itself, piece by piece: what one model says next is put into its queue."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

CUT = None
"""Put into a queue it breaks the connection."""
DONE = b"data: [DONE]\n\n"


@dataclass
class Stage:
    """The models by name: what each says next, whether it was asked, and whether its client has left it."""

    url: str = ""
    lines: dict[str, asyncio.Queue[bytes | None]] = field(default_factory=lambda: defaultdict(asyncio.Queue))
    asked: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    left: dict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    bodies: list[Any] = field(default_factory=list)
    refuse: Callable[[Any], bool] = lambda _: False
    """Which bodies are answered with status 400 and the `refusal`."""
    refusal: Any = None

    def say(self, model: str, *pieces: bytes | None) -> None:
        """Let a model say these pieces next."""
        for piece in pieces:
            self.lines[model].put_nowait(piece)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        if self.refuse(body):
            return web.json_response(self.refusal, status=400)
        model = body["model"]
        self.asked[model].set()
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        try:
            await response.prepare(request)
            while (piece := await self.lines[model].get()) is not CUT:
                await response.write(piece)
                if piece == DONE:
                    return response
        except (asyncio.CancelledError, ConnectionError):
            self.left[model].set()
            raise
        assert request.transport is not None
        request.transport.abort()
        return response


def delta(content: str = "", finish: str | None = None, *, index: int = 0, **further: Any) -> bytes:
    """One chunk of a stream."""
    choice = {"index": index, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "model": "m", "choices": [choice], **further}).encode() + b"\n\n"


@asynccontextmanager
async def stages() -> AsyncIterator[Stage]:
    """Serve such a provider."""
    stage = Stage()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", stage._answer)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stage.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield stage
    finally:
        await runner.cleanup()
