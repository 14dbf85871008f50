"""Traces: a span for each request and one for each branch, by OpenTelemetry's conventions for GenAI, over OTLP/HTTP.

The only file that knows opentelemetry, which is imported where traces are configured and nowhere else. What was asked
and answered is never recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any, Protocol

from msgspec.structs import replace

from gateway.domain import Caller, ChatRequest, Deadline, Outcome, Route, Target, Usage
from gateway.engine.events import (
    Answered,
    Attempted,
    Consulted,
    Consulting,
    Event,
    Failed,
    Finished,
    Launched,
    Listener,
    MadeUp,
    Rescued,
    Selected,
    Spent,
    Streamed,
    Superseded,
    Verified,
)
from gateway.observe.counting import asked_by
from gateway.observe.genai import CHAT, GATEWAY, PROVIDERS, operation
from gateway.wires.passing import ANY_MODEL

STANDARD = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""The variables that turn traces on where the configuration does not."""

_incoming: ContextVar[Any] = ContextVar("incoming", default=None)
_branch: ContextVar[Any] = ContextVar("branch", default=None)


class Arrived(Protocol):
    """What is read of an exchange: the client's headers."""

    headers: dict[bytes, bytes]


def wanted(endpoint: str | None, environ: Mapping[str, str]) -> bool:
    """Whether traces are asked for, by the configuration or by OpenTelemetry's own variables."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return endpoint is not None or (not disabled and any(environ.get(name) for name in STANDARD))


def lacking(endpoint: str | None, environ: Mapping[str, str]) -> str | None:
    """Say what has to be installed for the traces that are asked for; None when nothing has."""
    if not wanted(endpoint, environ):
        return None
    try:
        found = all(find_spec(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        found = False
    return None if found else "Traces are asked for, but opentelemetry is not installed: pip install 'hedgerow[otel]'."


class Traces:
    """The spans of one process, sent in batches from a thread of their own.

    Args:
        endpoint: where the collector listens, such as http://127.0.0.1:4318; None leaves it to the standard variables.
    """

    def __init__(self, endpoint: str | None) -> None:
        from opentelemetry import trace  # noqa: PLC0415 -- only where traces are configured
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        self.api, self.context = trace, TraceContextTextMapPropagator()
        name = {"service.name": os.environ.get("OTEL_SERVICE_NAME", GATEWAY)}
        self._provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("hedgerow")
        self._targets: dict[str, dict[str, Target]] = {}

    def know(self, routes: Iterable[Route]) -> None:
        """Learn what the targets of the routes are."""
        self._targets = {route.name: {target.name: target for target in asked_by(route)} for route in routes}

    def entering(self, handler: Any) -> Any:
        """Return an endpoint whose requests continue the trace that the client began."""
        return _Entering(handler, self)

    def listener(self, about: tuple[str, str, str], further: Listener) -> Listener:
        """Return the listener of one request (its route, its id, the client's wire), which passes on what it hears."""
        return RequestSpans(self, about, self._targets.get(about[0], {}), further).hear

    def policy(self, call: Caller) -> Caller:
        """Hand each branch's own span to its upstream, whose spans become its children."""

        async def with_trace(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
            span = _branch.get()
            if span is not None:
                headers = {name: text for name, text in request.headers.items() if name not in self.context.fields}
                self.context.inject(headers, self.api.set_span_in_context(span))
                request = replace(request, headers=headers)
            return await call(target, request, deadline)

        return with_trace

    def close(self) -> None:
        """Send what is left; blocks for as long as that takes."""
        self._provider.shutdown()


class _Entering:
    """An endpoint that notes which trace its request belongs to."""

    def __init__(self, handler: Any, traces: Traces) -> None:
        self._handler: Callable[[Arrived], Awaitable[None]] = handler
        self._extract, self._names = traces.context.extract, [name.encode() for name in traces.context.fields]
        self.dialect = handler.dialect

    async def __call__(self, exchange: Arrived) -> None:
        given = exchange.headers
        carrier = {name.decode(): given[name].decode("latin-1") for name in self._names if name in given}
        _incoming.set(self._extract(carrier) if carrier else None)
        await self._handler(exchange)


class RequestSpans:
    """The listener of one request."""

    def __init__(
        self, traces: Traces, about: tuple[str, str, str], targets: Mapping[str, Target], further: Listener
    ) -> None:
        self._traces, self._targets, self._further = traces, targets, further
        route, request_id, wire = about
        api = traces.api
        self._operation = operation(wire)
        asked = {} if route.startswith("_") else {"gen_ai.request.model": route}  # `_other` and the like are no models
        self._root = traces.tracer.start_span(
            " ".join((self._operation, *asked.values())),
            context=_incoming.get(),
            kind=api.SpanKind.SERVER,
            attributes={
                "gen_ai.operation.name": self._operation,
                "gen_ai.provider.name": GATEWAY,
                "hedgerow.request_id": request_id,
                **asked,
            },
        )
        self._inside = api.set_span_in_context(self._root)
        self._branches: dict[str, Any] = {}
        self._scorers: list[Any] = []
        self._ends: dict[str, int] = {}
        self._used: dict[str, Usage] = {}

    def hear(self, event: Event) -> None:
        """Take one event down, and pass it on."""
        note = _NOTES.get(type(event))
        if note is not None:
            note(self, event)
        self._further(event)

    def launched(self, event: Launched) -> None:
        """Begin a branch, or go on with that of a target that is asked again; the task started next inherits it."""
        span = self._branches.get(event.target)
        if span is None:
            span = self._branches[event.target] = self._call(event.target, self._operation)
        if event.hedge:
            span.set_attribute("hedgerow.hedge", True)
        _branch.set(span)

    def _call(self, name: str, operation: str) -> Any:
        """Begin the span of a call to a target."""
        target, model = self._targets.get(name), name
        attributes = {"gen_ai.operation.name": operation, "hedgerow.target": name}
        if target is not None:
            attributes["gen_ai.provider.name"] = PROVIDERS.get(target.provider, target.provider)
        if target is not None and target.model != ANY_MODEL:
            attributes["gen_ai.request.model"] = model = target.model
        return self._traces.tracer.start_span(
            f"{operation} {model}",
            context=self._inside,
            kind=self._traces.api.SpanKind.CLIENT,
            attributes=attributes,
        )

    def consulting(self, event: Consulting) -> None:
        """Begin a scorer's call; a judge has two at once, each in a task of its own, which is what tells them apart."""
        span = self._call(event.target, CHAT)
        span.set_attribute("hedgerow.scorer", True)
        self._scorers.append(span)
        _branch.set(span)

    def consulted(self, event: Consulted) -> None:
        """End a scorer's call."""
        span = _branch.get()
        if event.usage is not None:
            _note_tokens(span, event.usage)
        if event.failure is not None:
            span.set_attribute("error.type", event.failure.kind.value)
            span.set_status(self._traces.api.StatusCode.ERROR, event.failure.detail)
        span.end()

    def attempted(self, event: Attempted) -> None:
        """Note a call within its branch."""
        span = self._branches.get(event.target)
        if span is not None:
            outcome = event.kind.value if event.kind else "answered"
            span.add_event("attempt", {"hedgerow.outcome": outcome, "hedgerow.seconds": event.duration})

    def answered(self, event: Answered) -> None:
        """End a branch, its tokens are yet to come."""
        self._ends[event.target] = time.time_ns()

    def failed(self, event: Failed) -> None:
        """End a branch with an error."""
        name, kind = event.failure.target, event.failure.kind.value
        self._ends[name] = time.time_ns()
        span = self._branches.get(name)
        if span is not None:
            span.set_attribute("error.type", kind)
            span.set_status(self._traces.api.StatusCode.ERROR, event.failure.detail)

    def superseded(self, event: Superseded) -> None:
        """End a branch that another one made needless: no error of its own."""
        self._ends[event.target] = time.time_ns()
        span = self._branches.get(event.target)
        if span is not None:
            span.set_attribute("hedgerow.superseded", True)

    def selected(self, event: Selected) -> None:
        """Say who won, and why."""
        selection = event.selection
        self._root.set_attributes(
            {
                "hedgerow.target": selection.winner.target,
                "hedgerow.selector": selection.selector,
                "hedgerow.rescued": event.rescued,
                "hedgerow.answered": len(event.ballot.candidates),
            }
        )
        if selection.agreement is not None:
            self._root.set_attribute("hedgerow.agreement", selection.agreement)
        if selection.winner.target in self._branches:
            self._branches[selection.winner.target].set_attribute("hedgerow.won", True)

    def rescued(self, event: Rescued) -> None:
        """Note that another target went on with a stream."""
        about = {"hedgerow.target": event.target, "hedgerow.by": event.by, "hedgerow.how": event.how}
        self._root.add_event("rescued", about)

    def made_up(self, event: MadeUp) -> None:
        """Note who is asked for the choices of a target that failed."""
        about = {"hedgerow.target": event.target, "hedgerow.by": event.by}
        self._root.add_event("made_up", {**about, "hedgerow.choices": event.choices})

    def verified(self, event: Verified) -> None:
        """Note what the siblings said of a stream."""
        self._root.set_attribute("hedgerow.verified", event.agreed)

    def spent(self, event: Spent) -> None:
        """Note a branch's tokens, those of all its answers."""
        span = self._branches.get(event.target)
        if span is not None and event.fate is None:
            self._used[event.target] = used = self._used.get(event.target, Usage()) + event.usage
            _note_tokens(span, used)

    def streamed(self, event: Streamed) -> None:
        """End a branch that went on after its first words."""
        self._ends[event.target] = time.time_ns()

    def finished(self, event: Finished) -> None:
        """End all spans, each when it was over."""
        self._root.set_attribute("http.response.status_code", event.status)
        if event.error is not None:
            self._root.set_attribute("error.type", event.error)
        if event.status >= 500:
            self._root.set_status(self._traces.api.StatusCode.ERROR)
        now = time.time_ns()
        for name, span in self._branches.items():
            span.end(self._ends.get(name, now))
        for span in self._scorers:
            if span.is_recording():  # its call was cancelled
                span.end(now)
        self._root.end(now)
        self._branches = {}  # a probe that was overtaken may be told of later


def _note_tokens(span: Any, usage: Usage) -> None:
    span.set_attribute("gen_ai.usage.input_tokens", usage.prompt)
    span.set_attribute("gen_ai.usage.output_tokens", usage.completion)


_NOTES: dict[type, Callable[[RequestSpans, Any], None]] = {
    Launched: RequestSpans.launched,
    Attempted: RequestSpans.attempted,
    Answered: RequestSpans.answered,
    Failed: RequestSpans.failed,
    Superseded: RequestSpans.superseded,
    Selected: RequestSpans.selected,
    Consulting: RequestSpans.consulting,
    Consulted: RequestSpans.consulted,
    Rescued: RequestSpans.rescued,
    MadeUp: RequestSpans.made_up,
    Verified: RequestSpans.verified,
    Spent: RequestSpans.spent,
    Streamed: RequestSpans.streamed,
    Finished: RequestSpans.finished,
}
