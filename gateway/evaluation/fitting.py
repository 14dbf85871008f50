"""Fit what a calibrated selector needs from labelled rows: priors, weights, the guard's threshold, confidence tables.

The weights are those of a conditional logit (McFadden 1974): the chance that an answer is the right one grows with
exp(sum of the weights of those who give it), and the weights are the most likely ones given which answer was right.
Unlike log-odds of each target's own accuracy, they are fitted together, so targets that are wrong together share one
voice. That matters: two wrong models give the same wrong answer far more often than independent errors would
(arXiv 2506.07962).
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fanin import Candidate
from gateway.evaluation import ballots
from gateway.evaluation.recordings import Recording, Row

BINS = 10
PRIOR_ROWS = 10
"""A prior is shrunk towards one half as if so many more rows had been seen, half of them right."""

_FEWEST = 50
"""Fewer stated confidences than this are no table."""
_EPOCHS = 6
_STEP = 0.3
_RIDGE = 1e-3
"""How strongly a weight is held to 1, a plain vote."""

Voice: TypeAlias = tuple[str, int]
"""What has a weight of its own: a target, and the bin of its confidence (0 without a table or a confidence)."""


@dataclass(frozen=True, slots=True)
class Table:
    """A target's bins of confidence: `edges[i]` is where bin i + 2 begins; bin 0 is for no confidence."""

    edges: tuple[float, ...] = ()

    def bin(self, confidence: float | None) -> int:
        """Return the bin of a confidence; without edges all are one."""
        return 0 if confidence is None or not self.edges else 1 + bisect.bisect_right(self.edges, confidence)


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of one row as the fit sees it: who says what, and whether it is right."""

    voice: Voice
    key: Hashable
    right: bool


def shuffled(rows: Iterable[Row]) -> list[Row]:
    """Return the rows in an order that says nothing about them and is always the same: by the SHA-1 of their ids."""
    return sorted(rows, key=lambda row: hashlib.sha1(row.id.encode(), usedforsecurity=False).digest())


def priors(recording: Recording) -> dict[str, float]:
    """Return how often each target is right, a little shrunk towards one half."""
    found = {}
    for target in recording.targets:
        right = sum(bool(row.answers[target].correct) for row in recording.rows if target in row.answers)
        found[target] = (right + PRIOR_ROWS / 2) / (len(recording.rows) + PRIOR_ROWS)
    return found


def tables(recording: Recording, confidences: Sequence[str]) -> dict[str, Table]:
    """Return up to ten bins of each target's confidence with as many rows in each as ties allow."""
    found = {}
    for target in recording.targets:
        answers = [row.answers[target] for row in recording.rows if target in row.answers]
        stated = sorted(value for answer in answers if (value := answer.confidence(confidences)) is not None)
        cuts = {stated[place * len(stated) // BINS] for place in range(1, BINS)} if len(stated) >= _FEWEST else set()
        found[target] = Table(tuple(sorted(cut for cut in cuts if cut > stated[0])))
    return found


def heard(row: Row, found: Mapping[str, Table], targets: Sequence[str], confidences: Sequence[str]) -> list[Said]:
    """Return what the targets said on one row, without those who abstained."""
    said = []
    for outcome in ballots.outcomes(row, targets, confidences):
        key = ballots.recorded(outcome) if isinstance(outcome, Candidate) else None
        if isinstance(outcome, Candidate) and key is not None:
            voice = (outcome.target, found[outcome.target].bin(outcome.confidence))
            said.append(Said(voice, key, bool(row.answers[outcome.target].correct)))
    return said


def weights(
    questions: Sequence[Sequence[Said]], voices: Iterable[Voice], *, least: float = -math.inf
) -> dict[Voice, float]:
    """Return the weight of each voice, at least `least`, by AdaGrad over the questions in the order given.

    Questions on which all agree, or nobody is right, say nothing about weights.
    """
    fitted = dict.fromkeys(voices, 1.0)
    squares = dict.fromkeys(fitted, 1.0)
    telling = [said for said in questions if len({each.key for each in said}) > 1 and any(each.right for each in said)]
    for _ in range(_EPOCHS):
        for said in telling:
            for voice, likelihood in _slopes(said, fitted).items():
                slope = likelihood + _RIDGE * (fitted[voice] - 1.0)
                squares[voice] += slope * slope
                fitted[voice] = max(least, fitted[voice] - _STEP * slope / math.sqrt(squares[voice]))
    return fitted


def _slopes(said: Sequence[Said], fitted: Mapping[Voice, float]) -> dict[Voice, float]:
    """Return how the negative log likelihood of the right answer grows with each weight."""
    sums: dict[Hashable, float] = {}
    for each in said:
        sums[each.key] = sums.get(each.key, 0.0) + fitted[each.voice]
    top = max(sums.values())
    chances = {key: math.exp(value - top) for key, value in sums.items()}
    total = sum(chances.values())
    return {each.voice: chances[each.key] / total - each.right for each in said}
