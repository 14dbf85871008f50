"""Every metric: its name, labels and buckets. The only file that knows prometheus-client.

Label values come from the configuration and from closed sets of words; whatever else a client sends becomes `_other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.domain import Route
from gateway.engine.events import (
    Attempted,
    Event,
    Finished,
    Listener,
    Selected,
    Spent,
    Superseded,
)

OTHER = "_other"
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)
RATIO = (0.2, 0.34, 0.5, 0.67, 0.8, 0.99, 1.0)
STATUSES = frozenset({200, 400, 401, 404, 405, 413, 422, 429, 499, 500, 502, 503, 504})


class Metrics:
    """The metrics of one process, on a registry of its own."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.registry = CollectorRegistry()
        counter, histogram = self._counter, self._histogram
        self.requests = counter("requests", "Requests served.", "route", "status")
        self.request_seconds = histogram("request_duration_seconds", "Time until the response ended.", SECONDS, "route")
        self.attempts = counter("attempts", "Calls to targets, retries counted.", "route", "target", "outcome")
        self.attempt_seconds = histogram("attempt_duration_seconds", "Time of one call to a target.", SECONDS, "target")
        self.selected = counter("selected", "Answers that won.", "route", "target", "selector")
        self.agreement = histogram("agreement_ratio", "The winner's share of the vote.", RATIO, "route")
        self.rescues = counter("rescues", "Requests that the first target alone would have failed.", "route")
        self.superseded = counter("superseded", "Branches cancelled because another answer was selected.", "target")
        self.tokens = counter("tokens", "Tokens by whether the client got them.", "target", "kind", "fate")
        self.overhead = histogram("overhead_seconds", "The gateway's own share of a request's time.", OVERHEAD, "route")
        self._other = RouteMetrics(self, OTHER, [OTHER])
        self.know(routes)

    def know(self, routes: Iterable[Route]) -> None:
        """Count for these routes from now on, and for no others."""
        self._listeners = {route.name: RouteMetrics(self, route.name, _asked(route)) for route in routes}

    def listener(self, route: str) -> Listener:
        """Return the listener of a route's requests; an unknown route shares `_other`."""
        return self._listeners.get(route, self._other)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve `/metrics` from a thread of its own, so that a scrape never holds up a request; return its stop."""
        return _serve(self.registry, host, port)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"hedgerow_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"hedgerow_{name}", text, labels, buckets=buckets, registry=self.registry)


class RouteMetrics:
    """The listener of one route, with its children bound: finding a child by its labels costs more than counting."""

    def __init__(self, metrics: Metrics, route: str, targets: list[str]) -> None:
        self._known = frozenset(targets)
        self._requests = _Bound(lambda status: metrics.requests.labels(route, _status(status)))
        self._attempts = _Bound(lambda key: metrics.attempts.labels(route, *key))
        self._attempt_seconds = _Bound(metrics.attempt_seconds.labels)
        self._selected = _Bound(lambda key: metrics.selected.labels(route, *key))
        self._superseded = _Bound(metrics.superseded.labels)
        self._tokens = _Bound(lambda key: metrics.tokens.labels(*key))
        self._request_seconds = metrics.request_seconds.labels(route)
        self._agreement = metrics.agreement.labels(route)
        self._rescues = metrics.rescues.labels(route)
        self._overhead = metrics.overhead.labels(route)
        self._requests[200], self._requests[499]
        for target in targets:
            self._attempts[target, "answered"], self._attempt_seconds[target], self._superseded[target]
            for fate in ("won", "lost"):
                self._tokens[target, "prompt", fate], self._tokens[target, "completion", fate]
        self._on: dict[type, Callable[[Any], None]] = {
            Attempted: self._attempted,
            Superseded: self._was_superseded,
            Selected: self._was_selected,
            Spent: self._spent,
            Finished: self._finished,
        }

    def _label(self, target: str) -> str:
        """Return the target's name, or `_other` for one that a request wrote itself."""
        return target if target in self._known else OTHER

    def __call__(self, event: Event) -> None:
        """Count one event."""
        count = self._on.get(type(event))
        if count is not None:
            count(event)

    def _attempted(self, event: Attempted) -> None:
        target = self._label(event.target)
        self._attempts[target, event.kind.value if event.kind else "answered"].inc()
        self._attempt_seconds[target].observe(event.duration)

    def _was_superseded(self, event: Superseded) -> None:
        self._superseded[self._label(event.target)].inc()

    def _was_selected(self, event: Selected) -> None:
        selection = event.selection
        self._selected[self._label(selection.winner.target), selection.selector].inc()
        if selection.agreement is not None:
            self._agreement.observe(selection.agreement)
        if event.rescued:
            self._rescues.inc()

    def _spent(self, event: Spent) -> None:
        target, fate = self._label(event.target), event.fate or ("won" if event.won else "lost")
        self._tokens[target, "prompt", fate].inc(event.usage.prompt)
        self._tokens[target, "completion", fate].inc(event.usage.completion)

    def _finished(self, event: Finished) -> None:
        self._requests[event.status].inc()
        self._request_seconds.observe(event.duration)
        if event.overhead is not None:
            self._overhead.observe(event.overhead)


def _asked(route: Route) -> list[str]:
    """Return all whom a route may ask: its targets, and those of its scorers."""
    return [target.name for target in (*route.targets, *(scorer.target for scorer in route.select.scorers))]


def _status(status: int) -> str:
    return str(status) if status in STATUSES else OTHER


class _Bound(dict[Any, Any]):
    """Children by label values, each bound at its first use. A key must come from a closed set."""

    def __init__(self, bind: Callable[[Any], Any]) -> None:
        super().__init__()
        self._bind = bind

    def __missing__(self, key: Any) -> Any:
        child = self[key] = self._bind(key)
        return child


class Reloads:
    """Whether the configuration that runs is the one in the file: the alert for a change that was refused."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = CollectorRegistry() if registry is None else registry
        self._count = Counter(
            "hedgerow_config_reloads", "Changed configurations by what became of them.", ["outcome"], registry=registry
        )
        self._current = Gauge(
            "hedgerow_config_current", "1 if what runs is what the file says, 0 if that was refused.",
            registry=registry, multiprocess_mode="mostrecent",
        )  # fmt: skip
        self._outcomes = {True: self._count.labels("applied"), False: self._count.labels("refused")}
        self._current.set(1)

    def __call__(self, *, applied: bool) -> None:
        """Count one."""
        self._outcomes[applied].inc()
        self._current.set(float(applied))


def serve_merged(host: str, port: int, directory: str) -> Callable[[], None]:
    """Serve the metrics of all workers, which count into files of `directory`; return its stop."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, directory)  # type: ignore[no-untyped-call]
    return _serve(registry, host, port)


def forget(pid: int, directory: str) -> None:
    """Drop the live gauges of a worker that has ended; its counters stay."""
    mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]


def _serve(registry: CollectorRegistry, host: str, port: int) -> Callable[[], None]:
    server, thread = start_http_server(port, host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
