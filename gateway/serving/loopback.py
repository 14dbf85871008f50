"""An application on a free port of this machine, inside this process: for rehearsals, of which many run at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from gateway.serving.connection import Connection

GRACE = 1.0
"""Seconds that requests in flight get at the end."""


class _Server(uvicorn.Server):
    """uvicorn's, but told when it is over: its own looks at the clock cost every rehearsal a fifth of a second."""

    def __init__(self, app: Any) -> None:
        super().__init__(uvicorn.Config(app, http=Connection, ws="none", log_config=None, proxy_headers=False))
        self.over = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the process: there may be many servers in it."""
        yield

    async def main_loop(self) -> None:
        """Serve until it is over."""
        await self.on_tick(0)
        await self.over.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 -- the block closes it
        """Close what is idle, and let the rest finish."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            _, late = await asyncio.wait(self.server_state.tasks, timeout=GRACE)
            for task in late:
                task.cancel()
        await self.lifespan.shutdown()


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve a gateway's ASGI application until the end of the block; give its address."""
    # The protocol is named: asyncio sends small packets at once only where it can see that it is TCP.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        server = _Server(app)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve([listener]))
            while not server.started:  # noqa: ASYNC110 -- uvicorn offers no event to wait for
                await asyncio.sleep(0.001)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.over.set()
