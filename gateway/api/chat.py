"""`POST /v1/chat/completions`: parse, plan, fan out, select, respond."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from gateway.api import disclosure, sse
from gateway.api.asked import Asked, parse
from gateway.api.collected import together
from gateway.api.envelope import refuse
from gateway.api.exchange import ClientGone, Exchange
from gateway.domain import Answer, Caller, ChatRequest, LiveStream, Plan, Route
from gateway.engine.events import Finished, Listener, Spent
from gateway.engine.fanout import Verdict, fan_out
from gateway.engine.plan import plan
from gateway.errors import Abstained, AllTargetsFailed, HedgerowError, InvalidRequest, ModelNotFound

KEEP_ALIVE_EVERY = 10.0
"""Seconds of silence after which a waiting stream gets a comment; before the first one, an error still has a status."""

OTHER = "_other"
"""The route label of requests that no configured route serves."""

_FORWARDED = (b"traceparent", b"tracestate")
_encode = msgspec.json.Encoder().encode
_choices = msgspec.json.Decoder(list[dict[str, Raw]])
_NULL, _TRUE = Raw(b"null"), Raw(b"true")


@dataclass(frozen=True, slots=True)
class ChatCompletions:
    """The endpoint. `observe` makes the listener of one request, `adhoc` the route of a comma list of targets."""

    routes: Mapping[str, Route]
    call: Caller
    observe: Callable[[str, str], Listener]
    adhoc: Callable[[str, Mapping[str, Any]], Route] | None = None

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request; whatever goes wrong becomes OpenAI's error envelope."""
        record = _Record(exchange)
        try:
            asked = parse(await exchange.body())
            route = self._route(asked)
            record.say = self.observe(route.name, exchange.id)
            record.route, record.model = route.name, asked.model
            with exchange.watched():
                await self._serve(asked, route, record)
        except HedgerowError as error:
            await refuse(exchange, error, record.refused(error))
        except ClientGone:
            record.status = 499
        finally:
            if record.route == OTHER:
                record.say = self.observe(OTHER, exchange.id)
            record.say(Finished(record.status, exchange.elapsed, record.overhead, record.error))

    def _route(self, asked: Asked) -> Route:
        route = self.routes.get(asked.model)
        if route is not None and not asked.overrides:
            return route
        written = asked.overrides or "," in asked.model or "/" in asked.model
        if written and self.adhoc is not None:
            return self.adhoc(asked.model, asked.overrides)
        if asked.overrides or "," in asked.model:
            raise InvalidRequest(
                "This gateway serves its configured routes only: a list of targets in `model` and the request's own "
                "`select` or `launch` are off. The operator can allow them with `adhoc_routes: true`.",
                param="hedgerow" if asked.overrides else "model",
            )
        raise ModelNotFound(asked.model, self.routes)

    async def _serve(self, asked: Asked, route: Route, record: _Record) -> None:
        exchange, rule = record.exchange, route.select
        intent = plan(route, stream=asked.stream, now=asyncio.get_running_loop().time())
        request = ChatRequest(
            id=exchange.id,
            model=asked.model,
            fields=asked.fields,
            live=intent.live,
            logprobs="logprobs" in rule.needs and not intent.live and asked.fields.get("logprobs") != _TRUE,
            headers=_forwarded(exchange, alone=len(route.targets) == 1),
            listen=record.say,
        )
        if asked.stream and not intent.live:
            verdict = await self._awaited(intent, request, record)
        else:
            verdict = await fan_out(intent, request, self.call)
        headers = record.decided(verdict, explain=asked.explain)
        payload: Answer | LiveStream = verdict.selection.winner.payload
        if verdict.selection.together and isinstance(payload, Answer):
            payload = together(payload, [candidate.payload for candidate in verdict.selection.together])
        if not isinstance(payload, Answer):
            await _pass_on(payload, verdict, headers, record)
        elif asked.stream:
            await _replay(_presented(payload, request, record), asked, headers, record)
        else:
            await exchange.respond(200, _encode(_presented(payload, request, record)), headers)
        record.status = 200

    async def _awaited(self, intent: Plan, request: ChatRequest, record: _Record) -> Verdict:
        """Fan out for a stream whose selector needs whole answers: comments keep the connection alive meanwhile."""
        exchange = record.exchange
        work = asyncio.get_running_loop().create_task(fan_out(intent, request, self.call))
        try:
            while not (await asyncio.wait({work}, timeout=KEEP_ALIVE_EVERY))[0]:
                if not exchange.started:
                    await exchange.begin_events({"x-hedgerow-route": record.route})
                await exchange.write(sse.KEEP_ALIVE)
            return work.result()
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if not work.cancelled():
                work.exception()  # seen, also when the client left at the same moment


