"""Selectors that compare how sure the targets are."""

from __future__ import annotations

import math
from typing import Annotated

from fanin.ballot import Ballot, Candidate, Selection
from fanin.order import may_be_outranked, rank
from fanin.rule import Rule
from fanin.spec import Range
from fanin.tally import names


def max_confidence(*, default: Annotated[float, Range(0, 1)] = 0.5) -> Rule:
    """The answer of the highest confidence; a target that gave none counts with `default`, and the reason names it.

    Confidence of different models is not on one scale: across providers, calibrate it first. It decides early only
    for a confidence of 1 that no awaited target outranks.
    """

    def confidence(candidate: Candidate) -> float:
        given = stated(candidate)
        return default if given is None else given

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.candidates:
            return None
        winner = min(ballot.candidates, key=lambda c: (-confidence(c), rank(c)))
        if ballot.awaited != 0 and (confidence(winner) < 1 or may_be_outranked(ballot, winner)):
            return None
        silent = sorted(c.target for c in ballot.candidates if stated(c) is None)
        reason = f"confidence {confidence(winner):.3g}"
        if silent:
            reason += f"; {names(silent)} gave none, counted as {default:g}"
        return Selection(winner, reason)

    return Rule("max_confidence", decide, needs=frozenset({"logprobs"}))


def stated(candidate: Candidate) -> float | None:
    """Return the confidence that a candidate states, between 0 and 1; None for none, and for what is no number."""
    if candidate.confidence is None or math.isnan(candidate.confidence):
        return None
    return min(1.0, max(0.0, candidate.confidence))
