"""uvicorn with the end of a careful server: say "not ready", stop accepting, let requests finish, then end them."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Protocol, cast

import uvicorn

from gateway.serving.connection import Connection
from gateway.serving.generations import Generations
from gateway.serving.options import Options

FAREWELL = 1.0
"""Seconds in which idle connections may bring one more request, which is answered with `connection: close`.

A client that reuses a connection in the moment in which we close it would see a failure."""

LAST_WORDS = 2.0
"""Seconds for the errors that end what is still in flight after the drain."""

_STEP = 0.05
_TICK = 0.1
"""Seconds between two looks of uvicorn's main loop."""
_SWEEP_EVERY = 10


class Attendant(Protocol):
    """What looks after the server ten times a second: configuration, signals, the parent of a worker."""

    async def attend(self, server: Server) -> None:
        """Do what is due; the server's own time goes on meanwhile."""
        ...


def _is_news(record: logging.LogRecord) -> bool:
    """Drop what uvicorn says of bytes that broke off: all one can do is cut them, and the request's line says so."""
    return "without completing response" not in str(record.msg)


class Server(uvicorn.Server):
    """One serving process."""

    def __init__(self, app: Generations, options: Options, attendant: Attendant, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                loop="uvloop" if sys.platform != "win32" else "asyncio",
                http=Connection,
                ws="none",
                access_log=False,
                log_config=None,
                log_level="error",  # what clients send is no reason for a line
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._due = math.inf
        self._app, self._options, self._attendant, self._on_ready = app, options, attendant, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting, and say so."""
        await super().startup(sockets)
        if self.started:
            _settle_memory()
            self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Look after the process every tenth of a second."""
        now = asyncio.get_running_loop().time()
        self._app.current.admission.note_lag(max(0.0, now - self._due))
        if counter % _SWEEP_EVERY == 0:
            for connection in list(cast("set[Connection]", self.server_state.connections)):
                connection.sweep(now)
        await self._attendant.attend(self)
        over = await super().on_tick(counter)
        self._due = asyncio.get_running_loop().time() + _TICK
        return over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain: everything in flight gets its time, then an error; nothing is cut off in silence."""
        state, connections = self.server_state, cast("set[Connection]", self.server_state.connections)
        self._app.drain()
        await self._wait(self._options.drain_delay, lambda: False)
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        end = asyncio.get_running_loop().time() + self._options.drain
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        for connection in connections:
            connection.bid_farewell()
        await self._wait(min(FAREWELL, self._options.drain), lambda: not connections)
        for connection in list(connections):
            connection.shutdown()
        await self._wait(end - asyncio.get_running_loop().time(), lambda: not connections and not state.tasks)
        self._app.expire()
        await self._wait(LAST_WORDS, lambda: not state.tasks)
        for task in list(state.tasks):
            task.cancel()
        for connection in list(connections):
            connection.transport.abort()
        await self.lifespan.shutdown()

    async def _wait(self, seconds: float, over: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end and not over() and not self.force_exit:  # noqa: ASYNC110 -- no event tells all three
            await asyncio.sleep(_STEP)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- the signature is uvicorn's
        """Drain on the first signal, hurry on the second. SIGTERM is an order that was carried out: exit 0."""
        if sig == signal.SIGINT and not self._captured_signals:
            self._captured_signals.append(sig)
        self.force_exit = self.should_exit
        self.should_exit = True


def _settle_memory() -> None:
    """Take what start-up made out of the garbage collector's sight, and let it run less often.

    Requests make many short-lived objects and hardly a cycle; walking the imported modules every few hundred requests
    would cost a tenth of all CPU.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 100)
