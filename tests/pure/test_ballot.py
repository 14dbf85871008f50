"""Ballots add up in any grouping, and say what is still to come."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import fanin
from fanin import Ballot, Candidate, Failure, Seat
from fanin.testing import Vote, votes

BALLOTS = st.builds(
    lambda vote, cut, closed: (list(vote.openings())[min(cut, len(vote.outcomes))], closed),
    votes(),
    st.integers(0, 6),
    st.booleans(),
).map(lambda drawn: drawn[0].close() if drawn[1] else drawn[0])


@given(BALLOTS, BALLOTS, BALLOTS)
def test_joining_ballots_does_not_depend_on_the_grouping(a: Ballot, b: Ballot, c: Ballot) -> None:
    """`|` is associative."""
    assert (a | b) | c == a | (b | c)


@given(BALLOTS)
def test_the_empty_ballot_changes_nothing_and_a_ballot_joined_to_itself_stays_the_same(a: Ballot) -> None:
    """`Ballot()` is the identity on both sides, and `|` is idempotent."""
    assert Ballot() | a == a | Ballot() == a | a == a


@given(votes())
def test_ballots_of_one_answer_add_up_to_the_whole_ballot(vote: Vote) -> None:
    """What parallel graph nodes return one by one is the ballot that one collector would have filled."""
    parts = [vote.opening(), *(Ballot().add(outcome) for outcome in vote.outcomes)]
    assert reduce(operator.or_, parts) == [*vote.openings()][-1]


@given(votes())
def test_what_is_awaited_goes_down_by_one_with_every_outcome(vote: Vote) -> None:
    """Pending and awaited agree where the size is known, and a closed ballot awaits nothing."""
    for heard, ballot in enumerate(vote.openings()):
        left = len(vote.outcomes) - heard
        assert ballot.awaited == (None if vote.known == "nothing" or not vote.seats else left)
        assert ballot.pending == (0 if vote.known == "nothing" else left)
        assert len(ballot.absent) == (left if vote.known == "seats" else 0)
        assert ballot.close().awaited == ballot.close().pending == ballot.close().least_awaited == 0
        assert ballot.close().absent == ()


_NAMES = st.lists(st.sampled_from("abcd"), max_size=4)


@given(st.integers(0, 5), _NAMES, _NAMES, _NAMES.map(set))
def test_the_quick_bound_never_promises_more_answers_than_are_awaited(
    size: int, answered: list[str], failed: list[str], seated: set[str]
) -> None:
    """Also where a target is not among the seats, or answers twice: an early decision may rely on it."""
    candidates, failures = map(Candidate, answered), (Failure(name, "timeout") for name in failed)
    ballot = Ballot(size, tuple(candidates), tuple(failures), seats=tuple(map(Seat, sorted(seated))))
    assert ballot.least_awaited <= (ballot.awaited or 0)


def test_a_ballot_is_not_joined_with_anything_else() -> None:
    """The operator leaves other types to the language."""
    other: Any = ["answer"]
    assert Ballot().__or__(other) is NotImplemented


def test_ranked_orders_by_priority_then_by_name() -> None:
    """The order in which ties are decided does not know the order of arrival."""
    late = Candidate("alpha", priority=1)
    ballot = Ballot(3).add(Candidate("beta", priority=1)).add(late).add(Candidate("zeta", priority=0))
    assert [c.target for c in ballot.ranked()] == ["zeta", "alpha", "beta"]


def test_a_graph_reducer_can_select_from_added_ballots() -> None:
    """Seats, answers and failures from different nodes meet, and majority decides before the last one is in."""
    opening = Ballot(3, seats=tuple(Seat(name, index) for index, name in enumerate(["alpha", "beta", "gamma"])))
    nodes = [Ballot().add(Candidate("beta", "42", priority=1)), Ballot().add(Candidate("gamma", "42", priority=2))]
    ballot = reduce(operator.or_, nodes, opening)
    selection = fanin.majority()(ballot)
    assert selection is not None
    assert selection.winner.target == "beta"
    assert fanin.majority()(opening | nodes[1].add(Failure("alpha", "timeout"))) is None


def test_signing_a_selection_changes_its_selector_and_nothing_else() -> None:
    """A rule writes its name on what it decided."""
    said = fanin.Selection(fanin.Candidate("a"), "why", 0.5, {"x": 1.0}, answer="x", score=3.0)
    signed = fanin.Rule("me", lambda _: said)(fanin.Ballot())
    assert signed == said._replace(selector="me")
