"""Rules that need somebody asked before they can decide: the rule stays pure, the caller asks and notes the opinion."""

from __future__ import annotations

from typing import Any

from fanin.ballot import Ballot, Question, Selection
from fanin.flaws import sound_first
from fanin.rule import Rule


def scored(name: str, scorer: Any) -> Rule:
    """Decide as a scorer advises, whom the caller asks when the ballot has closed; abstain where it does not.

    On a closed ballot without the scorer's opinion the selection carries a question (`Selection.asks`). Whoever cannot
    ask it has the highest-priority answer, with a reason that says so. The scorer is any hashable object; how it is
    called is between the caller and whoever made the rule.
    """

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.closed or not ballot.candidates:
            return None
        opinion = ballot.opinions.get(scorer)
        if opinion is None:
            ranked = ballot.ranked()
            return Selection(ranked[0], f"highest priority: {name} was not asked", asks=Question(scorer, ranked))
        return Selection(opinion.winner, opinion.reason) if opinion.winner is not None else None

    return Rule(name, sound_first(decide), abstains=True, scorers=(scorer,))
