"""Selectors that vote: candidates whose keys are equal stand for the same answer.

An early decision is lossless: the answer is the one that every way in which the absent targets can still vote,
abstain or fail would give. Which of the candidates with that answer carries it may differ, as they are
interchangeable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from fanin.ballot import Ballot, Candidate, Seat, Selection
from fanin.calibration import Calibration, log_odds
from fanin.flaws import sound_first
from fanin.keys import KeySpec, as_key
from fanin.rule import Rule
from fanin.spec import Range
from fanin.tally import Tally, names

Share: TypeAlias = Annotated[float, Range(0, 1)]


def majority(
    *, key: KeySpec = "text", agree: Annotated[int, Range(1)] | None = None, min_agreement: Share = 0.0
) -> Rule:
    """The answer that most candidates give; a tie goes to the one whose first supporter has the highest priority.

    It decides early when no answer still out can change the result, and with `agree` also as soon as so many agree
    (then it is not final). It abstains when no candidate has a key, and below `min_agreement` (a share of those that
    voted). Self-consistency: Wang et al., arXiv 2203.11171. Do not use it where one target is clearly better than the
    others, which then outvote it (`guarded`), nor on free text, of which no two are the same (`cluster_vote`, `mbr`).
    """
    find_key, needed = as_key(key), math.inf if agree is None else agree

    def decide(ballot: Ballot) -> Selection | None:
        tally = Tally.of(ballot, find_key)
        if not tally.groups or (min_agreement and tally.agreement(tally.leader) < min_agreement):
            return None
        agreed = tally.weights[tally.leader] >= needed
        if not agreed and not tally.is_settled(ballot, min_agreement=min_agreement):
            return None
        return tally.selection(tally.leader, _why(tally, ballot, agreed=agreed), "majority")

    exempt = frozenset({"final"} if agree is not None else ())
    return Rule("majority", sound_first(decide), abstains=True, exempt=exempt, key=find_key)


def weighted(
    *,
    key: KeySpec = "text",
    weights: Mapping[str, Annotated[float, Range(0)]] | None = None,
    priors: Mapping[str, Share] | None = None,
    choices: Annotated[int, Range(2)] = 2,
    calibration: Mapping[str, Any] | None = None,
    min_agreement: Share = 0.0,
) -> Rule:
    """The answer with the greatest weight behind it: `weights` by target, else the weights that the targets have.

    Instead of weights it takes `priors` (how often each target is right): a target then weighs log(p(C-1)/(1-p)) among
    C = `choices` possible answers, none if it is worse than guessing; the optimal weight if errors are independent
    (Nitzan and Paroush 1982). Errors of models are not, so prefer fitted weights (`calibration`) or `guarded`. Early
    decisions need to know who is missing (`Ballot.seats`). It abstains when nothing that has weight has a key, and
    below `min_agreement` (a share of the weight that voted). Do not use it with weights by feel: a target that weighs
    more than all others together decides alone.
    """
    find_key, fitted = as_key(key), Calibration.read(calibration)
    known = priors or fitted.priors
    given = {
        **{target: max(0.0, log_odds(prior, choices)) for target, prior in known.items()},
        **(fitted.weights if not priors else {}),
        **(weights or {}),
    }

    def weigh(of: Candidate | Seat) -> float:
        weight = given.get(of.target, of.weight)
        return weight if 0 <= weight < math.inf else 0.0

    def decide(ballot: Ballot) -> Selection | None:
        tally = Tally.of(ballot, find_key, weigh)
        if not tally.total or (min_agreement and tally.agreement(tally.leader) < min_agreement):
            return None
        if not tally.is_settled(ballot, weigh, min_agreement):
            return None
        weight = f"{tally.weights[tally.leader]:g} of {tally.total:g}"
        return tally.selection(tally.leader, f"a weight of {weight} stands behind this answer", "weighted")

    return Rule("weighted", sound_first(decide), abstains=True, key=find_key)


def _why(tally: Tally, ballot: Ballot, *, agreed: bool) -> str:
    """Say how many agree, who did not vote, why the rest was not waited for; never what they said: this is logged."""
    leader = tally.leader
    votes, total = tally.weights[leader], tally.total
    if list(tally.weights.values()).count(votes) > 1:
        first = tally.groups[leader][0].target
        reason = f"{votes:g} of {total:g} agree, a tie that the priority of {first} breaks"
    elif total == 1:
        reason = "the only vote"
    else:
        reason = f"{votes:g} of {total:g} agree"
    if total < len(ballot.candidates) and (silent := _silent(tally, ballot)):
        reason += f"; {names(silent)} gave nothing to compare"
    if not agreed and ballot.awaited:
        reason += "; what is still out cannot change it"
    return reason


def _silent(tally: Tally, ballot: Ballot) -> list[str]:
    return sorted({c.target for c in ballot.candidates} - {c.target for c in tally.voters})
