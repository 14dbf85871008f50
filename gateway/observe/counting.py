"""What is counted of a request: each event becomes a few increments of children that were bound at start-up.

Finding a child by its labels costs more than counting it: nothing here looks one up twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from gateway.domain import Answer, Price, Route, Target, Usage
from gateway.engine.events import (
    Answered,
    Attempted,
    BudgetDenied,
    Event,
    Failed,
    Finished,
    HedgeWithheld,
    Launched,
    Rescued,
    Selected,
    Spent,
    Streamed,
    Superseded,
    Verified,
    Why,
)
from gateway.observe.genai import CHAT
from gateway.observe.residual import Residual

if TYPE_CHECKING:
    from gateway.observe.metrics import Metrics

OTHER = "_other"
_ANSWERED = (200, 201, 202, 204, 206, 304)
_REFUSED = (400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 415, 416, 422, 429, 499)
STATUSES = frozenset({*_ANSWERED, *_REFUSED, 500, 502, 503, 504})


def asked_by(route: Route) -> tuple[Target, ...]:
    """Return all whom a route may ask: its targets, and those that judge their answers."""
    return (*route.targets, *(scorer.target for scorer in route.select.scorers))


class RouteCounts:
    """The bound children of one route, shared by its requests of one operation (`chat`, `embeddings`, ...).

    `prices` maps a target's name to its price where that is known, `in_flight` counts the requests being served, and
    `last_resort` is who decides where the other rules of the selector `select` abstain.
    """

    def __init__(
        self, metrics: Metrics, route: str, targets: Iterable[Target], select: str = "", operation: str = CHAT
    ) -> None:
        self._metrics, self._route, self._select = metrics, route, select
        self._beside: dict[str, RouteCounts] = {}
        self.prices: Mapping[str, Price] = {}
        self.in_flight = 0
        self.busy = metrics.in_flight.labels(route)
        self.requests = _Bound(lambda status: metrics.requests.labels(route, _status(status)))
        self.request_seconds = _Bound(lambda outcome: metrics.request_seconds.labels(route, outcome, operation))
        self.attempts = _Bound(lambda key: metrics.attempts.labels(route, *key))
        self.failures = _Bound(lambda key: metrics.failures.labels(route, *key))
        self.denied = _Bound(lambda key: metrics.denied.labels(*key))
        self.target_first_token = _Bound(metrics.target_first_token.labels)
        self.token_gap = _Bound(lambda target: metrics.token_gap.labels(target, operation))
        self.longest_gap = _Bound(metrics.longest_gap.labels)
        self.abstentions = _Bound(lambda outcome: metrics.abstentions.labels(route, outcome))
        self.alone = _Bound(lambda outcome: metrics.alone.labels(route, outcome))
        self.alone_seconds = metrics.alone_seconds.labels(route)
        self.target = _Targets(self, lambda name: TargetCounts(metrics, route, name, operation))
        self.overhead = metrics.overhead.labels(route)
        self.first_token = metrics.first_token.labels(route, operation)
        self.agreement = metrics.agreement.labels(route)
        self.rescues = metrics.rescues.labels(route)
        self.stream_rescues = _Bound(lambda how: metrics.stream_rescues.labels(route, how))
        self.verified = _Bound(lambda outcome: metrics.verified.labels(route, outcome))
        self.hedges_fired = metrics.hedges_fired.labels(route)
        self.hedges_won = metrics.hedges_won.labels(route)
        self.hedges_withheld = _Bound(lambda why: metrics.hedges_withheld.labels(route, why))
        self.selected_seconds = metrics.selected_seconds.labels(route)
        self.saved = metrics.saved.labels(route)
        self.added = metrics.added.labels(route)
        self.whole, self.live = Residual(), Residual()
        self.know(targets, select)

    def know(self, targets: Iterable[Target], select: str) -> None:
        """Count for these targets, from zeros: a rate over a series that appears with its first event misses it."""
        self.targets: Mapping[str, Target] = {target.name: target for target in targets}
        self._select = select
        self.compares = len(self.targets) > 1
        for counts in self._beside.values():
            counts.know(self.targets.values(), select)
        self.last_resort = select.rpartition(" | ")[2] if " | " in select else None
        self.requests[200], self.requests[499], self.requests[502], self.request_seconds["answered"]
        self.abstentions["fell_back"], self.abstentions["failed"]
        for outcome in ("answered", "failed", "superseded"):
            self.alone[outcome]
        for target in self.targets or (OTHER,):
            for known in (("won", "exact"), ("lost", "exact"), ("lost", "at_least")):
                self.target[target].tokens[known]

    def foresee(self, route: Route) -> None:
        """Begin at zero, too, what this configuration may lead to, however rarely."""
        hedging = route.launch.adaptive or route.launch.stagger < math.inf
        if hedging:
            for why in get_args(Why) if route.launch.adaptive else ("budget",):
                self.hedges_withheld[why]
        if route.warm:
            self.stream_rescues["splice"], self.stream_rescues["prefill"]
        if route.verified:
            self.verified["agreed"], self.verified["disagreed"]
        for target in route.targets:
            if target.retries:
                self.denied[target.name, "retry"]
            if hedging:
                self.denied[target.name, "hedge"]

    def serving(self, operation: str) -> RouteCounts:
        """Return the counts of the route's requests of another operation; most children are the same."""
        counts = self._beside.get(operation)
        if counts is None:
            counts = RouteCounts(self._metrics, self._route, self.targets.values(), self._select, operation)
            counts.prices = self.prices
            self._beside[operation] = counts
        return counts

    @property
    def serving_now(self) -> int:
        """The route's requests of all operations that are being served."""
        return self.in_flight + sum(counts.in_flight for counts in self._beside.values())

    def price(self, prices: Mapping[str, Price]) -> None:
        """Count dollars at these prices."""
        for counts in (self, *self._beside.values()):
            counts.prices = prices
        for target in prices:
            cost = self.target[target].cost
            cost["won", "exact"], cost["lost", "exact"], cost["lost", "at_least"]

    def label(self, target: str) -> str:
        """Return the target's name, or `_other` for one that a request wrote itself."""
        return target if target in self.targets else OTHER


