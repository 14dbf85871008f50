"""The composition root: builds every part from the settings and joins them. The only file that knows all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Protocol

from gateway.api.chat import ChatDialect
from gateway.api.count_tokens import CountTokens
from gateway.api.endpoint import Endpoint, Engine
from gateway.api.front import Application, Front
from gateway.api.messages import MessagesDialect
from gateway.api.responses import ResponsesDialect
from gateway.config import adhoc_route
from gateway.domain import Caller, ChatRequest, Deadline, Outcome, ProviderSettings, Route, Settings, Target
from gateway.engine.events import Event, Listener
from gateway.observe.log import Log
from gateway.observe.metrics import Metrics
from gateway.policies import Bulkhead, attempt, compose, retry, validated
from gateway.providers.anthropic_wire import AnthropicWire
from gateway.providers.openai_wire import OpenAIWire


class Provider(Protocol):
    """What the gateway needs of a provider: a caller that can be closed.

    `native` are the wires beside chat completions in which a request can be passed to it as the client wrote it.
    """

    native: frozenset[str]

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        """Ask one target."""
        ...

    async def warm_up(self) -> None:
        """Do now what the first call would otherwise wait for."""
        ...

    async def aclose(self) -> None:
        """Close its connections."""
        ...


class Gateway:
    """One gateway: its providers, its policies around them, its listeners, and the ASGI application in front.

    With a `previous` one it takes over what a new configuration leaves as it is: the metrics, and the providers whose
    settings are the same, with their connections.
    """

    def __init__(self, settings: Settings, log: Log, previous: Gateway | None = None) -> None:
        self.settings = settings
        self._created = int(datetime.now(UTC).timestamp())
        self.log = log
        self.metrics: Metrics = Metrics(()) if previous is None else previous.metrics
        self.metrics.know(settings.routes.values())
        kept = {} if previous is None else previous.unchanged(settings)
        self._providers: dict[str, Provider] = {
            name: kept.get(name) or _provider(provider) for name, provider in settings.providers.items()
        }
        bulkhead = Bulkhead({name: provider.concurrency for name, provider in settings.providers.items()})
        call: Caller = compose(retry, bulkhead, attempt, validated)(self._ask)
        native = {name: provider.native for name, provider in self._providers.items()}
        engine = Engine(settings.routes, call, self._observe, self._adhoc if settings.adhoc else None, native)
        self.asgi = Front(
            {
                "/chat/completions": Endpoint(ChatDialect(), engine),
                "/messages": Endpoint(MessagesDialect(), engine),
                "/messages/count_tokens": CountTokens(engine),
                "/responses": Endpoint(ResponsesDialect(), engine),
            },
            self._rest,
            settings.keys,
            self._observe,
            log.fault,
            self.lifespan,
        )
        self.handed_down: set[str] = set()
        if previous is not None:
            self.asgi.ready = previous.asgi.ready
            previous.handed_down = set(kept)

    def unchanged(self, settings: Settings) -> dict[str, Provider]:
        """Return the providers that would be the same under other settings."""
        mine, theirs = self.settings.providers, settings.providers
        return {name: self._providers[name] for name in mine.keys() & theirs.keys() if mine[name] == theirs[name]}

    async def _ask(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        return await self._providers[target.provider](target, request, deadline)

    def _observe(self, route: str, request_id: str) -> Listener:
        count, write = self.metrics.listener(route), self.log.listener(route, request_id)

        def listen(event: Event) -> None:
            count(event)
            write(event)

        return listen

    def _adhoc(self, model: str, overrides: Mapping[str, Any]) -> Route:
        return adhoc_route(model, overrides, self.settings)

    def _rest(self) -> Application:
        from gateway.api import ops  # noqa: PLC0415 -- FastAPI is imported at the first request that needs it

        return ops.build(self.settings.routes, version("hedgerow"), self._created)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Get ready in the background; at the end, close what no later gateway has taken over."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._get_ready())
                yield
        finally:
            for name, provider in self._providers.items():
                if name not in self.handed_down:
                    await provider.aclose()
            self.log.close()

    async def _get_ready(self) -> None:
        """Let providers that take seconds to import do so now; until then `/readyz` says 503."""
        for provider in self._providers.values():
            try:
                await provider.warm_up()
            except Exception as exc:  # noqa: BLE001 -- it costs this provider's branches, not the gateway
                self.log.fault("start-up", exc)
        self.asgi.ready = True


def _provider(settings: ProviderSettings) -> Provider:
    if settings.api == "openai":
        return OpenAIWire(settings)
    if settings.api == "anthropic":
        return AnthropicWire(settings)
    from gateway.providers.via_litellm import LitellmProvider  # noqa: PLC0415 -- brings litellm, only where needed

    return LitellmProvider(settings)
