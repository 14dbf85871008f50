"""Selectors that look only at who answered, never at what was said."""

from __future__ import annotations

from fanin.ballot import Ballot, Candidate, Selection, rank
from fanin.rule import Rule


def may_be_outranked(ballot: Ballot, candidate: Candidate) -> bool:
    """Tell whether an answer that is still awaited could rank before this candidate."""
    awaited, absent = ballot.outstanding
    if awaited == 0:
        return False
    place = rank(candidate)
    return awaited is None or awaited > len(absent) or any(rank(seat) < place for seat in absent)


def first() -> Rule:
    """The first success by order of arrival: the only rule that streams one answer live.

    For the shortest wait (with a `launch` that hedges: Dean and Barroso, "The Tail at Scale", 2013). Do not use it
    where answers differ in quality: the fastest target wins, right or wrong.
    """

    def decide(ballot: Ballot) -> Selection | None:
        return Selection(ballot.candidates[0], "first to answer") if ballot.candidates else None

    return Rule("first", decide, live=True, exempt=frozenset({"fair"}))


def priority() -> Rule:
    """The success of the highest priority; decides early once nobody who outranks it is still out.

    The rule of a fallback, and the last one of a chain. Do not use it with `launch: all`, which pays for answers that
    it looks at only if the first target fails.
    """

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.candidates:
            return None
        winner = min(ballot.candidates, key=rank)
        if may_be_outranked(ballot, winner):
            return None
        return Selection(winner, _why(ballot, winner))

    return Rule("priority", decide)


def _why(ballot: Ballot, winner: Candidate) -> str:
    priorities = {seat.target: rank(seat) for seat in ballot.seats}
    failed = sorted(f.target for f in ballot.failures if priorities.get(f.target, rank(winner)) < rank(winner))
    if failed:
        return f"highest priority after {' and '.join(failed)} failed"
    return "highest priority of those that answered"
