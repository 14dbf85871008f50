"""Replay a recording through a rule: how often it is right, how united the targets are, how many calls it saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fanin import Ballot, Candidate, Failure, Rule, Selection
from gateway.evaluation import ballots
from gateway.evaluation.intervals import wilson
from gateway.evaluation.recordings import CONFIDENCES, Answer, Recording


@dataclass(frozen=True, slots=True)
class Decided:
    """What a rule made of one row: its selection on the closed ballot, and how many targets it had to ask for it."""

    selection: Selection | None
    asked: int

    @property
    def right(self) -> bool | None:
        """Whether the chosen answer is right; no choice is wrong, and None means that nobody knows."""
        if self.selection is None:
            return False
        answer: Answer = self.selection.winner.payload
        return answer.correct


@dataclass(frozen=True, slots=True)
class Replayed:
    """A rule's decisions over a recording; the figures are shares from 0 to 1."""

    targets: tuple[str, ...]
    decided: tuple[Decided, ...]

    @property
    def right(self) -> int | None:
        """How many rows it got right; None where some are not labelled."""
        marks = [each.right for each in self.decided]
        return None if any(mark is None for mark in marks) else sum(map(bool, marks))

    @property
    def accuracy(self) -> float | None:
        """The share of rows it got right."""
        return None if self.right is None else self.right / len(self.decided)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the accuracy."""
        return None if self.right is None else wilson(self.right, len(self.decided))

    @property
    def agreement(self) -> float | None:
        """The mean share of the votes that the winner had; None where nothing was voted on."""
        shares = [each.selection.agreement for each in self.decided if each.selection is not None]
        voted = [share for share in shares if share is not None]
        return fmean(voted) if voted else None

    @property
    def calls_saved(self) -> float:
        """The share of calls not needed when the targets are asked one after another until the rule decides."""
        return 1 - sum(each.asked for each in self.decided) / (len(self.decided) * len(self.targets))


def replay(
    recording: Recording,
    rule: Rule,
    *,
    early: bool = True,
    confidences: Sequence[str] = CONFIDENCES,
) -> Replayed:
    """Return what the rule decides on every row once all have answered, and when it could have decided.

    Without `early` the second is not looked for (no calls are saved), which is several times quicker here.
    """
    targets = recording.targets
    opening = ballots.opening(targets)
    decided = []
    for row in recording.rows:
        given = ballots.outcomes(row, targets, confidences)
        asked = in_turn(opening, given, rule)[1] if early else len(targets)
        decided.append(Decided(rule(ballots.closed(given, targets)), asked))
    return Replayed(targets, tuple(decided))


def in_turn(ballot: Ballot, arrivals: Sequence[Candidate | Failure], rule: Rule) -> tuple[Selection | None, int]:
    """Return what the rule decides as the answers come in one after another, and how many it waited for."""
    for count, outcome in enumerate(arrivals, 1):
        ballot = ballot.add(outcome)
        selection = rule(ballot.close() if count == len(arrivals) else ballot)
        if selection is not None:
            return selection, count
    return None, len(arrivals)
