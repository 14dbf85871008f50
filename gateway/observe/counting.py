"""What is counted of a request: each event becomes a few increments of children that were bound at start-up.

Finding a child by its labels costs more than counting it: nothing here looks one up twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

from msgspec import Struct

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
    Listener,
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
from gateway.observe.tally import Bound, Sum

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
        self._metrics, self._route, self._select, self._operation = metrics, route, select, operation
        self._beside: dict[str, RouteCounts] = {}
        self.prices: Mapping[str, Price] = {}
        self.in_flight = 0
        self.busy = metrics.in_flight.labels(route)
        self.served = Bound(self._served)
        self.attempts = Bound(lambda key: metrics.attempts.labels(route, *key))
        self.failures = Bound(lambda key: metrics.failures.labels(route, *key))
        self.denied = Bound(lambda key: metrics.denied.labels(*key))
        self.target_first_token = Bound(lambda target: metrics.target_first_token.labels(target).values)
        self.token_gap = Bound(lambda target: metrics.token_gap.labels(target, operation).values)
        self.longest_gap = Bound(lambda target: metrics.longest_gap.labels(target).values)
        self.abstentions = Bound(lambda outcome: metrics.abstentions.labels(route, outcome))
        self.alone_seconds = metrics.alone_seconds.labels(route).values
        self.target = _Targets(self, lambda name: TargetCounts(metrics, route, name, operation))
        self.overhead = metrics.overhead.labels(route).values
        self.first_token = metrics.first_token.labels(route, operation).values
        self.agreement = metrics.agreement.labels(route).values
        self.rescues = metrics.rescues.labels(route)
        self.stream_rescues = Bound(lambda how: metrics.stream_rescues.labels(route, how))
        self.verified = Bound(lambda outcome: metrics.verified.labels(route, outcome))
        self.hedges_fired = metrics.hedges_fired.labels(route)
        self.hedges_won = metrics.hedges_won.labels(route)
        self.hedges_withheld = Bound(lambda why: metrics.hedges_withheld.labels(route, why))
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
        self.served[200, False, Answered], self.served[200, False, Failed], self.served[200, False, Superseded]
        self._metrics.requests.labels(self._route, "499"), self._metrics.requests.labels(self._route, "502")
        self.abstentions["fell_back"], self.abstentions["failed"]
        for target in self.targets or (OTHER,):
            for known in _FATES:
                self.target[target].spent[known]

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
            if route.select.gathers:
                self.denied[target.name, "share"]

    def serving(self, operation: str) -> RouteCounts:
        """Return the counts of the route's requests of another operation; most children are the same."""
        counts = self._beside.get(operation)
        if counts is None:
            targets = self.targets.values()
            counts = self._beside[operation] = RouteCounts(self._metrics, self._route, targets, self._select, operation)
            counts.prices = self.prices
        return counts

    def _served(self, key: tuple[int, bool, Any]) -> list[float]:
        """Return who takes the durations of requests with one end: status, with an error or not, the first target's."""
        status, erred, alone = key
        counters = [self._metrics.requests.labels(self._route, str(status) if status in STATUSES else OTHER)]
        if alone is not None:
            counters.append(self._metrics.alone.labels(self._route, _ALONE[alone]))
        seconds = self._metrics.request_seconds.labels(self._route, _outcome(status, erred=erred), self._operation)
        return seconds.joined(*counters).values

    @property
    def serving_now(self) -> int:
        """The route's requests of all operations that are being served."""
        return self.in_flight + sum(counts.in_flight for counts in self._beside.values())

    def price(self, prices: Mapping[str, Price]) -> None:
        """Count dollars at these prices."""
        for counts in (self, *self._beside.values()):
            counts.prices = prices
        for target in prices:
            for known in _FATES:
                self.target[target].cost[known]

    def label(self, target: str) -> str:
        """Return the target's name, or `_other` for one that a request wrote itself."""
        return target if target in self.targets else OTHER


