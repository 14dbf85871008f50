"""Every metric: its name, labels and buckets, and how it is served. The only file that knows prometheus-client.

Label values come from the configuration and from closed sets of words; whatever else a client sends becomes `_other`.
With several workers, each counts into files of one directory (`PROMETHEUS_MULTIPROC_DIR`, which must be set before
prometheus-client is imported) and the parent serves the sum of them.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, start_http_server
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from fanin import Estimate, Reliability
from gateway.domain import Price, Route, Target, ignore
from gateway.engine.events import BreakerChanged, KeyDisabled, KeyEnabled, Listener
from gateway.observe import genai
from gateway.observe.counting import OTHER, RequestCounts, RouteCounts, asked_by
from gateway.observe.process import Usage
from gateway.observe.tally import Family, Spread, Sum

# Twins of the counters that only say when they were first counted: they double what a scrape transfers.
prometheus_client.disable_created_metrics()

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68)
"""OpenTelemetry's buckets for the duration of a GenAI request, and two more: a deadline may be ten minutes."""
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 10.0)
OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)
LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
RATIO = (0.2, 0.34, 0.5, 0.67, 0.8, 0.99, 1.0)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)

_Mode: TypeAlias = Literal["livesum", "livemax", "livemin"]
"""How the workers' gauges become one; a dead worker's are forgotten."""

_F = TypeVar("_F", bound=Family[Any])

_folding = threading.Lock()
"""Held while files are merged: a dead worker's counts must not be seen twice, or not at all."""

_MOST_ELSEWHERE = 1024
"""Prices of targets that only requests name: clients could make up any number of them."""

_REFUSALS = ("credential", "quota")
_STATES = {"closed": 0, "half_open": 1, "open": 2}


