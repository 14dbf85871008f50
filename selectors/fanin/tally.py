"""Counting: who gives which answer, whether that can still change, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from fanin.ballot import Ballot, Candidate, Seat, Selection
from fanin.keys import Key
from fanin.order import rank

Weigh: TypeAlias = Callable[[Candidate | Seat], float]

_ANYBODY = (-math.inf, "")
"""The rank of a target of which nothing is known: it may win every tie."""
_DECIMALS = 12


def one(_: Candidate | Seat) -> float:
    """Weigh every vote the same."""
    return 1.0


@dataclass(frozen=True, slots=True)
class Tally:
    """The votes on a ballot: for each key its supporters by rank, the keys by the rank of their first supporter."""

    groups: dict[Hashable, list[Candidate]]
    weights: dict[Hashable, float]
    total: float

    @classmethod
    def of(cls, ballot: Ballot, key: Key, weigh: Weigh = one) -> Tally:
        """Count a ballot; a candidate whose key is None has no vote. Sums do not depend on the order of arrival."""
        groups: dict[Hashable, list[Candidate]] = {}
        for candidate in ballot.ranked():
            found = key(candidate)
            if found is not None:
                groups.setdefault(found, []).append(candidate)
        if weigh is one:
            counts = {answer: float(len(group)) for answer, group in groups.items()}
            return cls(groups, counts, sum(counts.values()))
        weights = {answer: math.fsum(map(weigh, group)) for answer, group in groups.items()}
        return cls(groups, weights, math.fsum(weigh(c) for group in groups.values() for c in group))

    @property
    def voters(self) -> list[Candidate]:
        """The candidates that have a vote."""
        return [candidate for group in self.groups.values() for candidate in group]

    @property
    def leader(self) -> Hashable:
        """The key with the most weight; of several, the one whose first supporter ranks first."""
        return max(self.weights, key=self.weights.__getitem__)

    def agreement(self, answer: Hashable) -> float:
        """Return the share of the votes that this key has; what has more votes against it than for it has none."""
        total = self.total
        if min(self.weights.values(), default=0.0) < 0:
            total = math.fsum(max(0.0, weight) for weight in self.weights.values())
        return max(0.0, self.weights.get(answer, 0.0)) / total if total > 0 else 0.0

    def is_settled(self, ballot: Ballot, weigh: Weigh = one, min_agreement: float = 0.0) -> bool:
        """Tell whether the leader stays the leader, and keeps its share, however the awaited targets vote.

        The worst that can happen is that all of them join one rival, also one that nobody has named yet. A target of
        which nothing but its coming is known has one vote where all have one, else any weight, and wins ties.
        """
        awaited = ballot.awaited
        if not awaited:
            return awaited == 0
        absent = ballot.absent
        strangers = awaited - len(absent)
        gains = [weigh(seat) for seat in absent] + [1.0 if weigh is one else math.inf] * strangers
        earliest = _ANYBODY if strangers else min(map(rank, absent))
        leader = self.leader
        mine, place = self.weights[leader], rank(self.groups[leader][0])
        if min_agreement and mine / math.fsum([*map(weigh, self.voters), *gains]) < min_agreement:
            return False
        rivals = [(group, min(earliest, rank(group[0]))) for key, group in self.groups.items() if key != leader]
        return all(
            (mine, ahead) > (math.fsum([*map(weigh, group), *gains]), False)
            for group, first in [*rivals, ([], earliest)]
            for ahead in [place < first]
        )

    def selection(self, answer: Hashable, reason: str) -> Selection:
        """Return the decision for this key, carried by its supporter of the highest rank."""
        winner = self.groups[answer][0]
        return Selection(winner, reason, self.agreement(answer), self.printable(), answer=printable(answer))

    def printable(self) -> dict[str, float]:
        """Return the weight of each answer by its printable key."""
        return {printable(answer): weight for answer, weight in self.weights.items()}


def printable(key: Hashable) -> str:
    """Return a key as a reader writes it: an exact fraction as a decimal where it has a short one."""
    if not isinstance(key, Fraction):
        return str(key)
    if key.denominator == 1:
        return str(key.numerator)
    for places in range(1, _DECIMALS + 1):
        scaled = key * 10**places
        if scaled.denominator == 1:
            digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
            return f"{'-' if key < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    return str(key)


def names(targets: list[str]) -> str:
    """Return target names for a sentence."""
    return " and ".join([", ".join(targets[:-1]), targets[-1]]) if len(targets) > 1 else "".join(targets)
