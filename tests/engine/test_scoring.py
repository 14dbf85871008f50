"""Scorers in the loop, on virtual time: asked once, within their time, and never a reason for no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fanin import Candidate, Opinion, Rule, build, scored
from gateway.domain import Caller, ChatRequest, Deadline, Plan, Target
from gateway.engine import events
from gateway.engine.fanout import Verdict, fan_out
from tests.support.clock import run
from tests.support.scripted import Script, script


class Asks:
    """A scorer that asks `j` of the script and takes the answer it names; `fault` is raised instead."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.target, self.share = Target("j", "scripted", "j"), 0.2
        self.asked: list[tuple[float, Deadline]] = []
        self._fault = fault

    def calls(self, count: int) -> int:
        return int(count > 0)

    def describe(self) -> str:
        return "for a name"

    async def __call__(
        self, candidates: Sequence[Candidate], request: ChatRequest, call: Caller, deadline: Deadline
    ) -> Opinion:
        self.asked.append((asyncio.get_running_loop().time(), deadline))
        if self._fault is not None:
            raise self._fault
        outcome = await call(self.target, request, deadline)
        named = outcome.text if isinstance(outcome, Candidate) else ""
        return Opinion(next((c for c in candidates if c.target == named), None), f"j says {named}")


def planned(scripted: Script, rule: Rule) -> Plan:
    """All at once; a deadline of 10 s, of which 2 s are the scorer's."""
    plan = scripted.plan(rule, deadline=8)
    targets = tuple(target for target in plan.targets if target.name != "j")
    return Plan(plan.route, targets, plan.launch, rule, 8, decide_by=10)


def play(scripted: Script, rule: Rule) -> Verdict:
    return run(fan_out(planned(scripted, rule), scripted.request(), scripted.call))


def test_a_scorer_is_asked_once_when_all_is_in_and_its_call_is_booked() -> None:
    """Three answers, one question; the verdict tells of the call, the tape of its tokens, and it is no branch."""
    scripted, scorer = script("a: 1s Rome | b: 2s Paris | c: 3s Oslo | j: 1s b"), Asks()

    verdict = play(scripted, scored("asks", scorer) | build("priority"))

    assert verdict.selection.winner.target == "b"
    assert scorer.asked == [(3, 5)]
    assert [(call.target, call.duration) for call in verdict.consulted] == [("j", 1)]
    assert verdict.asked == 3
    assert [e.fate for e in scripted.events if isinstance(e, events.Spent) and e.target == "j"] == ["judge"]
    assert [e.target for e in scripted.events if isinstance(e, events.Launched)] == ["a", "b", "c"]


def test_the_answers_have_the_deadline_but_for_the_scorer_s_share() -> None:
    """What is still out at 8 s of 10 is not waited for; the scorer has the 2 s that are left, and not more."""
    scripted, scorer = script("a: 1s Rome | b: 2s Paris | c: hang | j: 1s b"), Asks()
    assert play(scripted, scored("asks", scorer)).selection.winner.target == "b"
    assert scorer.asked == [(8, 10)]


def test_a_scorer_that_raises_costs_its_opinion_and_never_the_answer() -> None:
    """Its fault is told to the log, the next rule decides, and the reason says so."""
    scripted = script("a: 1s Rome | b: 2s Paris | j: 1s b")
    verdict = play(scripted, scored("asks", Asks(ValueError("x"))) | build("priority"))
    assert verdict.selection.winner.target == "a"
    assert verdict.selection.reason == "highest priority of those that answered; j raised ValueError"
    assert any(isinstance(event, events.SelectorFaulted) for event in scripted.events)


def test_a_scorer_in_the_middle_of_a_chain_is_asked_only_when_it_is_its_turn() -> None:
    """A vote that decides asks nobody."""
    scripted, scorer = script("a: 1s Paris | b: 2s Paris | j: 1s b"), Asks()
    play(scripted, build({"majority": {"min_agreement": 0.6}}) | scored("asks", scorer))
    assert scorer.asked == []


def test_a_client_that_leaves_takes_the_scorer_s_call_along() -> None:
    """Cancelling the request while it is judged cancels the call."""
    scripted = script("a: 1s Rome | b: 1s Paris | j: hang")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(
            fan_out(planned(scripted, scored("asks", Asks())), scripted.request(), scripted.call)
        )
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert scripted.cancelled == ["j"]