def _nobody(_: object) -> None:
    """Listen to nothing: the route is not known yet."""


class _Record:
    """What is known of one request so far, for its headers, its explanation and its last event."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.say: Listener = _nobody
        self.route = OTHER
        self.status = 500
        self.error: str | None = None
        self.model = ""
        self.overhead: float | None = None
        self.explanation: Raw | None = None

    def decided(self, verdict: Verdict, *, explain: bool) -> dict[str, str]:
        """Take the decision down; return the response's headers."""
        exchange = self.exchange
        before, after = verdict.launched_at - exchange.heard, time.perf_counter() - verdict.decided_at
        self.overhead = max(0.0, before + after)
        if explain:
            self.explanation = disclosure.explanation(self.route, verdict, self.overhead)
        return disclosure.headers(self.route, verdict, self.overhead)

    def refused(self, error: HedgerowError) -> dict[str, str]:
        """Take an error down; return the response's headers."""
        self.status, self.error = error.status, error.code or error.type
        headers = {} if self.route == OTHER else {"x-hedgerow-route": self.route}
        if isinstance(error, AllTargetsFailed):
            headers["x-hedgerow-branches"] = f"0/{len(error.failures)}"
        elif isinstance(error, Abstained):
            headers["x-hedgerow-branches"] = f"{error.answered}/{error.asked}"
        return headers


def _forwarded(exchange: Exchange, *, alone: bool) -> dict[str, str]:
    """Return the client's headers that an upstream may see: an allow-list, so no credential of the client leaks.

    An idempotency key says "this is the same call": several targets of one provider must not be told that.
    """
    given = exchange.headers
    names = (*_FORWARDED, b"idempotency-key") if alone else _FORWARDED
    return {name.decode(): given[name].decode("latin-1") for name in names if name in given}


def _presented(answer: Answer, request: ChatRequest, record: _Record) -> dict[str, Any]:
    """Return the winner's own body under the name the client asked for, without what only the selector asked for."""
    fields: dict[str, Any] = dict(answer.fields)
    fields["model"] = request.model
    if request.logprobs:
        fields["choices"] = [
            {**choice, "logprobs": _NULL} if "logprobs" in choice else choice
            for choice in _choices.decode(fields["choices"])
        ]
    if record.explanation is not None:
        fields["hedgerow"] = record.explanation
    return fields


async def _replay(fields: dict[str, Any], asked: Asked, headers: dict[str, str], record: _Record) -> None:
    """Send a whole answer as the stream it would have been, in one write: nothing is gained by trickling it."""
    exchange = record.exchange
    explanation = fields.pop("hedgerow", None)
    events = [sse.frame(chunk) for chunk in sse.replay(fields, include_usage=asked.include_usage)]
    if explanation is not None:
        events.append(sse.frame(sse.explained(fields, explanation)))
    if not exchange.started:
        await exchange.begin_events(headers)
    await exchange.write(b"".join((*events, sse.DONE)))
    await exchange.end()


async def _pass_on(stream: LiveStream, verdict: Verdict, headers: dict[str, str], record: _Record) -> None:
    """Pass a live stream on, event by event; its tokens are booked when it ends, however it ends."""
    exchange, model = record.exchange, Raw(_encode(record.model))
    data = [b"{}"]
    try:
        await exchange.begin_events(headers)
        async for data in stream:
            await exchange.write(b"".join([sse.frame(sse.renamed(event, model)) for event in data]))
        if record.explanation is not None:
            await exchange.write(sse.frame(sse.explained(sse.head(data[-1], model), record.explanation)))
        await exchange.write(sse.DONE)
        await exchange.end()
    finally:
        await stream.aclose()
        if stream.usage is not None:
            record.say(Spent(verdict.selection.winner.target, stream.usage, won=True))
