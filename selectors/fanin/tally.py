"""Counting: who gives which answer, whether that can still change, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from fanin.ballot import Ballot, Candidate, Seat, Selection, rank
from fanin.keys import Key

Weigh: TypeAlias = Callable[[Candidate | Seat], float]

_ANYBODY = (-math.inf, "")
"""The rank of a target of which nothing is known: it may win every tie."""
_DECIMALS = 12
_SURELY = 1 - 1e-12
"""A sum that is larger by more than this is larger however it was rounded."""


def one(_: Candidate | Seat) -> float:
    """Weigh every vote the same."""
    return 1.0


class Tally(NamedTuple):
    """The votes on a ballot: for each key its supporters by rank, the keys by the rank of their first supporter.

    `leader` is the key with the most weight; of several, the one whose first supporter ranks first.
    """

    groups: dict[Hashable, list[Candidate]]
    weights: dict[Hashable, float]
    total: float
    leader: Hashable

    @classmethod
    def of(cls, ballot: Ballot, key: Key, weigh: Weigh = one) -> Tally:
        """Count a ballot; a candidate whose key is None has no vote. Sums do not depend on the order of arrival."""
        groups: dict[Hashable, list[Candidate]] = {}
        for candidate in sorted(ballot.candidates, key=rank):
            found = key(candidate)
            if found in groups:
                groups[found].append(candidate)
            elif found is not None:
                groups[found] = [candidate]
        weights: dict[Hashable, float] = {}
        votes: list[float] = []
        leader, most = None, -math.inf
        for answer, group in groups.items():
            if weigh is one:
                weight: float = len(group)
            else:
                shares = [*map(weigh, group)]
                votes += shares
                weight = math.fsum(shares)
            weights[answer] = weight
            if weight > most:
                leader, most = answer, weight
        return cls(groups, weights, sum(weights.values()) if weigh is one else math.fsum(votes), leader)

    @property
    def voters(self) -> list[Candidate]:
        """The candidates that have a vote."""
        return [candidate for group in self.groups.values() for candidate in group]

    def agreement(self, answer: Hashable) -> float:
        """Return the share of the votes that this key has; what has more votes against it than for it has none."""
        total, mine = self.total, self.weights.get(answer, 0.0)
        if mine <= 0 or total <= 0 or min(self.weights.values()) < 0:
            mine, total = max(0.0, mine), math.fsum(max(0.0, weight) for weight in self.weights.values())
        return mine / total if total > 0 else 0.0

    def is_settled(self, ballot: Ballot, weigh: Weigh = one, min_agreement: float = 0.0) -> bool:
        """Tell whether the leader stays the leader, and keeps its share, however the awaited targets vote.

        The worst that can happen is that all of them join one rival, also one that nobody has named yet. A target of
        which nothing but its coming is known has one vote where all have one, else any weight, and wins ties.
        """
        if ballot.closed:
            return True
        leader = self.leader
        mine = self.weights[leader]
        lead = mine - self.most_beside(leader) if weigh is one else math.inf
        if lead < ballot.least_awaited:
            return False  # most checks end here
        awaited, absent = ballot.outstanding
        if not awaited:
            return awaited is not None
        if weigh is one and not min_agreement and lead != awaited:
            return lead > awaited  # only a tie depends on who they are
        strangers = awaited - len(absent)
        gains = [*map(weigh, absent), *[1.0 if weigh is one else math.inf] * strangers]
        if mine < (self.most_beside(leader) + math.fsum(gains)) * _SURELY:
            return False  # which leaves those that are near enough for the exact sums below
        earliest = _ANYBODY if strangers else min(map(rank, absent))
        place = rank(self.groups[leader][0])
        if min_agreement and mine / math.fsum([*map(weigh, self.voters), *gains]) < min_agreement:
            return False
        rivals = [(group, min(earliest, rank(group[0]))) for key, group in self.groups.items() if key != leader]
        for group, first in [*rivals, ([], earliest)]:
            theirs = math.fsum([*map(weigh, group), *gains])
            if mine < theirs or (mine == theirs and place >= first):
                return False
        return True

    def most_beside(self, answer: Hashable) -> float:
        """Return the greatest weight of any other answer; 0 where there is none."""
        return max([weight for other, weight in self.weights.items() if other != answer], default=0.0)

    def selection(self, answer: Hashable, reason: str, by: str = "") -> Selection:
        """Return the decision for this key, carried by its supporter of the highest rank; `by` signs it."""
        winner = self.groups[answer][0]
        return Selection(winner, reason, self.agreement(answer), self.printable(), by, printable(answer))

    def printable(self) -> dict[str, float]:
        """Return the weight of each answer by its printable key."""
        return {printable(answer): weight for answer, weight in self.weights.items()}


def printable(key: Hashable) -> str:
    """Return a key as a reader writes it: an exact fraction as a decimal where it has a short one."""
    if type(key) is not Fraction:  # `isinstance` would ask the abstract class, in ten times as long
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
