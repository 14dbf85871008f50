"""Votes on tool calls and JSON documents, as a whole and field by field, and what brings all answers together."""

from __future__ import annotations

import json
import operator
from typing import Any

import pytest

import fanin
from fanin import Ballot, Candidate, Seat, Selection, ToolCall, build
from fanin.keys.calls import NO_CALL

NAMES = ["alpha", "beta", "gamma", "delta", "epsilon"]


def calling(*given: list[tuple[str, dict[str, Any]]], size: int = 0) -> Ballot:
    """Return a ballot of targets that make these calls; closed unless more are expected."""
    candidates = tuple(
        Candidate(
            NAMES[index],
            "" if calls else "I need no tool.",
            tuple(ToolCall(name, json.dumps(arguments)) for name, arguments in calls),
            priority=index,
        )
        for index, calls in enumerate(given)
    )
    seats = tuple(Seat(name, index) for index, name in enumerate(NAMES[: max(size, len(given))]))
    return Ballot(len(seats), candidates, closed=not size, seats=seats)


def saying(*texts: str, **fields: list[Any]) -> Ballot:
    """Return a closed ballot of texts."""
    candidates = tuple(
        Candidate(NAMES[index], text, priority=index, **{name: values[index] for name, values in fields.items()})
        for index, text in enumerate(texts)
    )
    return Ballot(len(texts), candidates, closed=True)


def decided(spec: Any, on: Ballot) -> Selection:
    """Return the selection, which must be one."""
    selection = build(spec)(on)
    assert selection is not None
    return selection


