"""Selectors that compare how sure the targets are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from fanin.ballot import Ballot, Candidate, Seat, Selection, rank
from fanin.calibration import MOST, Calibration, log_odds
from fanin.flaws import sound_first
from fanin.keys import KeySpec, as_key
from fanin.order import may_be_outranked
from fanin.rule import Rule
from fanin.spec import Range
from fanin.tally import Tally, names

_LOGPROBS = frozenset({"logprobs"})
_RAW = (
    "max_confidence compares raw confidences of different targets, which are on different scales: give it a "
    "`calibration` (hedgerow calibrate), or say `raw: true`"
)


def max_confidence(
    *, default: Annotated[float, Range(0, 1)] = 0.5, calibration: Mapping[str, Any] | None = None, raw: bool = False
) -> Rule:
    """The answer of the highest confidence; a target that gave none counts with `default`, and the reason names it.

    Confidence of different models is not on one scale: with `calibration` (see `Calibration`) it is first turned into
    how often the target is right when it is so sure. Without it do not use this rule across providers: on mixed pools
    of MMLU-Pro it is far worse than the best target alone; the reason then says that raw values were compared, and who
    configures it is warned, unless `raw` says that this is meant. What a target states is used as it is; a gateway
    takes exp(mean token log probability). It decides early only for a confidence of 1 that no awaited target outranks.
    """
    fitted = Calibration.read(calibration)

    def confidence(candidate: Candidate) -> float:
        given = stated(candidate)
        return default if given is None else _calibrated(fitted, candidate.target, given)[0]

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.candidates:
            return None
        winner = min(ballot.candidates, key=lambda c: (-confidence(c), rank(c)))
        if ballot.awaited != 0 and (confidence(winner) < 1 or may_be_outranked(ballot, winner)):
            return None
        silent = sorted(c.target for c in ballot.candidates if stated(c) is None)
        raw = {c.target for c in ballot.candidates if c.target not in fitted.bins} - set(silent)
        reason = f"confidence {confidence(winner):.3g}"
        if len(raw) > 1:
            reason += f", raw values of {len(raw)} targets compared"
        if silent:
            reason += f"; {names(silent)} gave none, counted as {default:g}"
        return Selection(winner, reason, score=confidence(winner))

    warning = "" if raw or fitted.bins else _RAW
    return Rule("max_confidence", sound_first(decide), needs=_LOGPROBS, warning=warning)


def confidence_vote(
    *,
    key: KeySpec = "text",
    default: Annotated[float, Range(0, 1)] = 0.5,
    calibration: Mapping[str, Any] | None = None,
) -> Rule:
    """The answer with the most confidence behind it; a target that gave none counts with `default`.

    With `calibration` each vote weighs log(p/(1-p)), where p is how often the target is right when it is so sure; a
    target that is then more often wrong than right votes against its answer. Targets without a table use their prior.
    Without a calibration each vote weighs its raw confidence. Confidence-improved self-consistency: Taubenfeld et al.,
    arXiv 2502.06233. Do not use it where confidences are verbalised by weak models and not calibrated: they are all
    near 1, and the rule is then `majority` with noise.
    """
    find_key, fitted = as_key(key), Calibration.read(calibration)
    calibrated = bool(fitted.bins or fitted.priors)
    most = log_odds(MOST) if calibrated else 1.0

    def weigh(of: Candidate | Seat) -> float:
        given = stated(of) if isinstance(of, Candidate) else None
        value, known = _calibrated(fitted, of.target, default if given is None else given)
        if given is None or not known:
            value = fitted.priors.get(of.target, value)
        return log_odds(value) if calibrated else value

    def decide(ballot: Ballot) -> Selection | None:
        tally = Tally.of(ballot, find_key, weigh)
        if not tally.groups:
            return None
        leader = tally.leader
        lead = tally.weights[leader] - max(0.0, tally.most_beside(leader))
        if lead <= ballot.least_awaited * most > 0:
            return None  # most checks end here
        awaited = ballot.awaited
        if awaited is None or (awaited and lead <= awaited * most):
            return None
        kind = "log-odds" if calibrated else "confidence"
        reason = f"a sum of {kind} of {tally.weights[leader]:.3g} stands behind this answer"
        return tally.selection(leader, reason)

    return Rule("confidence_vote", sound_first(decide), needs=_LOGPROBS, abstains=True, key=find_key)


def _calibrated(fitted: Calibration, target: str, confidence: float) -> tuple[float, bool]:
    """Return how often the target is right when so sure, and whether that is known; else the confidence itself."""
    chance = fitted.chance(target, confidence)
    return (confidence, False) if chance is None else (chance, True)


def stated(candidate: Candidate) -> float | None:
    """Return the confidence that a candidate states, between 0 and 1; None for none, and for what is no number."""
    if candidate.confidence is None or math.isnan(candidate.confidence):
        return None
    return min(1.0, max(0.0, candidate.confidence))
