"""What reliability learned from the votes alone is worth: each question is decided before it is learned from."""

from __future__ import annotations

import random
from collections.abc import Iterator

from fanin import Reliability, Rule
from gateway.evaluation import ballots
from gateway.evaluation.recordings import Recording

EVERY = 20
"""Votes after which the rules are renewed; a gateway does it twice a second."""
SELECTORS = ("weighted", "guarded")


def learned(recording: Recording, *, seed: int = 1) -> Iterator[str]:
    """Give the accuracy of each selector in percent, with what it has learned so far, then the error of what it has.

    The questions come in a random order, as the recordings are sorted by subject.
    """
    rows = list(recording.rows)
    random.Random(seed).shuffle(rows)
    known = Reliability.of(recording.targets)
    rules: dict[str, Rule] = {}
    right = dict.fromkeys(SELECTORS, 0)
    for number, row in enumerate(rows):
        if number % EVERY == 0:
            rules = {name: ballots.rule_of({name: {"calibration": known.calibration()}}) for name in SELECTORS}
        ballot = ballots.closed(ballots.outcomes(row, recording.targets), recording.targets)
        for name, rule in rules.items():
            selection = rule(ballot)
            right[name] += selection is not None and bool(selection.winner.payload.correct)
        known = known.learned({c.target: ballots.recorded(c) for c in ballot.candidates})
    yield from (f"{100 * right[name] / len(rows):.2f}" for name in SELECTORS)
    errors = [
        known.targets[target].reliability - sum(bool(row.answers[target].correct) for row in rows) / len(rows)
        for target in recording.targets
    ]
    yield f"{100 * min(errors):+.0f} to {100 * max(errors):+.0f}"
