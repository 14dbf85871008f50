"""Stop rules end a vote when the answer is likely enough, by any selector that votes."""

from __future__ import annotations

from math import comb
from typing import Any

import pytest

import fanin
from fanin import Ballot, Candidate, Seat, SpecError, build
from fanin.stop import chance_of_lead


def arrived(*texts: str, size: int = 15) -> Ballot:
    """Return an open ballot of fifteen seats into which these answers have come."""
    seats = tuple(Seat(f"t{index}", index) for index in range(size))
    return Ballot(size, tuple(Candidate(f"t{i}", t, priority=i) for i, t in enumerate(texts)), seats=seats)


@pytest.mark.parametrize(
    ("options", "going", "enough"),
    [
        ({"agree": 2}, "xyz", "xyx"),
        ({"lead": 2}, "xyx", "xyxx"),
        ({"beta": 0.95}, "xxx", "xxxx"),
        ({"beta": 0.95}, "xyxxxx", "xyxxxxx"),
        ({"window": 3}, "xyxxx", "xyxxxx"),
        ({"window": 2, "agree": 4}, "xyyx", "xyxx"),
    ],
    ids=str,
)
def test_a_vote_stops_when_it_is_likely_enough(options: dict[str, Any], going: str, enough: str) -> None:
    """One answer fewer is not enough; the selector alone would still wait; a closed ballot is decided as ever."""
    rule = build({"stop": {**options, "of": "majority"}})
    assert rule(arrived(*going)) is None
    stopped = rule(arrived(*enough))
    assert stopped is not None
    assert (stopped.answer, stopped.selector) == ("x", "majority")
    assert stopped.reason.endswith("; enough to stop waiting")
    assert build("majority")(arrived(*enough)) is None
    assert rule(arrived(*going).close()) == fanin.majority()(arrived(*going).close())


def test_a_certain_answer_is_not_waited_for() -> None:
    """The lossless early decision of the selector itself comes first."""
    selection = build({"stop": {"lead": 9, "of": "majority"}})(arrived(*"xxxxxxxx"))
    assert selection is not None
    assert "cannot change it" in selection.reason


def test_the_chance_of_the_leader_is_that_of_the_beta_distribution() -> None:
    """Beta(v1+1, v2+1) above one half: 15/16 for three to none, one half for a tie, symmetric."""
    assert chance_of_lead(3, 0) == 15 / 16
    assert chance_of_lead(2, 2) == 0.5
    assert chance_of_lead(0, 0) == 0.5
    for one in range(6):
        for other in range(6):
            assert chance_of_lead(one, other) + chance_of_lead(other, one) == pytest.approx(1)
            steps = 20_000
            grid = [(k + 0.5) / steps for k in range(steps // 2, steps)]
            area = sum(t**one * (1 - t) ** other for t in grid) / steps * (one + other + 1) * comb(one + other, one)
            assert chance_of_lead(one, other) == pytest.approx(area, abs=1e-4)


def test_a_selector_without_votes_is_not_stopped() -> None:
    """Nothing to count, nothing to stop; and a stop rule without a condition is refused."""
    assert build({"stop": {"lead": 0, "of": "collect"}})(arrived("x", "y")) is None
    with pytest.raises(SpecError, match="it needs one of agree, lead, beta or window"):
        build({"stop": {"of": "majority"}})
    assert fanin.stop(fanin.majority(), lead=2).exempt == {"final"}
