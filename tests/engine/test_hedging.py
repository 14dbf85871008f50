"""Adaptive hedges on virtual time: when they start, how many there are, and when there are none."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace

import pytest

from fanin import Candidate
from gateway.domain import ChatRequest, Deadline, Failure, FailureKind, Launch, Outcome, Plan, Target
from gateway.engine import events
from gateway.engine.fanout import fan_out
from gateway.engine.hedges import Hedging as Known
from gateway.errors import AllTargetsFailed
from gateway.policies import Budget, Hedging
from gateway.policies.hedging import AGE, BURST, ENOUGH, RECENT, SHARE, VAIN, WINDOW, Times
from tests.engine.test_fanout import first
from tests.support.clock import run

A, B, C = (Target(name, name, name, priority=place) for place, name in enumerate("abc"))
AUTO = Launch(1, 2.0, adaptive=True, hedges=1)


class Site:
    """Three targets whose times can be set, and what was heard of the requests to them."""

    def __init__(self, hedging: Known | None, launch: Launch = AUTO, targets: tuple[Target, ...] = (A, B)) -> None:
        self.hedging, self.launch, self.targets = hedging, launch, targets
        self.took = dict.fromkeys("abc", 1.0)
        self.down: set[str] = set()
        self.heard: list[events.Event] = []

    async def call(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        await asyncio.sleep(self.took[target.name])
        if target.name in self.down:
            return Failure(target.name, FailureKind.TRANSIENT, "503")
        return Candidate(target.name, "Paris")

    async def ask(self, times: int = 1, *, live: bool = False) -> None:
        """Ask one after another."""
        for _ in range(times):
            request = ChatRequest("req-1", "test", {}, live=live, listen=self.heard.append)
            deadline = asyncio.get_running_loop().time() + 60
            plan = Plan("test", self.targets, self.launch, first(), deadline, live=live)
            try:
                await fan_out(plan, request, self.call, self.hedging)
            except AllTargetsFailed:
                continue

    @property
    def hedges(self) -> list[float]:
        """When hedges started."""
        return [event.at for event in self.heard if isinstance(event, events.Launched) and event.hedge]

    def withheld(self, why: str) -> int:
        return sum(isinstance(event, events.HedgeWithheld) and event.why == why for event in self.heard)


def known(budget: Budget | None = None) -> Hedging:
    """What is known of targets that have all taken about a second in the last minutes."""
    hedging = Hedging(budget or Budget())
    for target in (A, B, C):
        for number in range(WINDOW):
            hedging.landed(target, 0.9 + number * 37 % 100 / 1000, number - float(WINDOW), live=False)
    return hedging


def test_the_percentile_is_that_of_the_last_times_and_of_no_older_ones() -> None:
    """Held against sorting a list, over more samples than the window has; an hour later the old ones are gone."""
    times, taken, chance = Times(), [], random.Random(7)  # noqa: S311
    for number in range(3 * WINDOW):
        taken.append(chance.lognormvariate(0, 1))
        times.add(taken[-1], number * 0.1)
        last = sorted(taken[-WINDOW:])
        assert times.high == (last[math.ceil(0.95 * len(last)) - 1] if len(taken) >= ENOUGH else None)
    times.add(1.0, number * 0.1 + AGE + 1)
    assert times.high is None


def test_a_hedge_starts_when_the_target_is_later_than_it_usually_is() -> None:
    """After 2 s as long as fewer than fifty times are known, then after the 95th percentile."""
    site = Site(Hedging(Budget()))

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        site.took["a"] = 9.0
        began = loop.time()
        await site.ask()
        unknown = site.hedges[-1] - began
        for number in range(100):
            site.took["a"] = 0.01 * (number * 37 % 100 + 1)
            await site.ask()
        site.took["a"] = 9.0
        began = loop.time()
        await site.ask()
        return unknown, site.hedges[-1] - began

    unknown, adapted = run(main())
    assert unknown == 2.0
    assert adapted == pytest.approx(0.96, abs=0.02)


def test_streams_and_whole_answers_have_times_of_their_own() -> None:
    """The first words come sooner than the last ones: neither tells anything about the other."""
    hedging = known()
    assert hedging.delay(A, 2.0, live=False) == pytest.approx(0.994, abs=0.002)
    assert hedging.delay(A, 2.0, live=True) == 2.0


class Forgetful(Hedging):
    """A naive one: it does not count the branches that were given up."""

    def outlasted(self, target: Target, took: float, now: float, *, live: bool) -> None:
        return


@pytest.mark.parametrize(("kind", "hedges"), [(Hedging, range(25, 71)), (Forgetful, range(90, 1000))])
def test_hedges_do_not_make_more_hedges(kind: type[Hedging], hedges: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow branch that a hedge cuts off counts as slow: else the percentile would fall, and fall again."""
    monkeypatch.setattr("gateway.policies.hedging.BURST", 1e9)  # the times alone limit them here
    site, chance = Site(kind(Budget())), random.Random(3)  # noqa: S311
    site.took["b"] = 0.01

    async def main() -> None:
        for _ in range(1000):
            site.took["a"] = chance.uniform(0.5, 1.5)
            await site.ask()

    run(main())
    assert len(site.hedges) in hedges


