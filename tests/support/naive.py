"""The control: a proxy as one writes it in an afternoon. It asks the first target and relays whatever comes.

`first_to_send_headers` is its race.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from aiohttp import web


@asynccontextmanager
async def naive_proxies(upstream: str, model: str) -> AsyncIterator[str]:
    """Serve the proxy; give its base URL."""

    async def relay(request: web.Request) -> web.StreamResponse:
        body = {**msgspec.json.decode(await request.read()), "model": model}
        async with session.post(f"{upstream}/chat/completions", json=body) as answer:
            response = web.StreamResponse(status=answer.status, headers={"content-type": answer.content_type})
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", relay)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


async def first_to_send_headers(session: aiohttp.ClientSession, url: str, *models: str) -> str:
    """Ask several models for a stream; return the one whose headers came first, and leave the others."""
    async with asyncio.TaskGroup() as group:
        calls = {
            group.create_task(
                session.post(url, json={"model": model, "stream": True, "messages": [{"role": "user", "content": "?"}]})
            ): model
            for model in models
        }
        done, running = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()
    for task in done:
        task.result().close()
    return calls[done.pop()]
