"""Shares of a client's `n` on virtual time: who makes up for whom, when, and that it has an end."""

from __future__ import annotations

from collections import Counter

import pytest

import fanin
from gateway.domain import Launch, Route
from gateway.engine import events, mapped
from gateway.engine.fanout import Verdict
from gateway.engine.plan import gathering, plan
from gateway.errors import AllTargetsFailed
from tests.support.clock import run
from tests.support.scripted import Script, script


def play(scripted: Script, n: int, *, launch: Launch | None = None, deadline: float = 60) -> Verdict:
    async def main() -> Verdict:
        rhythm = launch or Launch(len(scripted.targets))
        route = Route("test", scripted.targets, rhythm, fanin.collect(), deadline)
        intent = gathering(plan(route, stream=False, now=0), route, n, stream=False)
        return await mapped.run(intent, scripted.request(), scripted.call)

    return run(main())


def words(verdict: Verdict) -> list[str]:
    return [candidate.text for candidate in verdict.selection.together]


def made_up(scripted: Script) -> list[tuple[str, str, int]]:
    told = [event for event in scripted.events if isinstance(event, events.MadeUp)]
    return [(event.target, event.by, event.choices) for event in told]


def test_it_costs_no_time_while_somebody_is_running() -> None:
    """The failure is told at once, and made up for beside the calls that go on."""
    scripted = script("a: 1s 503 | b: 5s Rome")
    verdict = play(scripted, 2)
    assert words(verdict) == ["Rome", "Rome"]
    assert scripted.tape == [
        (0, "launched", "a"),
        (0, "launched", "b"),
        (1, "transient", "a"),
        (1, "launched", "b"),
        (5, "answered", "b"),
        (6, "answered", "b"),
        (6, "selected", "b"),
    ]
    assert (verdict.selection.winner.target, verdict.asked) == ("b", 3)
    assert verdict.durations == {"a": 1, "b": 5, "b for a": 5}


def test_who_has_answered_goes_before_who_has_not_and_the_burden_is_spread() -> None:
    """Also where two things happen in the same moment: no share is given twice."""
    scripted = script("a: 2s 503 | b: 3s 503 | c: 9s Oslo | d: 1s Rome | e: 2s Bern")
    assert words(play(scripted, 5)) == ["Rome", "Bern", "Oslo", "Rome", "Bern"]
    assert made_up(scripted) == [("a", "d", 1), ("b", "e", 1)]


def test_a_share_goes_on_to_the_next_when_who_took_it_fails_as_well() -> None:
    """Two of three die one after the other: the third gives everything."""
    scripted = script("a: 1s 503 | b: 2s 503 | c: 9s Oslo")
    assert words(play(scripted, 3)) == ["Oslo"] * 3
    assert scripted.calls["a"] == 1


def test_when_everybody_fails_there_is_an_end() -> None:
    """Nobody is asked for the same share twice, nor after it has failed."""
    scripted = script("a: 1s 503 | b: 2s 503 | c: 3s 503 | d: 4s 503")
    with pytest.raises(AllTargetsFailed):
        play(scripted, 8)
    asked = Counter(event.target for event in scripted.events if isinstance(event, events.Launched))
    assert all(asked[name] <= 4 for name in "abcd")


def test_a_request_that_is_at_fault_is_not_multiplied() -> None:
    """What one refuses as the client's own fault is asked only of those that have taken it."""
    scripted = script("a: 1s 400 | b: 2s 400 | c: 3s 400")
    with pytest.raises(AllTargetsFailed):
        play(scripted, 3)
    assert not made_up(scripted)

    scripted = script("a: 1s 400 | b: 2s Rome")
    assert words(play(scripted, 2)) == ["Rome", "Rome"]
    assert scripted.tape[3] == (2, "answered", "b")


def test_the_deadline_ends_it() -> None:
    """What has not been made up for by then is missing; nothing is begun after it."""
    scripted = script("a: 1s 503 | b: 2s Rome, hang")
    verdict = play(scripted, 2, deadline=4)
    assert words(verdict) == ["Rome"]
    assert [(f.target, f.kind) for f in verdict.ballot.failures] == [("a", "transient"), ("b for a", "timeout")]
    assert scripted.tape[-3:] == [(4, "expired", "b"), (4, "timeout", "b"), (4, "selected", "b")]

    scripted = script("a: hang | b: 2s Rome")
    assert words(play(scripted, 2, deadline=4)) == ["Rome"]
    assert not made_up(scripted)


def test_nobody_makes_up_for_anybody_where_no_number_is_asked_for() -> None:
    """Without `n` each target gives one choice or none."""
    scripted = script("a: 1s 503 | b: 2s Rome")
    assert words(play(scripted, 1)) == ["Rome"]
    assert not made_up(scripted)


@pytest.mark.parametrize("launch", [Launch(1), Launch(1, 0.5)])
def test_it_is_the_same_in_every_rhythm(launch: Launch) -> None:
    """Also where the others have yet to start when the first one fails."""
    scripted = script("a: 1s 503 | b: 2s Rome | c: 2s Oslo")
    assert words(play(scripted, 6, launch=launch)) == ["Rome", "Rome", "Oslo"]
    assert made_up(scripted) == [("a", "b", 2)]


def test_a_made_up_answer_is_a_rescue_where_the_first_target_failed() -> None:
    """As any answer is that the first target alone would not have given."""
    scripted = script("a: 1s 503 | b: 2s Rome")
    play(scripted, 2)
    assert [event.rescued for event in scripted.events if isinstance(event, events.Selected)] == [True]
