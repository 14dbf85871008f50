"""The one loop on virtual time: the tape says who was launched, who answered and who was superseded, and when."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from fanin import Ballot, Candidate, Rule, Selection, selector
from gateway.domain import FailureKind
from gateway.engine import events
from gateway.engine.fanout import Verdict, fan_out
from gateway.errors import Abstained, AllTargetsFailed
from tests.support.clock import run
from tests.support.scripted import Script, script


@selector
def first(ballot: Ballot) -> Selection | None:
    return Selection(ballot.candidates[0], "first to answer") if ballot.candidates else None


@selector
def two_alike(ballot: Ballot) -> Selection | None:
    texts = [candidate.text for candidate in ballot.candidates]
    for candidate in ballot.candidates:
        if texts.count(candidate.text) >= 2:
            return Selection(candidate, "two agree")
    return Selection(ballot.ranked()[0], "nobody agrees") if ballot.closed and ballot.candidates else None


@selector
def never(ballot: Ballot) -> Selection | None:
    return None


def play(scripted: Script, rule: Rule, **launch: float) -> Verdict:
    async def main() -> Verdict:
        return await fan_out(scripted.plan(rule, **launch), scripted.request(), scripted.call)  # type: ignore[arg-type]

    return run(main())


def test_a_race_takes_the_first_answer_and_supersedes_the_rest() -> None:
    """All start at once; the fastest success wins and the losers are cancelled in the same instant."""
    scripted = script("a: 5s Rome | b: 1s 503 | c: 2s Paris | d: hang")

    verdict = play(scripted, first())

    assert verdict.selection.winner.target == "c"
    assert scripted.tape == [
        (0, "launched", "a"),
        (0, "launched", "b"),
        (0, "launched", "c"),
        (0, "launched", "d"),
        (1, "transient", "b"),
        (2, "answered", "c"),
        (2, "superseded", "a"),
        (2, "superseded", "d"),
        (2, "selected", "c"),
    ]
    assert scripted.cancelled == ["a", "d"]
    assert verdict.superseded == ("a", "d")


def test_a_fast_failure_never_beats_a_slow_success() -> None:
    """The first *success* wins, not the first outcome."""
    scripted = script("a: 0.1s 503 | b: 0.1s 401 | c: 9s Paris")
    assert play(scripted, first()).selection.winner.text == "Paris"


def test_a_hedge_starts_the_second_target_only_after_the_stagger() -> None:
    """The backup starts when the first has been silent for the stagger, and the late first answer may still win."""
    scripted = script("a: 3s Paris | b: 5s Rome | c: 1s Oslo")

    verdict = play(scripted, first(), initial=1, stagger=2)

    assert verdict.selection.winner.target == "a"
    assert scripted.tape[:3] == [(0, "launched", "a"), (2, "launched", "b"), (3, "answered", "a")]
    assert scripted.calls["c"] == 0


def test_a_hedge_is_not_started_when_the_first_answers_in_time() -> None:
    """No second call is paid for when the first is quick."""
    scripted = script("a: 1s Paris | b: 1s Rome")
    play(scripted, first(), initial=1, stagger=2)
    assert scripted.calls == {"a": 1}


def test_a_fallback_starts_the_next_target_the_moment_one_fails() -> None:
    """With an infinite stagger only a failure starts the next target."""
    scripted = script("a: 1s 503 | b: 2s 500 | c: 4s Paris")

    play(scripted, first(), initial=1)

    assert [entry for entry in scripted.tape if entry[1] == "launched"] == [
        (0, "launched", "a"),
        (1, "launched", "b"),
        (3, "launched", "c"),
    ]


def test_an_escalation_asks_a_third_only_when_two_disagree() -> None:
    """Two start; the third is asked only because the ballot is undecided with nothing in flight."""
    agreeing = script("a: 1s Paris | b: 2s Paris | c: 1s Rome")
    play(agreeing, two_alike(), initial=2)
    assert agreeing.calls["c"] == 0

    disagreeing = script("a: 1s Paris | b: 2s Rome | c: 1s Rome")
    verdict = play(disagreeing, two_alike(), initial=2)
    assert (2, "launched", "c") in disagreeing.tape
    assert verdict.selection.winner.text == "Rome"


def test_at_the_deadline_the_selector_decides_on_what_has_arrived() -> None:
    """The ballot closes at the deadline: the late branch is a failure of kind timeout, the answer is given at once."""
    scripted = script("a: 1s Paris | b: 100s Paris | c: 1s 503")

    verdict = play(scripted, two_alike(), deadline=10)

    assert verdict.selection.reason == "nobody agrees"
    assert [(f.target, f.kind) for f in verdict.ballot.failures] == [
        ("c", FailureKind.TRANSIENT),
        ("b", FailureKind.TIMEOUT),
    ]
    assert (10, "expired", "b") in scripted.tape
    assert (10, "selected", "a") in scripted.tape
    assert "b" in scripted.cancelled


def test_when_everything_fails_the_error_carries_every_branch() -> None:
    """No failure is lost: each branch's kind stands in the error."""
    scripted = script("a: 1s 503 | b: 2s 429 | c: hang")

    with pytest.raises(AllTargetsFailed) as caught:
        play(scripted, first(), deadline=5)

    assert [(f.target, f.kind) for f in caught.value.failures] == [
        ("a", FailureKind.TRANSIENT),
        ("b", FailureKind.RATE_LIMITED),
        ("c", FailureKind.TIMEOUT),
    ]


def test_a_selector_that_abstains_on_a_closed_ballot_is_an_error_of_its_own() -> None:
    """Answers without a decision are not a target's failure."""
    with pytest.raises(Abstained):
        play(script("a: 1s Paris | b: 2s Rome"), never())


