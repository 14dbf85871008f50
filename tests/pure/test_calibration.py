"""Fitted numbers are read from plain data, and selectors weigh by them as the formulas say."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fanin import Ballot, Calibration, Candidate, SpecError, build
from fanin.calibration import log_odds


def ballot(*said: tuple[str, float | None]) -> Ballot:
    """Return a closed ballot of alpha, beta, ... with what each says and how sure it is."""
    names = ["alpha", "beta", "gamma", "delta"]
    return Ballot(
        len(said),
        tuple(
            Candidate(names[index], text, confidence=confidence, priority=index)
            for index, (text, confidence) in enumerate(said)
        ),
        closed=True,
    )


def winner(spec: Any, on: Ballot) -> str:
    """Return the target that wins."""
    selection = build(spec)(on)
    assert selection is not None
    return selection.winner.target


@pytest.mark.parametrize(
    ("chance", "choices", "weight"),
    [(0.5, 2, 0.0), (0.8, 2, math.log(4)), (0.8, 5, math.log(16)), (1.0, 2, math.log(49)), (0.0, 2, -math.log(49))],
)
def test_a_prior_weighs_its_log_odds(chance: float, choices: int, weight: float) -> None:
    """log(p(C-1)/(1-p)) with p held between 0.02 and 0.98."""
    assert log_odds(chance, choices) == pytest.approx(weight)


def test_a_good_target_outweighs_two_poor_ones_under_priors() -> None:
    """Of log-odds 2.94 against twice 0.41 the first wins; equal priors are a majority vote."""
    said = ballot(("x", None), ("y", None), ("y", None))
    assert winner({"weighted": {"priors": {"alpha": 0.95, "beta": 0.6, "gamma": 0.6}}}, said) == "alpha"
    assert winner({"weighted": {"priors": {"alpha": 0.6, "beta": 0.6, "gamma": 0.6}}}, said) == "beta"
    assert winner({"weighted": {"calibration": {"weights": {"alpha": 3, "beta": 1, "gamma": 1}}}}, said) == "alpha"


def test_what_is_given_in_the_rule_goes_before_the_fitted_file() -> None:
    """Priors and the threshold of the rule win over those of the calibration."""
    said = ballot(("x", None), ("y", None), ("y", None))
    fitted = {"m": 3, "priors": {"alpha": 0.9}}
    assert winner({"guarded": {"calibration": fitted}}, said) == "alpha"
    assert winner({"guarded": {"calibration": fitted, "override": 2}}, said) == "beta"
    assert winner({"guarded": {"calibration": {"m": 3, "priors": {"gamma": 0.9}}}}, said) == "gamma"


def test_a_calibrated_confidence_is_what_it_has_been_worth() -> None:
    """Alpha is always sure and right half of the time; beta's 0.6 has been right nine times in ten."""
    said = ballot(("x", 0.99), ("y", 0.6))
    bins = {"alpha": [0.5] * 10, "beta": {"edges": [0.55], "right": [0.3, 0.9]}}
    assert winner("max_confidence", said) == "alpha"
    assert winner({"max_confidence": {"calibration": {"bins": bins}}}, said) == "beta"
    selection = build({"max_confidence": {"calibration": {"bins": bins}}})(said)
    assert selection is not None
    assert (selection.reason, selection.score) == ("confidence 0.9", 0.9)


def test_a_percentile_compares_each_target_with_itself() -> None:
    """A modest confidence that is high for this target beats a high one that is low for that target."""
    bins = {"alpha": {"percentile": [0.9, 0.95, 0.99]}, "beta": {"percentile": [0.2, 0.3, 0.4]}}
    fitted = Calibration.read({"bins": bins})
    assert [fitted.chance("alpha", c) for c in (0.5, 0.92, 1.0)] == [0, pytest.approx(1 / 3), 1]
    assert winner({"max_confidence": {"calibration": {"bins": bins}}}, ballot(("x", 0.92), ("y", 0.5))) == "beta"


def test_confidence_is_summed_by_answer() -> None:
    """0.9 against 0.5 for the missing one and 0.45: together they are more; sums of log-odds once calibrated."""
    said = ballot(("x", 0.9), ("y", None), ("y", 0.45))
    selection = build("confidence_vote")(said)
    assert selection is not None
    assert (selection.winner.target, selection.tally) == ("beta", {"x": 0.9, "y": pytest.approx(0.95)})
    fitted = {"bins": {name: [0.1, 0.3, 0.5, 0.7, 0.95] for name in ("alpha", "beta", "gamma")}}
    selection = build({"confidence_vote": {"calibration": fitted}})(said)
    assert selection is not None
    assert selection.winner.target == "alpha"
    assert selection.tally == {"x": pytest.approx(math.log(19)), "y": pytest.approx(0.0)}
    assert selection.agreement == 1.0


def test_a_target_without_confidence_is_known_by_its_prior() -> None:
    """Where a calibration has a prior but the answer no confidence, the prior is the chance."""
    said = ballot(("x", None), ("y", None))
    assert winner({"confidence_vote": {"calibration": {"priors": {"alpha": 0.4, "beta": 0.8}}}}, said) == "beta"


@pytest.mark.parametrize(
    ("calibration", "fault"),
    [
        ({"m": 0}, "calibration.m is 0, not an integer >= 1"),
        ({"m": True}, "calibration.m is True"),
        ({"priors": {"a": 1.5}}, "calibration.priors.a is 1.5, not a number from 0 to 1"),
        ({"priors": [1]}, "calibration.priors is no mapping of targets"),
        ({"weights": {"a": -1}}, "calibration.weights.a is -1"),
        ({"bins": {"a": []}}, "calibration.bins.a holds no numbers"),
        ({"bins": {"a": [0.5, 2]}}, "calibration.bins.a needs one share from 0 to 1"),
        ({"bins": {"a": {"edges": [0.5], "right": [1]}}}, "calibration.bins.a needs one share"),
        ({"bins": {"a": {"edges": [0.5, 0.1], "right": [0, 1, 1]}}}, "has edges that do not ascend"),
        ({"bins": {"a": "high"}}, "calibration.bins.a holds no numbers"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["guarded", "weighted", "max_confidence", "confidence_vote"])
def test_a_calibration_that_is_none_is_refused(name: str, calibration: dict[str, Any], fault: str) -> None:
    """The fault names the entry and the value."""
    with pytest.raises(SpecError) as caught:
        build({name: {"calibration": calibration}})
    assert fault in str(caught.value)
    assert caught.value.faults[0].path == name