def test_hedges_stay_a_small_share_when_one_target_turns_slow() -> None:
    """Every request is late: five percent of them are hedged and five more, where a fixed stagger hedges them all."""
    requests = 1000
    for hedging, launch, most in ((known(), AUTO, BURST + SHARE * requests), (None, Launch(1, 1.0), requests)):
        site = Site(hedging, launch)
        site.took.update(a=5.0, b=0.1)
        run(site.ask(requests))
        assert 0.9 * most <= len(site.hedges) <= most
        assert (site.withheld("share") > 100) == (hedging is not None)


@pytest.mark.parametrize("second", [9.0, 0.1])
def test_nobody_is_hedged_while_everything_is_slow(second: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first target's last times are above its usual ones, and three hedges came to nothing: no more of them.

    Where the second is well, hedges go on. When the first is well again, a late request is hedged as ever.
    """
    monkeypatch.setattr("gateway.policies.hedging.BURST", 1e9)
    site = Site(known())

    async def hedged(times: int) -> int:
        before = len(site.hedges)
        await site.ask(times)
        return len(site.hedges) - before

    async def main() -> tuple[int, int, int]:
        site.took.update(a=5.0, b=second)
        until_known, later = await hedged(RECENT), await hedged(RECENT)
        site.took["a"] = 0.95
        await site.ask(RECENT)
        site.took.update(a=5.0, b=0.1)
        return until_known, later, await hedged(1)

    until_known, later, again = run(main())
    assert until_known >= VAIN
    assert later == RECENT if second < 1 else later <= 1  # one a minute tries
    assert site.withheld("slow") >= (RECENT if second > 1 else 0)
    assert again == 1


def test_one_hedge_a_minute_tries_whether_the_others_are_still_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is slow, and then the second target is well: the one that tries finds out, and hedges are back."""
    monkeypatch.setattr("gateway.policies.hedging.BURST", 1e9)
    site = Site(known())
    site.took.update(a=5.0, b=9.0)

    async def main() -> list[int]:
        await site.ask(RECENT)
        site.took["b"] = 0.1
        site.heard.clear()
        counts = []
        for _ in range(RECENT + 8):
            await site.ask()
            counts.append(len(site.hedges))
        return counts

    counts = run(main())
    assert counts[0] == 0
    assert counts[-2:] == [counts[-1] - 1, counts[-1]]


def test_a_hedge_needs_a_place_in_its_provider_s_budget_and_returns_it() -> None:
    """Three of ten that are late together are hedged, adaptive or not; later the places are free again."""
    for launch in (AUTO, Launch(1, 1.0)):
        budget = Budget()
        site = Site(known(budget), launch)
        site.took.update(a=1.9, b=1.0)

        async def together(site: Site = site) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(10):
                    group.create_task(site.ask())

        run(together())
        assert len(site.hedges) == 3
        assert site.withheld("budget") >= 7 if launch is not AUTO else site.withheld("budget") == 7
        assert events.BudgetDenied("b", "hedge") in site.heard
        request = ChatRequest("req-1", "test", {})
        assert [budget.take(B, request, "hedge") for _ in range(4)] == [True, True, True, False]


def test_any_key_of_a_provider_pays_for_a_hedge() -> None:
    """With two keys there are twice the places; a key whose calls fail pays for none. All places come back."""
    budget, request = Budget(), ChatRequest("req-1", "test", {})
    hedging = known(budget)
    hedging.accounts = {"b": ("b", "b#2")}
    site = Site(hedging, Launch(1, 1.0))
    site.took.update(a=9.0, b=1.0)

    async def failing(_: Target, __: ChatRequest, ___: Deadline) -> Outcome:
        return Failure("b", FailureKind.TRANSIENT, "503")

    async def hedged() -> int:
        site.heard.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(site.ask())
        return site.hedges.count(min(site.hedges))

    assert run(hedged()) == 6
    one, two = B, replace(B, provider="b#2")
    for payer in (one, two):
        assert [budget.take(payer, request, "hedge") for _ in range(4)] == [True, True, True, False]
        for _ in range(3):
            budget.give_back(payer)

    for _ in range(6):
        run(budget(failing)(one, request, 60.0))  # type: ignore[arg-type]
    assert run(hedged()) == 3
    assert hedging.affords(B, request)


def test_a_place_is_returned_when_the_client_leaves_at_once() -> None:
    """A hedge that is cancelled before it began to run gives its place back like any other."""
    budget = Budget()
    site = Site(known(budget))
    site.took.update(a=9.0, b=9.0)

    async def main() -> None:
        for _ in range(4):
            asking = asyncio.get_running_loop().create_task(site.ask())
            await asyncio.sleep(1.2)
            assert site.hedges
            site.heard.clear()
            asking.cancel()
            await asyncio.wait([asking])

    run(main())
    request = ChatRequest("req-1", "test", {})
    assert [budget.take(B, request, "hedge") for _ in range(4)] == [True, True, True, False]


def test_who_is_asked_because_another_failed_is_no_hedge() -> None:
    """It needs no budget, does not count, and is not withheld."""
    site = Site(known(), targets=(A, B, C))
    site.took.update(a=0.1, b=0.1, c=0.1)
    site.down = {"a", "b"}
    run(site.ask(50))
    assert sum(isinstance(event, events.Answered) for event in site.heard) == 50
    assert site.hedges == []
    assert not any(isinstance(event, (events.HedgeWithheld, events.BudgetDenied)) for event in site.heard)


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (2, 2)])
def test_a_request_is_hedged_once_or_as_often_as_the_route_says(most: int, expected: int) -> None:
    """All three targets hang: one hedge by default."""
    site = Site(known(), Launch(1, 2.0, adaptive=True, hedges=most), targets=(A, B, C))
    site.took = dict.fromkeys("abc", 20.0)
    run(site.ask())
    assert len(site.hedges) == expected


def test_what_is_known_of_a_provider_is_forgotten_when_it_is_another_one() -> None:
    """A new configuration keeps the times of what it leaves as it is."""
    hedging = known()
    hedging.keep({"a"})
    assert hedging.delay(A, 2.0, live=False) < 1
    assert hedging.delay(B, 2.0, live=False) == 2.0


def test_a_thousand_models_of_one_client_are_not_all_remembered() -> None:
    """Ad-hoc targets are whatever clients write: the oldest make room."""
    hedging = Hedging(Budget())
    for number in range(1000):
        hedging.landed(Target("t", "p", f"m{number}"), 1.0, 0.0, live=False)
    assert len(hedging) <= 256