class Metrics:
    """The metrics of one process, on a registry of its own."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.registry = CollectorRegistry()
        self._families: list[Family[Any]] = []
        self._telling = threading.Lock()
        self._requests()
        self._branches()
        self._redundancy()
        self._spending()
        self._limits()
        self._process()
        self._routes: dict[str, RouteCounts] = {}
        self._other = RouteCounts(self, OTHER, ())
        self._elsewhere: dict[str, Price] = {}
        self._other.price(self._elsewhere)
        self._usage = Usage()
        self.know(routes)

    def _requests(self) -> None:
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self.requests = counter("requests", "Requests served.", "route", "status")
        self.request_seconds = histogram(
            "request_duration_seconds", "Time until the response ended.", SECONDS, "route", "outcome", "operation"
        )
        self.in_flight = gauge("requests_in_flight", "Requests being served.", "livesum", "route")
        self.overhead = histogram("overhead_seconds", "The gateway's own share of a request's time.", OVERHEAD, "route")
        self.first_token = histogram(
            "time_to_first_token_seconds", "Time until a live stream's first words, as clients see it.",
            FIRST_TOKEN, "route", "operation",
        )  # fmt: skip

    def _branches(self) -> None:
        counter, histogram = self._counter, self._histogram
        self.attempts = counter("attempts", "Calls to targets, retries counted.", "route", "target", "outcome")
        self.attempt_seconds = histogram(
            "attempt_duration_seconds", "Time of one call to a target that answered.", SECONDS, "target", "operation"
        )
        self.failures = counter("failures", "Branches that gave up after their retries.", "route", "target", "kind")
        self.superseded = counter("superseded", "Branches cancelled because another answer was selected.", "target")
        self.denied = counter(
            "budget_denied", "Extra calls that a provider's budget had no room for.", "target", "what"
        )
        self.target_first_token = histogram(
            "target_first_token_seconds", "Time until a target's stream said its first words.", FIRST_TOKEN, "target"
        )
        self.token_gap = histogram(
            "token_gap_seconds", "Mean time between a stream's tokens.", PER_TOKEN, "target", "operation"
        )
        self.longest_gap = histogram("longest_gap_seconds", "A stream's longest silence.", PER_TOKEN, "target")
        self.target_info = self._gauge("target_info", "What a target is.", "livemax", "target", "provider", "model")

    def _redundancy(self) -> None:
        counter, histogram = self._counter, self._histogram
        self.selected = counter("selected", "Answers that won.", "route", "target", "selector")
        self.selected_seconds = histogram(
            "selected_seconds", "Time until an answer was selected; of a live stream, until its first words.",
            SECONDS, "route",
        )  # fmt: skip
        self.agreement = histogram("agreement_ratio", "The winner's share of the vote.", RATIO, "route")
        self.rescues = counter("rescues", "Requests that the first target alone would have failed.", "route")
        self.stream_rescues = counter(
            "stream_rescues", "Streams that broke off and were continued by another target.", "route", "how"
        )
        self.verified = counter(
            "verified", "Streams held against their siblings' answers after they were sent.", "route", "outcome"
        )
        self.abstentions = counter(
            "abstentions", "Decisions the route's selector left to another, or to an error.", "route", "outcome"
        )
        self.hedges_fired = counter("hedges_fired", "Branches started because an earlier one was slow.", "route")
        self.hedges_won = counter("hedges_won", "Branches started by their time that won.", "route")
        self.hedges_withheld = counter(
            "hedges_withheld", "Hedges not started: too many, no budget, or everything is slow.", "route", "why"
        )
        self.alone = counter("first_target", "What came of the target asked first.", "route", "outcome")
        self.alone_seconds = histogram(
            "first_target_seconds", "Time the first target alone would have taken; estimated where it was cancelled.",
            SECONDS, "route",
        )  # fmt: skip
        self.saved = counter("latency_saved_seconds", "Estimated waiting that other targets' answers saved.", "route")
        self.added = counter(
            "latency_added_seconds", "Waiting for others after the first target had answered.", "route"
        )
        text = "Votes from which a target's reliability was learned, older ones counting less."
        self.learned_votes = self._gauge("reliability_votes", text, "livesum", "route", "target")
        text = "Of these, votes in which it was probably right."
        self.learned_right = self._gauge("reliability_right", text, "livesum", "route", "target")

    def _spending(self) -> None:
        self.tokens = self._counter(
            "tokens", "Tokens by whether the client got them, and whether the figure is exact.",
            "target", "kind", "fate", "basis",
        )  # fmt: skip
        histogram = self._histogram
        self.prompt_tokens = histogram(
            "prompt_tokens", "Tokens of the prompt of one answer.", TOKENS, "target", "operation"
        )
        self.completion_tokens = histogram("completion_tokens", "Tokens of one answer.", TOKENS, "target", "operation")
        self.cost = self._counter(
            "cost_dollars", "Dollars by whether the client got the answer.", "target", "fate", "basis"
        )

    def _limits(self) -> None:
        gauge = self._gauge
        self.calls = gauge("calls_in_flight", "Calls to a provider under way.", "livesum", "provider")
        self.waiting = gauge("calls_waiting", "Calls that wait for room at a provider.", "livesum", "provider")
        self.queued = gauge("requests_waiting", "Requests that wait for room in the gateway.", "livesum")
        text = "Trust in a provider: failures take a tenth; at half it gets no retries and hedges."
        self.trust = gauge("budget_left_ratio", text, "livemin", "provider")
        self.breakers = gauge("breaker_state", "Circuit: 0 closed, 1 half open, 2 open.", "livemax", "target")
        self.disabled = gauge("key_disabled", "1 while a refused key is not used.", "livemax", "provider", "reason")

    def _process(self) -> None:
        gauge = self._gauge
        name, text = "hedgerow_loop_lag_seconds", "How late the event loop was."
        self.lag = Histogram(name, text, buckets=LAG, registry=self.registry)
        self.cpu = Counter("hedgerow_cpu_seconds", "CPU time, user and system.", registry=self.registry)
        self.memory = gauge("resident_memory_bytes", "Resident memory of all workers.", "livesum")
        gauge("workers", "Processes that serve.", "livesum").set(1)
        info = gauge("build_info", "The software that runs.", "livemax", "version", "python")
        info.labels(version("hedgerow"), platform.python_version()).set(1)

    def know(self, routes: Iterable[Route]) -> None:
        """Count for these routes from now on, and for no others; what was counted for a removed route stays."""
        before, self._routes = self._routes, {}
        for route in routes:
            counts, asked = before.get(route.name), asked_by(route)
            if counts is None:
                counts = RouteCounts(self, route.name, asked, route.select.name)
            else:
                counts.know(asked, route.select.name)
            self._routes[route.name] = counts
            counts.foresee(route)
            for target in asked:
                self.target_info.labels(target.name, target.provider, target.model).set(1)

    def guard(self, routes: Iterable[Route]) -> None:
        """Show the circuits and keys of these routes' targets before anything has become of them."""
        for target in (target for route in routes for target in asked_by(route)):
            self.breakers.labels(f"{target.provider}/{target.model}")
            for reason in _REFUSALS:
                self.disabled.labels(target.provider, reason)

    def breaker(self, event: BreakerChanged) -> None:
        """Show the state of a circuit; those of models that only requests name share `_other`."""
        known = (target for counts in self._routes.values() for target in counts.targets.values())
        provider, _, model = event.target.partition("/")
        named = f"{provider.partition('#')[0]}/{model}"  # whichever of its keys the circuit is of
        is_known = any(named == f"{target.provider}/{target.model}" for target in known)
        self.breakers.labels(event.target if is_known else OTHER).set(_STATES[event.state])

    def priced(self, prices: Callable[[Target], Price | None]) -> None:
        """Count dollars from now on where a target's price is known."""
        for counts in self._routes.values():
            counts.price({name: price for name, t in counts.targets.items() if (price := prices(t)) is not None})

    def price_elsewhere(self, prices: Mapping[str, Price]) -> None:
        """Count dollars, too, for targets that only a request names; they share `_other`."""
        if len(self._elsewhere) > _MOST_ELSEWHERE:
            self._elsewhere.clear()
        self._elsewhere.update(prices)

    def listener(self, route: str, wire: str = genai.CHAT, further: Listener = ignore) -> RequestCounts:
        """Return the listener of one request on a client's wire, before `further`; unknown routes share `_other`."""
        counts = self._routes.get(route, self._other)
        counts = counts if wire == genai.CHAT else counts.serving(genai.operation(wire))
        counts.in_flight += 1
        return RequestCounts(counts, further)

    def sample(self, in_flight: Mapping[str, int], waiting: Mapping[str, int], lag: float) -> None:
        """Take what is measured now and then rather than per request; `lag` is the event loop's, in seconds."""
        for counts in (*self._routes.values(), self._other):
            counts.busy.set(counts.serving_now)
        for provider, calls in in_flight.items():
            self.calls.labels(provider).set(calls)
            self.waiting.labels(provider).set(waiting[provider])
        self.lag.observe(lag)
        self.cpu.inc(self._usage.cpu_since())
        self.memory.set(self._usage.resident())
        self.tell()

    def strain(self, queued: int, budgets: Mapping[str, float]) -> None:
        """Show how many requests wait at the front, and what is left of the providers' budgets of extra calls."""
        self.queued.set(queued)
        for provider, left in budgets.items():
            self.trust.labels(provider).set(left)

    def learned(self, told: Iterable[tuple[str, Reliability]]) -> None:
        """Show what routes have learned about their targets."""
        for route, known in told:
            for target, estimate in known.targets.items():
                self.learned_votes.labels(route, target).set(estimate.seen)
                self.learned_right.labels(route, target).set(estimate.right)

    def key(self, event: KeyDisabled | KeyEnabled) -> None:
        """Say whether a provider's key is in use, and why it is not."""
        for reason in _REFUSALS:
            disabled = isinstance(event, KeyDisabled) and event.reason == reason
            self.disabled.labels(event.provider, reason).set(float(disabled))

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Serve `/metrics` from a thread of its own, so that a scrape never holds up a request; return its stop."""

        def collect() -> Iterable[Metric]:
            self.tell()
            return self.registry.collect()

        return _serve(host, port, collect)

    def tell(self) -> None:
        """Pass on what was counted: when it is scraped, and from time to time where another process is scraped."""
        with self._telling:
            for family in self._families:
                family.tell()

    def _counter(self, name: str, text: str, *labels: str) -> Family[Sum]:
        return self._kept(Family(Counter(f"hedgerow_{name}", text, labels, registry=self.registry), Sum))

    def _gauge(self, name: str, text: str, mode: _Mode, *labels: str) -> Gauge:
        return Gauge(f"hedgerow_{name}", text, labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family[Spread]:
        histogram = Histogram(f"hedgerow_{name}", text, labels, buckets=buckets, registry=self.registry)
        return self._kept(Family(histogram, Spread))

    def _kept(self, family: _F) -> _F:
        self._families.append(family)
        return family


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


def serve_merged(host: str, port: int, directory: Path | str) -> Callable[[], None]:
    """Serve the sum of what all workers have counted into `directory`, from a thread; return its stop."""
    merged = MultiProcessCollector(None, str(directory))

    def collect() -> Iterable[Metric]:
        with _folding:
            return list(merged.collect())

    return _serve(host, port, collect)


def forget(pid: int, directory: Path | str) -> None:
    """Let a dead worker's gauges vanish and keep its counts, in one file for all the dead.

    Without the folding, every restart would leave files behind that each scrape reads.
    """
    with _folding:
        mark_process_dead(pid, str(directory))
        for kind in ("counter", "histogram"):
            left = Path(directory, f"{kind}_{pid}.db")
            if left.exists():
                _fold(left, Path(directory, f"{kind}_dead.db"))
                left.unlink()


def _fold(left: Path, into: Path) -> None:
    """Add a file's values to another's."""
    kept = MmapedDict(str(into))
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(left)):
            kept.write_value(key, kept.read_value(key)[0] + value, 0.0)
    finally:
        kept.close()


class _Exposed(Collector):
    """Our metrics, followed by the ones that OpenTelemetry's GenAI conventions name, made of the same counts."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        families = {family.name: family for family in self._collect()}
        yield from families.values()
        yield from genai.view(families)
        yield from _reliability(families)