def test_a_selector_that_raises_costs_its_opinion_but_not_the_answer() -> None:
    """The highest-priority answer is returned, and the reason says what happened."""

    def broken(ballot: Ballot) -> Selection | None:
        msg = "bug"
        raise ZeroDivisionError(msg)

    scripted = script("a: 2s Paris | b: 1s Rome")
    verdict = play(scripted, Rule("broken", broken))

    assert verdict.selection.winner.target == "a"
    assert verdict.selection.reason == "broken raised ZeroDivisionError: the highest-priority answer instead"
    assert any(isinstance(event, events.SelectorFaulted) for event in scripted.events)


def test_a_caller_that_raises_is_a_failed_branch_and_its_siblings_go_on() -> None:
    """A bug in one provider costs that branch only, and its traceback survives for the log."""
    scripted = script("a: 1s raise | b: 2s Paris")

    verdict = play(scripted, first())

    assert verdict.selection.winner.target == "b"
    [failed] = [event for event in scripted.events if isinstance(event, events.Failed)]
    assert failed.failure.kind is FailureKind.UNKNOWN
    assert isinstance(failed.cause, ValueError)


def test_a_rescue_is_said_only_when_the_first_target_failed() -> None:
    """`rescued` means that the first target alone would have failed, not merely that another was quicker."""

    def rescued(scripted: Script) -> bool:
        play(scripted, first())
        [selected] = [event for event in scripted.events if isinstance(event, events.Selected)]
        return selected.rescued

    assert rescued(script("a: 1s 503 | b: 2s Paris"))
    assert not rescued(script("a: 3s Rome | b: 2s Paris"))
    assert not rescued(script("a: 1s Rome | b: 2s 503"))


def test_a_cancelled_request_cancels_and_awaits_every_branch() -> None:
    """A client that leaves takes all its branches along, and none is left running."""
    scripted = script("a: hang | b: hang | c: 1s 503")

    async def main() -> None:
        async with asyncio.timeout(3):
            await fan_out(scripted.plan(first()), scripted.request(), scripted.call)

    with pytest.raises(TimeoutError):
        run(main())
    assert scripted.cancelled == ["a", "b"]
    assert (3, "superseded", "a") in scripted.tape


def test_losing_streams_are_closed_even_when_they_arrive_in_the_same_instant() -> None:
    """An open stream that did not win is closed and its tokens are booked as lost."""
    closed: list[str] = []

    class Stream:
        usage = None

        def __init__(self, name: str) -> None:
            self.name = name

        async def aclose(self) -> None:
            closed.append(self.name)

    scripted = script("a: 1s x | b: 1s y | c: 2s z")

    async def call(target, request, deadline):  # type: ignore[no-untyped-def]
        await asyncio.sleep({"a": 1, "b": 1, "c": 2}[target.name])
        return Candidate(target.name, "text", payload=Stream(target.name))

    async def main() -> Verdict:
        return await fan_out(scripted.plan(first()), scripted.request(), call)

    verdict = run(main())
    assert verdict.selection.winner.target == "a"
    assert closed == ["b"]


@pytest.mark.parametrize("continued", [True, False])
def test_the_text_of_a_stream_is_kept_only_where_another_may_go_on_with_it(*, continued: bool) -> None:
    """Without standby or prefill nobody ever asks for it, and an open stream should cost little."""
    forgotten: list[str] = []

    class Stream:
        usage = None

        def __init__(self, name: str) -> None:
            self.name = name

        def forget(self) -> None:
            forgotten.append(self.name)

        async def aclose(self) -> None:
            pass

    scripted = script("a: 1s x | b: 1s y")

    async def call(target, request, deadline):  # type: ignore[no-untyped-def]
        await asyncio.sleep(1)
        return Candidate(target.name, "text", payload=Stream(target.name))

    async def main() -> Verdict:
        plan = replace(scripted.plan(first()), live=True, continued=continued, warm=continued)
        return await fan_out(plan, scripted.request(), call)

    assert run(main()).selection.winner.target == "a"
    assert forgotten == ([] if continued else ["a", "b"])


def test_tokens_are_booked_to_the_winner_and_to_every_loser_that_answered() -> None:
    """Each answer's tokens are booked once, with its fate."""
    scripted = script("a: 1s Paris | b: 2s Rome | c: 3s Rome")

    play(scripted, two_alike())

    spent = {(event.target, event.won) for event in scripted.events if isinstance(event, events.Spent)}
    assert spent == {("a", False), ("b", True), ("c", False)}


def test_a_client_that_leaves_while_losing_streams_are_closed_leaves_none_open() -> None:
    """Every stream is closed, the winner's too, for nobody takes it any more."""
    closed: list[str] = []

    class Stream:
        usage = None

        def __init__(self, name: str) -> None:
            self.name = name

        async def aclose(self) -> None:
            await asyncio.sleep(0.05)
            closed.append(self.name)

    scripted = script("a: 1s x | b: 1s y | c: 1s z")

    async def call(target, request, deadline):  # type: ignore[no-untyped-def]
        await asyncio.sleep(1)
        return Candidate(target.name, "text", payload=Stream(target.name))

    async def main() -> None:
        async with asyncio.timeout(1.02):
            await fan_out(scripted.plan(first()), scripted.request(), call)

    with pytest.raises(TimeoutError):
        run(main())
    assert sorted(closed) == ["a", "b", "c"]


def test_nothing_is_launched_at_the_deadline() -> None:
    """A target that fails at the last moment is not replaced by one that has no time left."""
    scripted = script("a: 5s 503 | b: 1s Paris")
    with pytest.raises(AllTargetsFailed) as caught:
        play(scripted, first(), initial=1, deadline=5)
    assert [failure.target for failure in caught.value.failures] == ["a"]
    assert scripted.calls["b"] == 0