class TargetCounts:
    """The bound children that every answer of one target touches."""

    __slots__ = (
        "answered", "completion_tokens", "cost", "prompt_tokens", "seconds", "selected", "superseded", "tokens",
    )  # fmt: skip

    def __init__(self, metrics: Metrics, route: str, target: str, operation: str) -> None:
        self.answered = metrics.attempts.labels(route, target, "answered")
        self.seconds = metrics.attempt_seconds.labels(target, operation)
        self.superseded = metrics.superseded.labels(target)
        self.selected = _Bound(lambda selector: metrics.selected.labels(route, target, selector))
        self.cost = _Bound(lambda key: metrics.cost.labels(target, *key))
        self.prompt_tokens = metrics.prompt_tokens.labels(target, operation)
        self.completion_tokens = metrics.completion_tokens.labels(target, operation)
        tokens = metrics.tokens.labels
        self.tokens = _Bound(lambda key: (tokens(target, "prompt", *key), tokens(target, "completion", *key)))


class RequestCounts:
    """The listener of one request. `cost` is what is known to have been spent on it so far, in dollars."""

    __slots__ = ("_alone", "_began", "_cut", "_first", "_heard", "_hedges", "_of", "cost")

    def __init__(self, of: RouteCounts) -> None:
        self._of = of
        self._first = ""
        self._began = 0.0
        self._alone: tuple[str, float] | None = None
        self._heard: tuple[Answered, ...] = ()
        self._cut: tuple[str, ...] = ()
        self._hedges: tuple[str, ...] = ()
        self.cost: float | None = None
        of.in_flight += 1

    def __call__(self, event: Event) -> None:
        """Count one event."""
        count = _COUNTS.get(type(event))
        if count is not None:
            count(self, event)

    def launched(self, event: Launched) -> None:
        """Remember who was asked first, and when."""
        if not self._first:
            self._first, self._began = event.target, event.at
        elif event.hedge:
            self._hedges += (event.target,)
            self._of.hedges_fired.inc()

    def attempted(self, event: Attempted) -> None:
        """Count a call."""
        if event.kind is None:
            target = self._of.target[event.target]
            target.answered.inc()
            target.seconds.observe(event.duration)
        else:
            self._of.attempts[self._of.label(event.target), event.kind.value].inc()

    def answered(self, event: Answered) -> None:
        """Remember how long the answer took."""
        self._heard += (event,)
        if event.target == self._first:
            self._alone = "answered", event.duration

    def failed(self, event: Failed) -> None:
        """Count a branch that gave up."""
        self._of.failures[self._of.label(event.failure.target), event.failure.kind.value].inc()
        if event.failure.target == self._first:
            self._alone = "failed", event.duration

    def denied(self, event: BudgetDenied) -> None:
        """Count an extra call that was not made."""
        self._of.denied[self._of.label(event.target), event.what].inc()

    def withheld(self, event: HedgeWithheld) -> None:
        """Count a hedge that was not started."""
        self._of.hedges_withheld[event.why].inc()

    def superseded(self, event: Superseded) -> None:
        """Count a branch that was cancelled."""
        self._of.target[event.target].superseded.inc()
        self._cut += (event.target,)
        if event.target == self._first:
            self._alone = "superseded", event.duration

    def selected(self, event: Selected) -> None:
        """Count the decision, and compare it with what the first target alone would have given."""
        of, selection = self._of, event.selection
        of.target[selection.winner.target].selected[selection.selector].inc()
        if selection.agreement is not None:
            of.agreement.observe(selection.agreement)
        if selection.winner.target in self._hedges:
            of.hedges_won.inc()
        if event.rescued:
            of.rescues.inc()
        if selection.selector == of.last_resort:
            of.abstentions["fell_back"].inc()
        waited = event.at - self._began
        of.selected_seconds.observe(waited)
        payload = selection.winner.payload
        live = payload is not None and not isinstance(payload, Answer)
        if live:
            of.first_token.observe(waited)
            for answer in self._heard:
                of.target_first_token[of.label(answer.target)].observe(answer.duration)
        if self._alone is not None:
            self._compare(*self._alone, waited, of.live if live else of.whole)
        if self._cut and isinstance(payload, Answer) and payload.usage is not None:
            self._cancelled(payload.usage.prompt)

    def _compare(self, outcome: str, took: float, waited: float, residual: Residual) -> None:
        """Book what the first target alone would have taken: known, or estimated where it was cancelled meanwhile."""
        of = self._of
        if outcome == "answered":
            if of.compares:
                residual.ended(took)
            of.alone_seconds.observe(took)
            of.added.inc(max(0.0, waited - took))
        else:
            residual.cut(took)
        if outcome == "superseded":
            more = residual.after(took)
            of.alone_seconds.observe(took + more)
            of.saved.inc(more)

    def _cancelled(self, prompt: int) -> None:
        """Book the prompts of the branches that were cancelled: they were read, so that much is billed at least."""
        for target in self._cut:
            self._book(target, Usage(prompt, 0), "lost", "at_least")

    def spent(self, event: Spent) -> None:
        """Count an answer's tokens and dollars."""
        usage, fate = event.usage, event.fate or ("won" if event.won else "lost")
        basis = "exact" if usage.exact else "at_least"
        target = self._of.target[event.target]
        target.prompt_tokens.observe(usage.prompt)
        target.completion_tokens.observe(usage.completion)
        self._book(event.target, usage, fate, basis)

    def _book(self, target: str, usage: Usage, fate: str, basis: str) -> None:
        counts = self._of.target[target]
        prompt, completion = counts.tokens[fate, basis]
        prompt.inc(usage.prompt)
        completion.inc(usage.completion)
        price = self._of.prices.get(target)
        if price is not None:
            dollars = price.of(usage)
            counts.cost[fate, basis].inc(dollars)
            self.cost = dollars + (self.cost or 0.0)

    def continued(self, event: Rescued) -> None:
        """Count a stream that another target went on with."""
        self._of.stream_rescues[event.how].inc()

    def verified(self, event: Verified) -> None:
        """Count what the siblings said of a stream."""
        self._of.verified["agreed" if event.agreed else "disagreed"].inc()

    def streamed(self, event: Streamed) -> None:
        """Take down a stream's rhythm."""
        target = self._of.label(event.target)
        if event.tokens > 1:
            self._of.token_gap[target].observe(event.duration / (event.tokens - 1))
        self._of.longest_gap[target].observe(event.longest_gap)

    def finished(self, event: Finished) -> None:
        """Count the request."""
        of = self._of
        of.in_flight -= 1
        of.requests[event.status].inc()
        of.request_seconds[_outcome(event)].observe(event.duration)
        if event.overhead is not None:
            of.overhead.observe(event.overhead)
        if event.error == "selector_abstained":
            of.abstentions["failed"].inc()
        if self._alone is not None and event.status != 499:
            of.alone[self._alone[0]].inc()


