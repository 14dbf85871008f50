"""The selector that trusts one target unless enough of the others agree against it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Annotated, Any

from fanin.ballot import Ballot, Candidate, Seat, Selection, rank
from fanin.calibration import Calibration
from fanin.flaws import sound_first
from fanin.keys import KeySpec, as_key
from fanin.rule import Rule
from fanin.spec import Range
from fanin.tally import Tally, printable
from fanin.votes import Share


def guarded(
    *,
    key: KeySpec = "text",
    override: Annotated[int, Range(1)] | None = None,
    priors: Mapping[str, Share] | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> Rule:
    """The best target's answer, unless enough of the others agree on another one.

    The best is, of those whose answer can be compared, the target with the highest of `priors` (how often each is
    right), without them the one of the highest priority. It is overridden by an answer that has at least `override`
    votes (without it more than half of all targets) and more votes than the best target's own answer. Its early
    decisions are certain, but not always the earliest possible. `calibration` gives fitted priors and the fitted m for
    what is not given here. Do not use it for answers that cannot be compared by a key: it is then `priority`.
    """
    find_key, fitted = as_key(key), Calibration.read(calibration)
    known = dict(priors or fitted.priors)
    threshold = override or fitted.m

    def by_prior(of: Candidate | Seat) -> tuple[float, int, str]:
        return (-known.get(of.target, 0.0), of.priority, of.target)

    standing: Callable[[Candidate | Seat], tuple[Any, ...]] = by_prior if known else rank

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.candidates:
            return None
        tally = Tally.of(ballot, find_key)
        best = min(ballot.candidates, key=standing)
        own = find_key(best)
        mine, against = tally.weights.get(own, 0.0), tally.most_beside(own)
        needed = threshold or _size(ballot) // 2 + 1
        if mine >= against and against + ballot.least_awaited >= max(needed, mine + 1):
            return None  # most checks end here
        awaited, absent = ballot.outstanding
        if awaited is None:
            return None
        displaced = awaited > len(absent) or (awaited > 0 and min(map(standing, absent)) < standing(best))
        if own is None and not displaced:
            needed = 1  # there is nothing to guard
        if against >= needed and against > mine:
            rival, lead = tally.leader, against - tally.most_beside(tally.leader)
            reason = f"{against:g} agree and override {best.target}"
            return tally.selection(rival, reason, "guarded") if not awaited or lead > awaited else None
        if awaited and (own is None or displaced or against + awaited >= max(needed, mine + 1)):
            return None
        return _kept(tally, best, own, f"{needed} votes for another answer would override it, {against:g} agree")

    return Rule("guarded", sound_first(decide), key=find_key)


def _kept(tally: Tally, best: Candidate, own: Hashable | None, guard: str) -> Selection:
    if own is None:
        return Selection(best, f"the answer of {best.target}, the best that answered; no answer could be compared")
    reason = f"the answer of {best.target}, the best that answered; {guard}"
    return Selection(best, reason, tally.agreement(own), tally.printable(), "guarded", printable(own))


def _size(ballot: Ballot) -> int:
    return ballot.size or len(ballot.seats) or len(ballot.candidates) + len(ballot.failures)
