"""One gateway after another behind the same socket: the new one serves what comes, the old one what is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from gateway.api.exchange import Receive, Scope, Send
from gateway.app import Gateway
from gateway.serving import descriptors
from gateway.serving.listening import secrets
from gateway.settings import Settings

_LOOK_EVERY = 0.2
"""Seconds between two looks whether an earlier generation has ended its last request."""


class Generations:
    """The ASGI application: the gateway that serves now, and the earlier ones until their last request has ended."""

    def __init__(self, first: Gateway) -> None:
        self.current = first
        self.limits = descriptors.within(first.settings.limits)
        """What new connections are held to."""
        self._alive: list[Gateway] = []
        self._retired: dict[Gateway, asyncio.Event] = {}
        self._group = asyncio.TaskGroup()
        self._newest: asyncio.Task[None] | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one ASGI connection; a request costs no more than without generations."""
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        return self.current.asgi(scope, receive, send)

    async def replace(self, settings: Settings) -> None:
        """Let another configuration serve what comes from now on."""
        old = self.current
        old.log.learn(secrets(settings))
        new = Gateway(settings, old.log, previous=old)
        await self._begin(new)
        self.current, self.limits = new, descriptors.within(settings.limits)
        self._retired[old].set()

    def drain(self) -> None:
        """Say on `/readyz` that no more requests should come."""
        self.current.asgi.ready, self.current.asgi.draining = False, True

    def expire(self) -> None:
        """End every request that is still in flight with an error."""
        for gateway in self._alive:
            gateway.asgi.expire()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._group:
            await self._begin(self.current)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            for retired in self._retired.values():
                retired.set()
        await send({"type": "lifespan.shutdown.complete"})

    async def _begin(self, gateway: Gateway) -> None:
        started, self._retired[gateway] = asyncio.Event(), asyncio.Event()
        self._newest = self._group.create_task(self._run(gateway, started, self._newest))
        await started.wait()

    async def _run(self, gateway: Gateway, started: asyncio.Event, earlier: asyncio.Task[None] | None) -> None:
        """Keep one generation alive; an earlier one may still use the providers that were handed down to this one."""
        async with gateway.lifespan():
            self._alive.append(gateway)
            started.set()
            await self._retired[gateway].wait()
            if earlier is not None:
                await asyncio.wait({earlier})
            while gateway.asgi.live:  # noqa: ASYNC110 -- an event would cost every request something
                await asyncio.sleep(_LOOK_EVERY)
        self._alive.remove(gateway)
        del self._retired[gateway]
