"""One endpoint in any dialect: parse, plan, fan out, select, respond."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway import schemas
from gateway.api import disclosure
from gateway.api.asked import Asked, choices_of
from gateway.api.dialect import CHAT, Dialect, StreamWriter
from gateway.api.envelope import refuse
from gateway.api.exchange import ClientGone, Exchange
from gateway.domain import Answer, Caller, ChatRequest, Native, Route
from gateway.engine.awaiting import KEEP_ALIVE_EVERY
from gateway.engine.choices import billed, joined
from gateway.engine.events import Finished, Observer, Spent, Streamed
from gateway.engine.fanout import Verdict
from gateway.engine.hedges import Hedging
from gateway.engine.mapped import run
from gateway.engine.plan import gathering, plan
from gateway.errors import Abstained, AllTargetsFailed, HedgerowError, InvalidRequest, ModelMissing, ModelNotFound
from gateway.live_stream import LiveStream

OTHER = "_other"
"""The route label of requests that no configured route serves."""

_FORWARDED = (b"traceparent", b"tracestate")
_LIMIT = b"x-request-timeout-ms"
_LONGEST = 12
"""Digits of a limit: more is no number of milliseconds that anybody waits."""
_encode = msgspec.json.Encoder().encode
_choices = msgspec.json.Decoder(list[dict[str, Raw]])
_NULL, _TRUE = Raw(b"null"), Raw(b"true")


@dataclass(frozen=True, slots=True)
class Engine:
    """What every endpoint asks: the routes, the caller behind them, and who listens.

    `observe` makes the listener of one request (its route, its id, the client's wire), `adhoc` the route of a comma
    list of targets. `native` are the wires beside chat completions that a provider speaks itself, by the provider's
    name. `hedging` says when slow targets get help. `several` is the caller for requests that say how many answers they
    want (see engine/several.py).
    """

    routes: Mapping[str, Route]
    call: Caller
    observe: Callable[[str, str, str], Observer]
    adhoc: Callable[[str, Mapping[str, Any]], Route] | None = None
    native: Mapping[str, frozenset[str]] = field(default_factory=dict)
    hedging: Hedging | None = None
    several: Caller | None = None

    def route(self, asked: Asked) -> Route:
        """Return the route that a request names or writes; raises ModelNotFound or InvalidRequest."""
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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Serves what one dialect asks of the engine."""

    dialect: Dialect
    engine: Engine
    unnamed: Callable[[Exchange], Awaitable[None]] | None = None
    """Who serves a request that names no model; without it, it is refused."""

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request; whatever goes wrong becomes an error in the client's dialect."""
        record = _Record(exchange)
        try:
            asked = await self._asked(exchange)
            route = self.engine.route(asked)
            record.observer = self.engine.observe(route.name, exchange.id, self.dialect.wire)
            record.route = route.name
            with exchange.watched():
                await self._serve(asked, route, record)
        except ModelMissing as error:
            if self.unnamed is not None:
                record.handed_over = True
                await self.unnamed(exchange)
            else:
                await refuse(exchange, error, self.dialect, record.refused(error))
        except HedgerowError as error:
            await refuse(exchange, error, self.dialect, record.refused(error))
        except ClientGone:
            record.status = 499
        finally:
            if not record.handed_over:
                if record.route == OTHER:
                    record.observer = self.engine.observe(OTHER, exchange.id, self.dialect.wire)
                record.observer.hear(Finished(record.status, exchange.elapsed, record.overhead, record.error))

    async def _asked(self, exchange: Exchange) -> Asked:
        return self.dialect.parse(await exchange.body())

    async def _serve(self, asked: Asked, route: Route, record: _Record) -> None:
        exchange, rule = record.exchange, route.select
        self.dialect.admit(asked, route)
        now = asyncio.get_running_loop().time()
        intent = plan(route, stream=asked.stream, now=now, limit=patience(exchange))
        if rule.gathers and self.dialect.wire == CHAT:
            intent = gathering(intent, route, choices_of(asked), stream=asked.stream)
        fields, native = (asked.fields, None) if self.dialect.wire == CHAT else self._worded(asked, route, record)
        request = ChatRequest(
            id=exchange.id,
            model=asked.model,
            fields=fields,
            live=intent.live,
            logprobs="logprobs" in rule.needs and not intent.live and fields.get("logprobs") != _TRUE,
            checks_arguments="tool_arguments" in rule.needs,
            headers=_forwarded(exchange, alone=len(route.targets) == 1),
            listen=record.observer.hear,
            native=native,
            parts=asked.parts,
        )
        call = self.engine.several if "n" in fields and self.engine.several is not None else self.engine.call
        work = run(intent, request, call, self.engine.hedging)
        if asked.stream and not intent.live:
            verdict = await self._awaited(work, self.dialect.writer(asked, CHAT), record)
        else:
            verdict = await work
        if verdict.selection.text is not None:
            verdict = await _fitting(verdict, fields)
        headers = record.decided(verdict, explain=asked.explain)
        payload: Answer | LiveStream = verdict.selection.winner.payload
        headers |= disclosure.passed_on(payload.headers)
        if payload.dropped or record.dropped:
            headers["x-hedgerow-dropped"] = ",".join((*record.dropped, *payload.dropped))
        if (verdict.selection.together or verdict.parts) and isinstance(payload, Answer):
            payload = self._made(payload, verdict)
        if not isinstance(payload, Answer):
            await _pass_on(payload, self.dialect.writer(asked, payload.wire), headers, record, self.dialect.keep_alive)
        elif asked.stream:
            await _replay(_presented(payload, request), self.dialect.writer(asked, payload.wire), headers, record)
        else:
            body = self.dialect.whole(_presented(payload, request), asked, record.explanation)
            await exchange.respond(200, body, headers)
        record.status = 200

    def _made(self, first: Answer, verdict: Verdict) -> Answer:
        """Return the answer that is made of several: one text, or one choice each; all parts are billed."""
        answers = [each.payload for each in verdict.selection.together]
        paid = [part.selection.winner.payload for part in verdict.parts]
        if paid and all(first is not answer for answer in paid):
            paid.append(first)  # a scorer wrote it
        counted = paid or answers
        if all(answer.wire == CHAT for answer in counted):
            first = billed(first, counted)
        if verdict.selection.text is not None and all(answer.wire == CHAT for answer in answers):
            made = joined(verdict.selection.text, answers)
        else:
            made = self.dialect.together(first, answers) if answers else first
        return billed(made, paid) if made.wire == CHAT else made

    def _worded(self, asked: Asked, route: Route, record: _Record) -> tuple[Mapping[str, Raw], Native | None]:
        """Return the request for targets that speak chat completions, and for those that speak the dialect itself."""
        wire, native = self.dialect.wire, self.engine.native
        speaking = [wire in native.get(target.provider, ()) for target in route.targets]
        fields: Mapping[str, Raw] = {}
        if not all(speaking) or route.select.scorers or route.launch.map:  # judges and parts are asked in chat
            fields, record.dropped = self.dialect.translated(asked)
        if not any(speaking):
            return fields, None
        return fields, Native(wire, asked.fields, record.exchange.given(self.dialect.forwarded), asked.form)

    async def _awaited(self, run: Coroutine[Any, Any, Verdict], writer: StreamWriter, record: _Record) -> Verdict:
        """Fan out for a stream whose selector needs whole answers, and keep the connection alive meanwhile.

        Before the first sign of that, an error still has a status.
        """
        exchange = record.exchange
        work = asyncio.get_running_loop().create_task(run)
        try:
            while not (await asyncio.wait({work}, timeout=KEEP_ALIVE_EVERY))[0]:
                if not exchange.started:
                    await exchange.begin_events({"x-hedgerow-route": record.route}, writer.fail)
                await exchange.write(self.dialect.keep_alive)
            return work.result()
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if not work.cancelled():
                work.exception()  # seen, also when the client left at the same moment


class _Record:
    """What is known of one request so far, for its headers, its explanation and its last event."""

    observer: Observer
    """Who listens; there is none before the route is known."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.route = OTHER
        self.status = 500
        self.error: str | None = None
        self.overhead: float | None = None
        self.explanation: Raw | None = None
        self.dropped: Sequence[str] = ()
        self.handed_over = False
        """Whether another handler serves the request, and records it."""

    def decided(self, verdict: Verdict, *, explain: bool) -> dict[str, str]:
        """Take the decision down; return the response's headers."""
        exchange = self.exchange
        before, after = verdict.launched_at - exchange.heard, time.perf_counter() - verdict.decided_at
        self.overhead = max(0.0, before + after)
        if explain:
            self.explanation = disclosure.explanation(self.route, verdict, self.overhead)
        return disclosure.headers(self.route, verdict, self.overhead, self.observer.cost)

    def refused(self, error: HedgerowError) -> dict[str, str]:
        """Take an error down; return the response's headers."""
        self.status, self.error = error.status, error.code or error.type
        headers = {} if self.route == OTHER else {"x-hedgerow-route": self.route}
        if isinstance(error, AllTargetsFailed):
            headers["x-hedgerow-branches"] = f"0/{len(error.failures)}"
            if error.status == 429:
                soonest = min(error.failures, key=lambda failure: failure.retry_after or 0.0)
                headers |= disclosure.passed_on(soonest.headers)
        elif isinstance(error, Abstained):
            headers["x-hedgerow-branches"] = f"{error.answered}/{error.asked}"
        return headers


def _forwarded(exchange: Exchange, *, alone: bool) -> dict[str, str]:
    """Return the client's headers that an upstream may see: an allow-list, so no credential of the client leaks.

    An idempotency key says "this is the same call": several targets of one provider must not be told that.
    """
    return exchange.given((*_FORWARDED, b"idempotency-key") if alone else _FORWARDED)


def patience(exchange: Exchange) -> float:
    """Return how many seconds the client says that it waits (Envoy's header is relative, too: no clocks to compare)."""
    given = exchange.headers.get(_LIMIT)
    if given is None:
        return math.inf
    if not given.isdigit() or len(given) > _LONGEST or int(given) == 0:
        shown = given[:40].decode("latin-1")
        raise InvalidRequest(
            f"The header `{_LIMIT.decode()}` is {shown!r}, expected a whole number of milliseconds above 0.",
            param=_LIMIT.decode(),
        )
    return int(given) / 1000


async def _fitting(verdict: Verdict, fields: Mapping[str, Raw]) -> Verdict:
    """Go back to the winner's own answer where one that a rule made of it is not of the form that the client asked for.

    Every answer has been held against that form, what is put together from them has not.
    """
    selection = verdict.selection
    if len(selection.together) != 1 or selection.text is None or "response_format" not in fields:
        return verdict
    fault = await schemas.format_fault(selection.text, bytes(fields["response_format"]))
    if fault is None:
        return verdict
    own = selection._replace(text=None, together=(), reason=f"{selection.reason}, which is not taken: {fault}")
    return replace(verdict, selection=own)


def _presented(answer: Answer, request: ChatRequest) -> Answer:
    """Return the winner's own answer without what only the selector asked for."""
    if not request.logprobs or answer.wire != CHAT:
        return answer
    choices = [
        {**choice, "logprobs": _NULL} if "logprobs" in choice else choice
        for choice in _choices.decode(answer.fields["choices"])
    ]
    return replace(answer, fields={**answer.fields, "choices": Raw(_encode(choices))})


async def _replay(answer: Answer, writer: StreamWriter, headers: dict[str, str], record: _Record) -> None:
    """Send a whole answer as the stream it would have been, in one write: nothing is gained by trickling it."""
    exchange = record.exchange
    written = writer.replay(answer) + writer.end(record.explanation)
    if not exchange.started:
        await exchange.begin_events(headers, writer.fail)
    await exchange.write(written)
    await exchange.end()


async def _pass_on(
    stream: LiveStream, writer: StreamWriter, headers: dict[str, str], record: _Record, keep_alive: bytes
) -> None:
    """Pass a live stream on, event by event; its tokens are booked when it ends, however it ends."""
    exchange, clock = record.exchange, time.perf_counter
    began = last = clock()
    longest = 0.0
    try:
        if stream.media is None:
            await exchange.begin_events(headers, writer.fail)
        else:
            await exchange.begin_bytes(headers, stream.media)
        async for data in stream:
            if not data:
                await exchange.write(keep_alive)
                continue
            longest, last = max(longest, (now := clock()) - last), now
            await exchange.write(writer.events(data))
        if stream.postscript and record.explanation is not None:
            record.explanation = disclosure.amended(record.explanation, stream.postscript)
        await exchange.write(writer.end(record.explanation))
        await exchange.end()
    finally:
        await stream.aclose()
        if stream.usage is not None:
            record.observer.hear(Streamed(stream.target, stream.usage.completion, last - began, longest))
            record.observer.hear(Spent(stream.target, stream.usage, won=True))
