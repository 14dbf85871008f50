"""What waiting costs: policies of launching and deciding, replayed on the latencies that were recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fanin import Candidate, Failure, Rule, Selection, defer, first, majority, priority
from gateway.evaluation import ballots
from gateway.evaluation.ballots import Key
from gateway.evaluation.intervals import quantile
from gateway.evaluation.recordings import Answer, Recording, Row

PATIENCE = 5.0
"""Seconds after which the policy with a deadline takes what has arrived."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Who is asked when, and how the answer is chosen.

    All targets start together, unless `hedge_after` (seconds) is set: then the second starts that much later, if
    nothing is decided by then, and no other. At `patience` seconds the rule has to decide on what has arrived.
    """

    name: str
    rule: Rule
    targets: tuple[str, ...]
    patience: float = math.inf
    hedge_after: float | None = None


@dataclass(frozen=True, slots=True)
class Waited:
    """How long a policy's answers take, in seconds, how often they are right, and how many calls a question costs."""

    policy: str
    latencies: tuple[float, ...]
    right: tuple[bool | None, ...]
    calls: float

    def at(self, share: float) -> float:
        """Return the latency that this share of the questions does not exceed."""
        return quantile(self.latencies, share)

    @property
    def accuracy(self) -> float | None:
        """The share of right answers; None where some rows are not labelled."""
        marks = [mark for mark in self.right if mark is not None]
        return sum(marks) / len(marks) if len(marks) == len(self.right) else None


def policies(recording: Recording, rule: Rule, key: Key) -> tuple[Policy, ...]:
    """Return the policies worth comparing for these targets, the given rule among them early and waiting for all."""
    targets = recording.targets
    alone = Policy(f"{targets[0]} alone", priority(), targets[:1])
    if len(targets) == 1:
        return (alone,)
    usual = quantile(
        [row.answers[targets[0]].latency or 0.0 for row in recording.rows if targets[0] in row.answers], 0.9
    )
    agreeing: Callable[[int], Rule] = lambda votes: majority(key=key, agree=votes)  # noqa: E731
    found = [
        alone,
        Policy("race", first(), targets),
        Policy("wait for all", defer(rule), targets),
        Policy("early", rule, targets),
        Policy("first 2 that agree", agreeing(2), targets),
        Policy(f"hedge at p90, {usual:.2f} s", first(), targets[:2], hedge_after=usual),
    ]
    if len(targets) > 2:
        found.insert(-1, Policy(f"3 agree or {PATIENCE:g} s", agreeing(3), targets, PATIENCE))
    return tuple(found)


def wait(recording: Recording, policy: Policy) -> Waited:
    """Return what a policy gives on every row; latencies of the same question are those of the recording."""
    waited = [_run(row, policy) for row in recording.rows]
    return Waited(
        policy.name,
        tuple(seconds for seconds, _, _ in waited),
        tuple(_mark(selection) for _, selection, _ in waited),
        sum(calls for _, _, calls in waited) / len(waited),
    )


def _run(row: Row, policy: Policy) -> tuple[float, Selection | None, int]:
    """Return when a policy decided one question, what, and how many calls it had started."""
    arrivals = _arrivals(row, policy)
    ballot = ballots.opening(policy.targets)
    now = 0.0
    for count, (seconds, outcome) in enumerate(arrivals, 1):
        if seconds > policy.patience:
            break
        now, ballot = seconds, ballot.add(outcome)
        selection = policy.rule(ballot.close() if count == len(arrivals) else ballot)
        if selection is not None:
            return now, selection, _started(policy, now)
    if policy.patience < math.inf and ballot.pending:
        now = policy.patience
    return now, policy.rule(ballot.close()), _started(policy, now)


def _arrivals(row: Row, policy: Policy) -> Sequence[tuple[float, Candidate | Failure]]:
    """Return the outcomes with the seconds at which they come in, in that order."""
    given = ballots.outcomes(row, policy.targets)
    timed = [(_start(policy, place) + _latency(outcome), outcome) for place, outcome in enumerate(given)]
    return sorted(timed, key=lambda arrival: arrival[0])


def _start(policy: Policy, place: int) -> float:
    return 0.0 if policy.hedge_after is None else policy.hedge_after * place


def _started(policy: Policy, end: float) -> int:
    """Return how many calls had begun when the decision fell."""
    return sum(
        place == 0 or _start(policy, place) < end or policy.hedge_after is None for place in range(len(policy.targets))
    )


def _latency(outcome: Candidate | Failure) -> float:
    answer: Answer | None = outcome.payload if isinstance(outcome, Candidate) else None
    return 0.0 if answer is None or answer.latency is None else answer.latency


def _mark(selection: Selection | None) -> bool | None:
    if selection is None:
        return False
    answer: Answer = selection.winner.payload
    return answer.correct
