"""When to stop waiting: rules that may be put around any selector that votes, and end a vote before it is certain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, TypeAlias

from fanin.ballot import Ballot, Selection
from fanin.rule import Rule
from fanin.spec import Range

Enough: TypeAlias = Callable[[Ballot, float, float], bool]
"""Whether these votes for the leading answer, and for the second, end the wait."""


def stop(
    of: Rule,
    *,
    agree: Annotated[int, Range(1)] | None = None,
    lead: Annotated[float, Range(0)] | None = None,
    beta: Annotated[float, Range(0, 1)] | None = None,
    window: Annotated[int, Range(1)] | None = None,
) -> Rule:
    """Decide by `of` as soon as it is certain, or likely enough; with several conditions the first that holds.

    `agree`: so many votes for one answer. `lead`: so many more than for the second. `beta`: the chance that the leading
    answer beats the second in the long run, Beta(v1+1, v2+1) above one half, reaches this; Aggarwal et al. (adaptive
    consistency, arXiv 2305.11860) take 0.95. `window`: so many answers in a row, in windows one after another, say the
    same; Li et al. (early-stopping self-consistency, arXiv 2401.10480). It saves calls and time and is not final: do
    not use it where the answer must be that of the whole ballot; `of` alone already stops early, without loss. With no
    votes (`Selection.tally`) nothing is stopped.
    """
    conditions: list[Enough] = []
    if agree is not None:
        conditions.append(lambda _, mine, __: mine >= agree)
    if lead is not None:
        conditions.append(lambda _, mine, theirs: mine - theirs >= lead)
    if beta is not None:
        conditions.append(lambda _, mine, theirs: chance_of_lead(mine, theirs) >= beta)
    if window is not None:
        conditions.append(lambda ballot, *_: _unanimous(ballot, of, window))
    if not conditions:
        raise ValueError("it needs one of agree, lead, beta or window")

    def decide(ballot: Ballot) -> Selection | None:
        certain = of(ballot)
        if certain is not None or ballot.closed or not ballot.candidates:
            return certain
        found = of(ballot.close())
        if found is None or not found.tally:
            return None
        mine, theirs = _two(found)
        if not any(enough(ballot, mine, theirs) for enough in conditions):
            return None
        return found._replace(reason=f"{found.reason}; enough to stop waiting")

    return replace(of, name=f"stop({of.name})", decide=decide, live=False, gathers=False, exempt=of.exempt | {"final"})


def chance_of_lead(first: float, second: float) -> float:
    """Return P(theta > 1/2) for theta ~ Beta(first + 1, second + 1), of whole votes: a sum of binomials."""
    wins, losses = math.floor(max(0.0, first)), math.ceil(max(0.0, second))
    trials = wins + losses + 1
    return float(sum(math.comb(trials, k) for k in range(wins + 1)) / 2**trials)


def _two(found: Selection) -> tuple[float, float]:
    """Return the votes of the answer that was found, and of the best other one."""
    others = dict(found.tally)
    mine = others.pop(found.answer or "", 0.0)
    return mine, max(others.values(), default=0.0)


def _unanimous(ballot: Ballot, of: Rule, size: int) -> bool:
    """Tell whether one window of so many answers, in order of arrival, is of one opinion."""
    for start in range(0, len(ballot.candidates) - size + 1, size):
        window = Ballot(size, ballot.candidates[start : start + size], closed=True)
        found = of(window)
        if found is not None and _two(found)[0] >= size and _two(found)[1] == 0:
            return True
    return False