_COUNTS: dict[type, Callable[[RequestCounts, Any], None]] = {
    Launched: RequestCounts.launched,
    Attempted: RequestCounts.attempted,
    Answered: RequestCounts.answered,
    Failed: RequestCounts.failed,
    Superseded: RequestCounts.superseded,
    Selected: RequestCounts.selected,
    Spent: RequestCounts.spent,
    Rescued: RequestCounts.continued,
    Verified: RequestCounts.verified,
    Streamed: RequestCounts.streamed,
    BudgetDenied: RequestCounts.denied,
    HedgeWithheld: RequestCounts.withheld,
    Finished: RequestCounts.finished,
}


def _status(status: int) -> str:
    return str(status) if status in STATUSES else OTHER


def _outcome(event: Finished) -> str:
    """Return how a request ended, for people who watch it: a client's own mistake and its leaving are no failures."""
    if event.status == 499:
        return "left"
    if event.status >= 500 or (event.status == 200 and event.error is not None):
        return "failed"
    return "answered" if event.status < 400 else "refused"


class _Bound(dict[Any, Any]):
    """Children by label values, each bound at its first use. A key must come from a closed set."""

    def __init__(self, bind: Callable[[Any], Any]) -> None:
        super().__init__()
        self._bind = bind

    def __missing__(self, key: Any) -> Any:
        child = self[key] = self._bind(key)
        return child


class _Targets(dict[str, TargetCounts]):
    """What is counted of a target, by its name; whoever is not of the route shares `_other`."""

    def __init__(self, route: RouteCounts, bind: Callable[[str], TargetCounts]) -> None:
        super().__init__()
        self._route, self._bind = route, bind

    def __missing__(self, name: str) -> TargetCounts:
        if name != OTHER and name not in self._route.targets:
            return self[OTHER]  # not kept under a name that a client made up
        child = self[name] = self._bind(name)
        return child
