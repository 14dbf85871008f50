"""Races for the first words: headers prove nothing, losers stop, and what happened is booked to whom it happened to."""

from __future__ import annotations

import asyncio
import itertools

import aiohttp
import pytest

from tests.support.gateways import Running, gateways
from tests.support.naive import first_to_send_headers
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

TIMES = 100
LANES = 20
LATE, SOON, DEAD = "late?early=role&ttft=3", "soon?ttft=0.1", "dead?status=503"
SCRIPT = {"late": {"tokens": 60}, "soon": {"tokens": 60}, "dead": {}}
BODY = {"messages": [{"role": "user", "content": "Say something."}]}


async def winners(running: Running, *bodies: dict[str, object]) -> list[str]:
    """The targets that won these requests, asked so many at once; every answer is whole."""
    lanes = asyncio.Semaphore(LANES)
    won = []

    async def one(body: dict[str, object]) -> None:
        async with lanes:
            answer = await running.post({**BODY, **body})
        assert answer.status == 200
        assert not body["stream"] or answer.body.endswith(b"data: [DONE]\n\n")
        won.append(answer.headers["x-hedgerow-target"])

    async with asyncio.TaskGroup() as group:
        for body in bodies:
            group.create_task(one(body))
    return won


async def test_the_first_words_win_a_hundred_times_of_a_hundred() -> None:
    """Headers and role at once and words after 3 s always lose to words after 0.1 s, and the upstream sees it."""
    routes = f"  race: {{targets: ['sim/{LATE}', 'sim/{SOON}']}}"
    async with gateways(routes, SCRIPT) as running:
        won = await winners(running, *[{"model": "race", "stream": True}] * TIMES)
        assert won == [f"sim/{SOON}"] * TIMES
        await eventually(lambda: running.sim.running == 0)
        late = [entry for entry in running.sim.journal if entry.model == LATE]
        assert [(entry.outcome, entry.generated) for entry in late] == [("disconnected", 0)] * TIMES
        assert running.sample("hedgerow_superseded_total", target=f"sim/{LATE}") == TIMES


async def test_a_race_for_the_first_headers_is_lost_the_same_way_every_time() -> None:
    """The control: who races for headers takes the target that begins to speak last."""
    async with gateways("  race: {targets: [sim/soon]}", SCRIPT) as running, aiohttp.ClientSession() as session:
        url = f"{running.sim.base_url}/chat/completions"
        won = [await first_to_send_headers(session, url, LATE, SOON) for _ in range(3)]
    assert won == [LATE] * 3


@pytest.mark.parametrize("races", [TIMES, pytest.param(10 * TIMES, marks=pytest.mark.slow)])
async def test_nothing_is_booked_to_a_wrong_target_in_mixed_races(races: int) -> None:
    """In every order of targets, streaming or not: the dead one never answers, the slow one never wins or fails."""
    orders = list(itertools.permutations([LATE, SOON, DEAD]))
    routes = "\n".join(
        f"  r{number}: {{retries: 0, targets: ['sim/{a}', 'sim/{b}', 'sim/{c}']}}"
        for number, (a, b, c) in enumerate(orders)
    )
    async with gateways(routes, SCRIPT) as running:
        asked = [{"model": f"r{n % len(orders)}", "stream": n % 4 != 0} for n in range(races)]
        assert set(await winners(running, *asked)) == {f"sim/{SOON}"}
        await eventually(lambda: running.sim.running == 0)

        def attempts(target: str, outcome: str) -> float:
            return sum(
                running.sample("hedgerow_attempts_total", route=f"r{number}", target=f"sim/{target}", outcome=outcome)
                for number in range(len(orders))
            )

        assert attempts(SOON, "answered") == races
        assert attempts(LATE, "superseded") == races
        refused = sum(
            running.sample("hedgerow_failures_total", route=f"r{n}", target=f"sim/{DEAD}", kind="circuit_open")
            for n in range(len(orders))
        )
        assert attempts(DEAD, "transient") + attempts(DEAD, "superseded") + refused == races
        assert refused > 0
        assert attempts(DEAD, "answered") == attempts(LATE, "answered") == 0
        assert [attempts(target, "transient") for target in (LATE, SOON)] == [0, 0]
        for target, tokens in ((SOON, running.sim.ledger[SOON].generated), (LATE, 0), (DEAD, 0)):
            won = running.sample("hedgerow_tokens_total", target=f"sim/{target}", kind="completion", fate="won")
            assert won == tokens