def weather(**arguments: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return one call of the weather function."""
    return [("weather", arguments)]


@pytest.mark.parametrize(
    ("ballot", "winner"),
    [
        (calling(weather(city="Rome"), weather(city="Paris"), weather(city="paris ")), "beta"),
        (calling(weather(city="Rome"), [], []), "beta"),
        (calling([], weather(city="Rome"), [("time", {})]), "alpha"),
        (calling([("time", {})], weather(city="Rome"), weather(city="Rome", unit="C")), "beta"),
        (
            calling(weather(city="Rome", unit="F"), weather(city="Paris", unit="C"), weather(city="Rome", unit="C")),
            "gamma",
        ),
        (calling(weather(city="Rome", day=1), weather(city="Rome"), weather(city="Oslo")), "beta"),
        (calling(weather(city="Rome")), "alpha"),
    ],
    ids=["exact", "no call", "no call first", "functions", "arguments", "absent is a value", "alone"],
)
def test_calls_are_voted_on_exactly_and_then_part_by_part(ballot: Ballot, winner: str) -> None:
    """Two equal calls win; torn votes go by function, then by argument; the winner is always a real answer."""
    assert decided("tool_calls", ballot).winner.target == winner


def test_tool_calls_waits_only_while_the_exact_vote_can_be_caught_up_with() -> None:
    """Two alike of three are enough, of five they are not; one alone never is."""
    two = [weather(city="Rome"), weather(city="Rome")]
    assert build("tool_calls")(calling(*two, size=3))
    assert build("tool_calls")(calling(*two, size=5)) is None
    assert build("tool_calls")(calling(weather(city="Rome"), size=2)) is None
    assert decided("tool_calls", calling([], [], size=3)).answer == NO_CALL


def test_json_documents_are_voted_on_field_by_field() -> None:
    """No two agree on all, the third has the most frequent value in each field; what is no JSON has no vote."""
    ballot = saying(
        '{"name": "Ada", "born": 1815, "field": "poetry"}',
        '{"name": "Ada", "born": 1816, "field": "maths"}',
        '```json\n{"field": "maths", "name": "Ada", "born": 1815.0}\n```',
        "I do not know.",
    )
    selection = decided("json_fields", ballot)
    assert selection.winner.target == "gamma"
    assert selection.reason == "most votes field by field among 3"
    assert decided("json_fields", saying("{}", '{"a": 1}', '{"a": 1.0}')).winner.target == "beta"
    assert build("json_fields")(saying("no", "json")) is None
    assert decided({"json_fields": {"check": {"regex": "born"}}}, ballot).winner.target == "gamma"


TORN = (
    '{"name": "Ada", "born": 1815, "tags": ["a"], "note": {"of": 1, "by": "x"}}',
    '{"name": "Ada", "born": 1816, "field": "maths", "tags": ["b", "a"], "note": {"of": 2.0, "by": "y"}}',
    'So: {"name": "Eda", "born": 1815, "field": "maths", "tags": ["b", "a"], "note": {"of": 2, "by": "x"}, "odd": 1}',
)


def test_a_document_is_put_together_from_fields_only_where_that_is_asked_for() -> None:
    """Each key by the votes of those that have it, absent being a vote; lists whole. The winner stays a real answer."""
    spec = {"json_fields": {"synthesis": True}}
    made = decided(spec, saying(*TORN))
    assert made.text == '{"born":1815,"field":"maths","name":"Ada","note":{"by":"x","of":2},"tags":["b","a"]}'
    assert made.together == (made.winner,)
    assert made.reason == "most votes field by field among 3, put together to one that nobody gave"
    assert decided("json_fields", saying(*TORN)).text is None


def test_nothing_is_put_together_where_a_document_wins_or_the_result_does_not_pass() -> None:
    """Agreement goes before invention, and what the check refuses is not said."""
    spec = {"json_fields": {"synthesis": True}}
    assert decided(spec, saying(*TORN, TORN[0])).text is None
    assert decided(spec, saying(TORN[0])).text is None
    assert decided(spec, saying('{"a": 1, "b": 2}', '{"a": 1, "b": 2, "c": 3}', '{"a": 1, "b": 3}')).text is None
    strict = {"check": {"regex": '"field": "maths"|1815, "tags"'}, "synthesis": True}
    assert decided({"json_fields": strict}, saying(*TORN)).text is None
    deep = "[" * 400 + "]" * 400
    assert decided(spec, saying(deep, "[1]", "[2]"))


def test_a_document_that_is_nested_too_deeply_is_no_trouble() -> None:
    """Depth makes no selector raise."""
    deep = "[" * 400 + "]" * 400
    assert decided("json_fields", saying(deep, "[1]", "[2]"))
    assert build("json_fields")(saying("[" * 50_000)) is None


SCORES = ['{"score": 2}', '{"score": 9}', '{"score": 8.0}']


@pytest.mark.parametrize(
    ("how", "score", "winner"), [("mean", 19 / 3, "gamma"), ("min", 2, "alpha"), ("median", 8, "gamma")]
)
def test_scores_become_one_number(how: str, score: float, winner: str) -> None:
    """The number is the selection's score, the winner is the answer nearest to it, all scored answers are told."""
    selection = decided({"score_aggregate": {"how": how}}, saying(*SCORES, "no score"))
    assert selection.score == pytest.approx(score)
    assert (selection.winner.target, len(selection.together)) == (winner, 3)


def test_a_mean_is_weighted_and_a_tie_goes_to_the_priority() -> None:
    """Weights come from the rule, else from the targets; 2 and 8 are equally near to 5."""
    weights = {"alpha": 6, "beta": 0, "gamma": 1}
    assert decided({"score_aggregate": {"weights": weights}}, saying(*SCORES)).score == pytest.approx(20 / 7)
    assert decided("score_aggregate", saying(*SCORES, weight=[6.0, 0.0, 1.0])).score == pytest.approx(20 / 7)
    assert decided("score_aggregate", saying(SCORES[0], SCORES[2])).winner.target == "alpha"
    assert build("score_aggregate")(saying('{"score": true}', '{"score": "9"}', "x")) is None


def test_borda_counts_ranks_and_not_sizes() -> None:
    """One target's huge number for x is one first place; y is first for two of three."""
    ballot = saying(
        '{"score": {"x": 1000, "y": 2, "z": 1}}',
        '{"score": {"x": 1, "y": 3, "z": 2}}',
        '{"score": {"x": 1, "y": 2, "z": 1}}',
    )
    selection = decided({"score_aggregate": {"how": "borda"}}, ballot)
    assert (selection.answer, selection.winner.target) == ("y", "beta")
    assert selection.tally == {"x": 2.5, "y": 5.0, "z": 1.5}
    assert selection.agreement == pytest.approx(5 / 9)


def test_collect_keeps_all_answers_in_ranked_order() -> None:
    """Whatever the order of arrival, the first in rank wins and all are told."""
    ballot = Ballot(2, (Candidate("b", "y", priority=1), Candidate("a", "x")), closed=True)
    selection = decided("collect", ballot)
    assert ([c.target for c in selection.together], selection.winner.target) == (["a", "b"], "a")
    assert build("collect")(Ballot(2, ballot.candidates)) is None


def test_concat_joins_all_answers_in_ranked_order() -> None:
    """The text is made of all, whatever the order of arrival; an open ballot is waited for."""
    ballot = Ballot(2, (Candidate("b", "two", priority=1), Candidate("a", "one")), closed=True)
    assert decided("concat", ballot).text == "one\n\ntwo"
    assert decided({"concat": {"separator": " "}}, ballot).text == "one two"
    assert build("concat")(Ballot(2, ballot.candidates)) is None


@pytest.mark.parametrize(
    ("how", "winner", "score"), [("max", "beta", 9.5), ("min", "alpha", 2.0), ("sum", "alpha", 18.5)]
)
def test_numbers_are_reduced_by_name(how: str, winner: str, score: float) -> None:
    """The winner says the value; a sum is said by nobody and is in the score."""
    selection = decided({"reduce": {"how": how}}, saying("It is 2", "9.50", "7", "none"))
    assert (selection.winner.target, selection.score) == (winner, score)


def test_any_function_of_two_is_a_reducer_from_python() -> None:
    """Sum, product, maximum or your own, over any key."""
    ballot = saying("3", "4")
    assert [s.score for f in (operator.add, operator.mul, max) if (s := fanin.reduce(f)(ballot))] == [7, 12, 4]
    longest = fanin.reduce(lambda one, other: max(one, other, key=len), key="text")(saying("ab", "abc", "a"))
    assert longest is not None
    assert (longest.winner.target, longest.score) == ("beta", None)
