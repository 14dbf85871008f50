"""The simulator keeps time, and the same seed plays the same run again."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from gateway.providers.simulator import Simulator
from tests.support.simulators import ask, chat, exchange, simulators

pytestmark = pytest.mark.anyio


async def arrivals(sim: Simulator, model: str) -> list[float]:
    """Return when each piece of a stream arrived, the headers first, in seconds since the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
    body = json.dumps(chat(model, stream=True)).encode()
    started = time.monotonic()
    writer.write(
        b"POST /chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )
    await reader.readuntil(b"\r\n\r\n")
    times = [time.monotonic() - started]
    while True:
        line = await reader.readline()
        if not line:
            break
        if line.startswith(b"data: ") and b'"content":"' in line and b'"role"' not in line:
            times.append(time.monotonic() - started)
    writer.close()
    return times


async def test_a_stream_has_the_scripted_rhythm() -> None:
    """Headers and first token come after latency and ttft, the last after as many gaps as there are between tokens."""
    async with simulators() as (sim,):
        times = await arrivals(sim, "m?tokens=21&latency=0.05&ttft=0.05&tps=200")
    headers, first, last = times[0], times[1], times[-1]
    assert len(times) == 22
    assert 0.1 <= headers <= first < 0.19
    assert 0.2 <= last < 0.35


async def test_the_rhythm_does_not_drift() -> None:
    """A delay in the middle is caught up: the last token comes when it should, not that much later."""
    async with simulators() as (sim,):
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.15)
        times = await arrivals(sim, "m?tokens=61&gap=0.004")
    assert 0.24 <= times[-1] < 0.24 + 0.15


async def test_a_whole_answer_takes_the_time_of_its_tokens() -> None:
    """Without a stream the answer comes when the last token would have come."""
    answer = await ask("m?tokens=11&latency=0.05&ttft=0.05&gap=0.01")
    assert 0.2 <= answer.elapsed < 0.35


async def test_an_answer_of_one_token_has_no_gaps() -> None:
    """Even a provider that never writes a second token writes the first, and of two it writes one."""
    assert (await ask("m?answer=x&gap=inf")).status == 200
    assert (await ask("m?answer=x y&gap=inf", quiet=0.1)).ended == "open"
    assert (await ask("m?answer=x y&gap=inf", quiet=0.1, stream=True)).text == "x"


async def test_waits_are_drawn_anew_for_every_call() -> None:
    """A distribution gives each call its own wait: here some are long and some are not."""
    async with simulators() as (sim,), asyncio.TaskGroup() as group:
        calls = [group.create_task(exchange(sim, chat("m?latency=tail:0:0.5:0.2"))) for _ in range(12)]
    assert {call.result().elapsed >= 0.2 for call in calls} == {True, False}


async def test_a_flapping_provider_is_down_in_its_window_only() -> None:
    """A window of the script's clock, which repeats with a period."""
    async with simulators() as (sim,):
        sim.reset()
        began, seen = time.monotonic(), list[int]()
        for number in range(6):  # at 0.05, 0.15, ... 0.55 of a script that is down in the first half of every 0.2 s
            await asyncio.sleep(began + 0.05 + 0.1 * number - time.monotonic())
            seen.append((await exchange(sim, chat("m?status=503&until=0.1&every=0.2"))).status)
        assert seen == [503, 200] * 3


async def replay(seed: int, models: list[str]) -> list[Any]:
    async with simulators(None, seed=seed) as (sim,):
        answers = [await exchange(sim, chat(model, logprobs=True)) for model in models]
        return [(answer.status, answer.json | {"created": 0}) for answer in answers]


RANDOM = "m?wrong=0.5&wrong_answers=a|b|c&rate=0.7&status=500&latency=0..0.002"


async def test_a_run_replays_exactly() -> None:
    """The same seed and the same calls give the same answers, faults, ids and logprobs; another seed gives others."""
    models = [RANDOM] * 15
    first = await replay(1, models)
    assert first == await replay(1, models)
    assert first != await replay(2, models)
    ids = [body["id"] for status, body in first if status == 200]
    assert 0 < len(set(ids)) == len(ids) < 15


async def test_what_happens_to_one_model_does_not_depend_on_the_others() -> None:
    """Each model has its own calls and its own chance: other traffic in between changes nothing."""
    alone = await replay(1, [RANDOM] * 5)
    mixed = await replay(1, [model for _ in range(5) for model in (RANDOM, "other?rate=0.5&status=500")])
    assert mixed[::2] == alone


async def test_a_reset_begins_the_script_again() -> None:
    """After a reset the next call is the first one again."""
    async with simulators({"m": ["answer=first", "answer=second"]}) as (sim,):
        said = []
        for _ in range(2):
            said += [(await exchange(sim, chat("m"))).json["choices"][0]["message"]["content"] for _ in range(3)]
            sim.reset()
        assert said == ["first", "second", "second"] * 2
        assert sim.journal == []
