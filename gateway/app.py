"""The composition root: builds every part from the settings and joins them. The only file that knows all others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

from fanin import build
from gateway.api.admission import Admission
from gateway.api.chat import ChatDialect
from gateway.api.count_tokens import CountTokens
from gateway.api.dialect import CHAT
from gateway.api.endpoint import Endpoint, Engine
from gateway.api.front import Application, Front, Handler
from gateway.api.messages import MessagesDialect
from gateway.api.passthrough import LONGEST, Passthrough
from gateway.api.relay import RelayDialect, Upload
from gateway.api.replays import KEPT_FOR
from gateway.api.responses import ResponsesDialect
from gateway.api.shared_replays import SharedReplays
from gateway.config import adhoc_route
from gateway.domain import Caller, ChatRequest, Deadline, Launch, Outcome, Route, Target
from gateway.engine.events import BreakerChanged, KeyDisabled, KeyEnabled, Observer
from gateway.engine.learning import Learning
from gateway.engine.several import several
from gateway.observe.counting import asked_by
from gateway.observe.log import Log
from gateway.observe.metrics import Metrics
from gateway.observe.prices import Prices
from gateway.observe.tracing import Traces, wanted
from gateway.policies import Breaker, Budget, Bulkhead, Credentials, Hedging, Keys, attempt, compose, retry, validated
from gateway.providers.anthropic_wire import AnthropicWire
from gateway.providers.openai_wire import OpenAIWire
from gateway.settings import ProviderSettings, Settings
from gateway.wires.operations import OPERATIONS
from gateway.wires.passing import ANY_MODEL
from gateway.wires.passing import ROUTE as PASSED

SAMPLE_EVERY = 0.5
"""Seconds between two looks at what is sampled: the loop's lag, calls in flight, CPU and memory."""


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

    With a `previous` one it takes over what a new configuration leaves as it is: the metrics, the count of who is
    inside, and the providers whose settings are the same, with their connections and what is known about
    their health.
    """

    def __init__(self, settings: Settings, log: Log, previous: Gateway | None = None) -> None:
        self.settings = settings
        self._created = int(datetime.now(UTC).timestamp())
        self.log = log
        self.metrics: Metrics = Metrics(()) if previous is None else previous.metrics
        passed = _passed(settings)
        routes = (*settings.routes.values(), *((passed,) if passed else ()))
        self.metrics.know(routes)
        self.metrics.guard(settings.routes.values())
        self.admission: Admission = Admission(settings.limits) if previous is None else previous.admission
        self.admission.limits = settings.limits
        kept = {} if previous is None else previous.unchanged(settings)
        self._providers: dict[str, Provider] = {
            name: kept.get(name) or _provider(provider) for name, provider in settings.asked.items()
        }
        self._prices = Prices(settings.providers, keep=settings.adhoc)
        self.breaker: Breaker = Breaker(self._breaker_changed) if previous is None else previous.breaker
        self.breaker.listen = self._breaker_changed
        self.breaker.keep(kept)
        self.budget: Budget = Budget() if previous is None else previous.budget
        self.budget.know(settings.asked)
        self.hedging: Hedging = Hedging(self.budget) if previous is None else previous.hedging
        self.hedging.keep(kept)
        self.hedging.doubts = self._doubts
        self._bulkhead = Bulkhead({name: provider.concurrency for name, provider in settings.asked.items()})
        self.metrics.sample(self._bulkhead.in_flight, self._bulkhead.waiting, 0.0)
        self.metrics.strain(self.admission.waiting, self.budget.left())
        self.credentials: Credentials = Credentials(self._key_changed) if previous is None else previous.credentials
        self.credentials.take_over(kept, self._key_changed)
        self._traces = Traces(settings.traces) if wanted(settings.traces, os.environ) else None
        if self._traces is not None:
            self._traces.know(routes)
        hot, passage = self._handlers(self._engine(self._guarded(), previous))
        self.asgi = Front(hot, self._rest, settings.keys, self._observe, log.fault, self.lifespan)
        self.asgi.admission = self.admission
        self.asgi.passage = passage
        if settings.cors:
            self.asgi.share(settings.cors)
        self.handed_down: set[str] = set()
        if previous is not None:
            self.asgi.ready, self.asgi.replays = previous.asgi.ready, previous.asgi.replays
            previous.handed_down = set(kept)
        self._shared: SharedReplays | None
        self._share_replays(previous)

    def _guarded(self) -> Caller:
        """Return who asks a provider, with all policies around it."""
        retrying = partial(retry, budget=self.budget)
        accounts = {name: [each.name for each in several] for name, several in self.settings.accounts.items()}
        self.hedging.accounts, keys = accounts, Keys(accounts)
        guards = (keys, self.credentials, retrying, self.breaker, self.budget, self._bulkhead)
        call: Caller = compose(*guards, attempt, validated)(self._ask)
        return call if self._traces is None else self._traces.policy(call)

    def _doubts(self, target: Target) -> bool:
        names = self.hedging.accounts.get(target.provider, (target.provider,))
        return all(self.breaker.doubts(name, target.model) for name in names)

    def _handlers(self, engine: Engine) -> tuple[dict[str, Handler], Handler | None]:
        """Return who serves which path, and who serves the rest."""
        settings, traces = self.settings, self._traces
        passage = self._passage(settings)
        hot: dict[str, Handler] = {
            "/chat/completions": Endpoint(ChatDialect(), engine),
            "/messages": Endpoint(MessagesDialect(), engine),
            "/messages/count_tokens": CountTokens(engine),
            "/responses": Endpoint(ResponsesDialect(), engine, passage),
            **{f"/{path}": _relay(path, engine, settings, passage) for path in OPERATIONS},
        }
        if traces is None:
            return hot, passage
        return {path: traces.entering(each) for path, each in hot.items()}, passage and traces.entering(passage)

    def _engine(self, call: Caller, previous: Gateway | None) -> Engine:
        """Return what endpoints ask; routes that learn go on with what the previous gateway has learned."""
        routes = self.settings.routes
        self.learning: Learning = Learning(routes, None if previous is None else previous.learning)
        self._routes = {**routes, **self.learning.taught()}
        native = {name: provider.native for name, provider in self._providers.items()}
        adhoc = self._adhoc if self.settings.adhoc else None
        return Engine(self._routes, call, self._observe, adhoc, native, self.hedging, several(call))

    def unchanged(self, settings: Settings) -> dict[str, Provider]:
        """Return the providers that would be the same under other settings."""
        mine, theirs = self.settings.asked, settings.asked
        return {name: self._providers[name] for name in mine.keys() & theirs.keys() if mine[name] == theirs[name]}

    async def _ask(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        return await self._providers[target.provider](target, request, deadline)

    def _passage(self, settings: Settings) -> Passthrough | None:
        """Return who passes on what is not served here.

        Nothing is asked twice: it may be stored, or billed. It has room of its own, and what the provider says of it
        is not held against its models or its key: no file that somebody sends slowly, and no path that the key may not
        see, shall cost the races a target.
        """
        route = _passed(settings)
        if route is None:
            return None
        (target,) = route.targets
        provider = self._providers[target.provider]
        assert isinstance(provider, OpenAIWire | AnthropicWire)  # noqa: S101 -- the configuration was held against that
        room = Bulkhead({target.provider: settings.providers[target.provider].concurrency})
        call: Caller = compose(room, attempt)(provider.pass_on)
        if self._traces is not None:
            call = self._traces.policy(call)
        return Passthrough(target, call, self._observe, settings.limits.upload_bytes)

    def _observe(self, route: str, request_id: str, wire: str = CHAT) -> Observer:
        further = self.learning.listener(route, self.log.listener(route, request_id))
        if self._traces is not None:
            further = self._traces.listener((route, request_id, wire), further)
        return self.metrics.listener(route, wire, further)

    def _breaker_changed(self, event: BreakerChanged) -> None:
        self.metrics.breaker(event)
        self.log.say("breaker", target=event.target, state=event.state)

    def _key_changed(self, event: KeyDisabled | KeyEnabled) -> None:
        self.metrics.key(event)
        self.log.key(event)

    def _share_replays(self, previous: Gateway | None) -> None:
        """Keep responses in the Redis that is configured, the previous one's as long as it is the same."""
        redis, replays = self.settings.redis, self.asgi.replays
        if previous is not None and previous.settings.redis == redis:
            self._shared, previous._shared = previous._shared, None  # noqa: SLF001 -- it closes what it has
        else:
            self._shared = None if redis is None else SharedReplays(redis.reveal(), KEPT_FOR, self._redis_changed)
        replays.shared = self._shared

    def _redis_changed(self, is_there: bool) -> None:
        if is_there:
            self.log.say("redis.back")
        else:
            self.log.warning("redis.silent", effect="each process knows its own Idempotency-Keys only until it answers")

    def _adhoc(self, model: str, overrides: Mapping[str, Any]) -> Route:
        route = adhoc_route(model, overrides, self.settings)
        found = {target.name: self._prices.of(target) for target in asked_by(route)}
        self.metrics.price_elsewhere({name: price for name, price in found.items() if price is not None})
        return route

    def _rest(self) -> Application:
        from gateway.api import openapi, ops  # noqa: PLC0415 -- FastAPI is imported at the first request that needs it

        names, endpoints = list(self.settings.routes), self.asgi.endpoints
        settings = self.settings
        unnamed = settings.default_routes if settings.passthrough is None else OPERATIONS
        document = openapi.document(endpoints, names, version("hedgerow"), adhoc=settings.adhoc, unnamed=unnamed)
        return ops.build(names, self._created, document)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """Get ready in the background; at the end, close what no later gateway has taken over."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._get_ready())
                watch = group.create_task(self._watch())
                yield
                watch.cancel()
        finally:
            await self.breaker.probes.aclose()
            self.metrics.tell()
            if self._traces is not None:
                await asyncio.to_thread(self._traces.close)
            for name, provider in self._providers.items():
                if name not in self.handed_down:
                    await provider.aclose()
            if self._shared is not None:
                await self._shared.aclose()
            self.log.close()

    async def _watch(self) -> None:
        """Measure twice a second what is not worth measuring for every request."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + SAMPLE_EVERY
            await asyncio.sleep(SAMPLE_EVERY)
            lag, calls = max(0.0, loop.time() - due), self._bulkhead
            self._routes |= self.learning.taught()
            self.metrics.learned(self.learning.told())
            self.metrics.strain(self.admission.waiting, self.budget.left())
            try:
                # In a thread: memory is read from a file.
                await asyncio.to_thread(self.metrics.sample, calls.in_flight, calls.waiting, lag)
            except Exception as exc:  # noqa: BLE001 -- a gauge less must not take the gateway down
                self.log.fault("sampling", exc)
                return

    async def _look_up_prices(self) -> None:
        targets = [target for route in self.settings.routes.values() for target in asked_by(route)]
        unknown = await asyncio.to_thread(self._prices.load, targets)
        self.metrics.priced(self._prices.of)
        if unknown:
            self.log.say("prices.unknown", models=unknown, cure="give the target a `price: {input: …, output: …}`")

    async def _get_ready(self) -> None:
        """Let providers that take seconds to import do so now; until then `/readyz` says 503."""
        for provider in self._providers.values():
            try:
                await provider.warm_up()
            except Exception as exc:  # noqa: BLE001 -- it costs this provider's branches, not the gateway
                self.log.fault("start-up", exc)
        self.asgi.ready = True
        await self._look_up_prices()


def _relay(path: str, engine: Engine, settings: Settings, passage: Passthrough | None) -> Endpoint:
    kind = Upload if OPERATIONS[path].form else Endpoint
    return kind(RelayDialect(path, settings.default_routes.get(path)), engine, passage)


def _passed(settings: Settings) -> Route | None:
    """Return the route of what is passed on unread, as metrics and traces know it."""
    name = settings.passthrough
    if name is None:
        return None
    return Route(PASSED, (Target(name, name, ANY_MODEL, timeout=LONGEST),), Launch(), build("first"))


def _provider(settings: ProviderSettings) -> Provider:
    if settings.api == "openai":
        return OpenAIWire(settings)
    if settings.api == "anthropic":
        return AnthropicWire(settings)
    from gateway.providers.via_litellm import LitellmProvider  # noqa: PLC0415 -- brings litellm, only where needed

    return LitellmProvider(settings)