def _reliability(families: Mapping[str, Metric]) -> Iterator[Metric]:
    """Give how often each target is right: a share cannot be merged over workers, the counts that it is made of can."""
    known = _estimates(families.values())
    if known:
        text = "How often a target is right, learned from votes."
        family = GaugeMetricFamily("hedgerow_reliability", text, labels=("route", "target"))
        for (route, target), estimate in known.items():
            family.add_metric((route, target), estimate.reliability)
        yield family


def _estimates(families: Iterable[Metric]) -> dict[tuple[str, str], Estimate]:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for family in families:
        kind = family.name.removeprefix("hedgerow_reliability_")
        for sample in family.samples if kind in {"votes", "right"} else ():
            found.setdefault((sample.labels["route"], sample.labels["target"]), {})[kind] = sample.value
    return {place: Estimate(counts.get("right", 0.0), counts.get("votes", 0.0)) for place, counts in found.items()}


def learned(scraped: str) -> dict[str, Reliability]:
    """Return what the routes of a gateway have learned, from the text of its metrics."""
    routes: dict[str, dict[str, Estimate]] = {}
    for (route, target), estimate in _estimates(text_string_to_metric_families(scraped)).items():
        routes.setdefault(route, {})[target] = estimate
    return {route: Reliability(targets) for route, targets in routes.items()}


def _serve(host: str, port: int, collect: Callable[[], Iterable[Metric]]) -> Callable[[], None]:
    registry = CollectorRegistry()
    registry.register(_Exposed(collect))
    server, thread = start_http_server(port, host, registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