class TargetCounts:
    """The bound children that every answer of one target touches."""

    __slots__ = ("answered", "cost", "prompt_at_least", "selected", "spent", "superseded")

    def __init__(self, metrics: Metrics, route: str, target: str, operation: str) -> None:
        answered = metrics.attempts.labels(route, target, "answered")
        self.answered = metrics.attempt_seconds.labels(target, operation).joined(answered).values
        self.superseded = metrics.superseded.labels(target)
        seconds, selected = metrics.selected_seconds.labels(route), metrics.selected.labels
        self.selected = Bound(lambda selector: seconds.joined(selected(route, target, selector)).values)
        self.cost = Bound(lambda key: metrics.cost.labels(target, *_words(*key)))
        self.prompt_at_least = metrics.tokens.labels(target, "prompt", "lost", "at_least")
        prompts = metrics.prompt_tokens.labels(target, operation)
        completions = metrics.completion_tokens.labels(target, operation)
        tokens = metrics.tokens.labels
        self.spent = Bound(
            lambda key: (
                prompts.joined(total=tokens(target, "prompt", *_words(*key))).values,
                completions.joined(total=tokens(target, "completion", *_words(*key))).values,
            )
        )


class RequestCounts(Struct):
    """The listener of one request. `cost` is what is known to have been spent on it so far, in dollars."""

    _of: RouteCounts
    _further: Listener
    _first: str = ""
    _began: float = 0.0
    _alone: Answered | Failed | Superseded | None = None
    _heard: tuple[Answered, ...] = ()
    _cut: tuple[str, ...] = ()
    _read: tuple[str, ...] = ()
    _hedges: tuple[str, ...] = ()
    cost: float | None = None

    def hear(self, event: Event) -> None:
        """Count one event, and pass it on."""
        _COUNTS[type(event)](self, event)
        further = self._further
        further(event)

    def launched(self, event: Launched) -> None:
        """Remember who was asked first, and when."""
        if not self._first:
            self._first, self._began = event.target, event.at
        elif event.hedge:
            self._hedges += (event.target,)
            self._of.hedges_fired.value += 1

    def attempted(self, event: Attempted) -> None:
        """Count a call."""
        if event.kind is None:
            self._of.target[event.target].answered.append(event.duration)
        else:
            self._of.attempts[self._of.label(event.target), event.kind.value].value += 1

    def answered(self, event: Answered) -> None:
        """Remember how long the answer took."""
        self._heard += (event,)
        if event.target == self._first:
            self._alone = event

    def failed(self, event: Failed) -> None:
        """Count a branch that gave up."""
        target = event.failure.target
        self._of.failures[self._of.label(target), event.failure.kind.value].value += 1
        if target == self._first:
            self._alone = event

    def superseded(self, event: Superseded) -> None:
        """Count a branch that was cancelled."""
        self._of.target[event.target].superseded.value += 1
        self._cut += (event.target,)
        if event.target == self._first:
            self._alone = event

    def denied(self, event: BudgetDenied) -> None:
        """Count an extra call that was not made."""
        self._of.denied[self._of.label(event.target), event.what].value += 1

    def withheld(self, event: HedgeWithheld) -> None:
        """Count a hedge that was not started."""
        self._of.hedges_withheld[event.why].value += 1

    def selected(self, event: Selected) -> None:
        """Count the decision, and compare it with what the first target alone would have given."""
        of, selection = self._of, event.selection
        winner, payload = selection.winner.target, selection.winner.payload
        waited = event.at - self._began
        of.target[winner].selected[selection.selector].append(waited)
        if selection.agreement is not None:
            of.agreement.append(selection.agreement)
        if winner in self._hedges:
            of.hedges_won.value += 1
        if event.rescued:
            of.rescues.value += 1
        if selection.selector == of.last_resort:
            of.abstentions["fell_back"].value += 1
        live = not isinstance(payload, Answer) and payload is not None
        if live:
            of.first_token.append(waited)
            for answer in self._heard:
                of.target_first_token[of.label(answer.target)].append(answer.duration)
        if self._alone is not None:
            self._compare(self._alone, waited, of.live if live else of.whole)
        if self._cut and isinstance(payload, Answer) and payload.usage is not None:
            self._cancelled(payload.usage.prompt)

    def _compare(self, alone: Answered | Failed | Superseded, waited: float, residual: Residual) -> None:
        """Book what the first target alone would have taken: known, or estimated where it was cancelled meanwhile."""
        of, took = self._of, alone.duration
        if type(alone) is Answered:
            if of.compares:
                residual.ended.append(took)
            of.alone_seconds.append(took)
            if waited > took:
                of.added.value += waited - took
        else:
            more = residual.cut(took)
            if type(alone) is Superseded:
                of.alone_seconds.append(took + more)
                of.saved.value += more

    def _cancelled(self, prompt: int) -> None:
        """Book the prompts of the branches that were cancelled: they were read, so that much is billed at least."""
        self._read = self._cut
        for target in self._cut:
            counts = self._of.target[target]
            counts.prompt_at_least.value += prompt
            price = self._of.prices.get(target)
            if price is not None:
                self._pay(counts.cost[False, False], price.of(Usage(prompt, 0)))

    def spent(self, event: Spent) -> None:
        """Count an answer's tokens and dollars."""
        usage, target = event.usage, event.target
        if target in self._read:  # a probe that was overtaken: its prompt has been booked
            usage = Usage(0, usage.completion, usage.exact)
        counts = self._of.target[target]
        key = event.fate or event.won, usage.exact
        prompts, completions = counts.spent[key]
        prompts.append(usage.prompt)
        completions.append(usage.completion)
        price = self._of.prices.get(target)
        if price is not None:
            self._pay(counts.cost[key], price.of(usage))

    def _pay(self, cost: Sum, dollars: float) -> None:
        cost.value += dollars
        self.cost = dollars + (self.cost or 0.0)

    def continued(self, event: Rescued) -> None:
        """Count a stream that another target went on with."""
        self._of.stream_rescues[event.how].value += 1

    def verified(self, event: Verified) -> None:
        """Count what the siblings said of a stream."""
        self._of.verified["agreed" if event.agreed else "disagreed"].value += 1

    def streamed(self, event: Streamed) -> None:
        """Take down a stream's rhythm."""
        target = self._of.label(event.target)
        if event.tokens > 1:
            self._of.token_gap[target].append(event.duration / (event.tokens - 1))
        self._of.longest_gap[target].append(event.longest_gap)

    def finished(self, event: Finished) -> None:
        """Count the request."""
        of, status = self._of, event.status
        of.in_flight -= 1
        alone = None if status == 499 or self._alone is None else type(self._alone)
        of.served[status, event.error is not None, alone].append(event.duration)
        if event.overhead is not None:
            of.overhead.append(event.overhead)
        if event.error == "selector_abstained":
            of.abstentions["failed"].value += 1

    def others(self, event: Event) -> None:
        """Count nothing."""


_COUNTS: dict[type, Callable[[RequestCounts, Any], None]] = {
    **dict.fromkeys(get_args(Event), RequestCounts.others),
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


def _outcome(status: int, *, erred: bool) -> str:
    """Return how a request ended, for people who watch it: a client's own mistake and its leaving are no failures."""
    if status == 499:
        return "left"
    if status >= 500 or (status == 200 and erred):
        return "failed"
    return "answered" if status < 400 else "refused"


_FATES = ((True, True), (False, True), (False, False))
"""What becomes of most answers' tokens: whether they won, and whether the figure is exact."""


def _words(fate: str | bool, exact: bool) -> tuple[str, str]:
    """Return the labels `fate` and `basis` of tokens."""
    return fate if isinstance(fate, str) else "won" if fate else "lost", "exact" if exact else "at_least"


_ALONE = {Answered: "answered", Failed: "failed", Superseded: "superseded"}
"""What came of the target asked first, by its last event."""


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
