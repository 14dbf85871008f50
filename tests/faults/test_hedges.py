"""Adaptive hedges through real sockets: when they start, how many there are, and what stops them.

Each promise has its control beside it: the same load on a launch with a fixed stagger, which knows no such measure.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.domain import Target
from gateway.policies.hedging import BURST, ENOUGH, RECENT, SHARE, VAIN, WINDOW
from tests.support.gateways import Running, gateways

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hello"}]
ROUTES = """
  hedged: {targets: [sim/a, sim/b], launch: hedge}
  before: {targets: [sim/a, sim/b], launch: hedge}
  fixed: {targets: [sim/a, sim/b], launch: {initial: 1, stagger: 100ms}}
"""
QUICK: Any = {"ttft": "0.02..0.1"}
LATE, STREAM = {"ttft": 1}, True
WARM = 3 * ENOUGH


async def ask(running: Running, times: int, route: str = "hedged", *, lanes: int = 30, stream: bool = STREAM) -> None:
    """Ask a route so many times, so many at once; every answer is whole."""
    free = asyncio.Semaphore(lanes)

    async def one() -> None:
        async with free:
            answer = await running.post({"model": route, "messages": HELLO, "stream": stream})
        assert answer.status == 200
        assert not stream or answer.body.endswith(b"data: [DONE]\n\n")

    async with asyncio.TaskGroup() as group:
        for _ in range(times):
            group.create_task(one())


def teach(running: Running) -> None:
    """Let the gateway know the first target as one that has taken 0.02 to 0.1 s in the last minutes."""
    now = asyncio.get_running_loop().time()
    for number in range(WINDOW):
        took = 0.02 + 0.08 * (number * 37 % WINDOW) / WINDOW
        running.gateway.hedging.landed(Target("", "sim", "a"), took, now + (number - WINDOW) / 2, live=STREAM)


def fired(running: Running, route: str = "hedged") -> float:
    return running.sample("hedgerow_hedges_fired_total", route=route)


def withheld(running: Running, why: str) -> float:
    return running.sample("hedgerow_hedges_withheld_total", route="hedged", why=why)


@pytest.mark.parametrize("stream", [True, False])
async def test_after_a_hundred_requests_a_hedge_starts_at_about_the_95th_percentile(*, stream: bool) -> None:
    """The first target takes 0.02 to 0.1 s and then hangs: help comes in well under the 2 s of a cold start.

    The control is the cold start itself: before anything is known the hedge waits for 2 s. The times are learned on
    another route, so that a slow machine cannot use up the share of hedges meanwhile.
    """
    script: Any = {"a": {"silent": 30}, "b": {}}
    async with gateways(ROUTES, script) as running:
        first, second = Target("", "sim", "a"), Target("", "sim", "b")
        hedging, clock = running.gateway.hedging, asyncio.get_running_loop().time

        async def waited() -> float:
            before = clock()
            await ask(running, 1, stream=stream)
            return clock() - before

        assert await waited() >= 2.0
        running.sim.play({"a": QUICK, "b": {}})
        await ask(running, WARM, "before", stream=stream)
        usual = hedging.delay(first, 2.0, live=stream)
        assert 0.05 < usual < 1.5
        assert hedging.delay(second, 2.0, live=stream) == hedging.delay(first, 2.0, live=not stream) == 2.0
        running.sim.play(script)
        before = fired(running)
        assert usual <= await waited() < 2.0
        assert fired(running) == before + 1


async def test_hedges_stay_a_small_share_when_one_target_turns_slow() -> None:
    """Five percent of the requests and five; with a fixed stagger it is every request that the budget has room for."""
    async with gateways(ROUTES, {"a": LATE, "b": {}}) as running:
        teach(running)
        await ask(running, 60)
        assert 1 <= fired(running) <= BURST + SHARE * 60
        assert withheld(running, "share") > 0
        await ask(running, 60, "fixed")
        assert fired(running, "fixed") > BURST + SHARE * 60


async def test_nobody_is_hedged_while_every_target_is_slow() -> None:
    """Both take a second: once three hedges have come to nothing there are none, although the share has room.

    The control asks the same of the fixed stagger, whose hedges go on.
    """
    async with gateways(ROUTES, {"a": LATE, "b": {"ttft": 2}}) as running:
        teach(running)
        await ask(running, RECENT + VAIN)
        before = fired(running)
        running.gateway.hedging._routes["hedged"].left = BURST
        await ask(running, 12)
        assert fired(running) == before >= VAIN
        assert withheld(running, "slow") >= 12
        await ask(running, 12, "fixed")
        assert fired(running, "fixed") >= VAIN


async def test_a_hedge_without_a_place_in_the_budget_is_not_started() -> None:
    """The second provider fails too often for extra calls: the slow answer is waited for, and the metrics say why.

    The same request was hedged while that provider was well.
    """
    head = "  other: {api: openai, base_url: '{sim}', api_key: sk-other-canary}"
    routes = """
  hedged: {targets: [sim/a, other/b], launch: hedge}
  down: {targets: [other/c], retries: 0}
"""
    async with gateways(routes, {"a": LATE, "b": {}, "c": {"status": 503}}, head=head) as running:
        teach(running)
        await ask(running, 1)
        assert fired(running) == 1
        for _ in range(5):
            assert (await running.post({"model": "down", "messages": HELLO})).status >= 500
        await ask(running, 1)
        assert fired(running) == 1
        assert withheld(running, "budget") == 1
        assert running.sample("hedgerow_budget_denied_total", target="other/b", what="hedge") == 1
