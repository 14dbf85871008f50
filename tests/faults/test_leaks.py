"""What cancelled calls leave behind, which must be nothing: descriptors, tasks, places in pools; and what they cost.

CI plays a share of the repetitions; `HEDGEROW_FULL=1 python -m pytest -rP -m slow tests/faults/test_leaks.py` plays the
10,000 aborted streams and the 100,000 races, and prints the figures of docs/reliability.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp
import psutil
import pytest

from gateway.providers.openai_wire import OpenAIWire
from tests.support.counts import FULL, times
from tests.support.gateways import Running, gateways
from tests.support.naive import naive_proxies
from tests.support.simulators import SimulatorProcess, eventually, hang_up, simulator_process

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(3600 if FULL else 300)]

LANES = 40
ABORTED = times(2_000, 10_000)
RACES = times(2_000, 100_000)
ROUNDS = 15
MEMORY = 16_384
"""Bytes of this process, the clients' included, that one more aborted stream may add while the heap still settles."""
SLACK = {"descriptors": 5, "tasks": 5}
"""What comes and goes by itself: timers of the pool, the sampling thread. Of places, none may be missing."""
HELLO = [{"role": "user", "content": "Say something."}]


@pytest.fixture(scope="module")
def far() -> Iterator[SimulatorProcess]:
    """An upstream whose own descriptors and tasks are not counted with the gateway's."""
    with simulator_process() as sim:
        yield sim


def head(sim: SimulatorProcess) -> str:
    return f"  far: {{api: openai, base_url: '{sim.base_url}', api_key: k, concurrency: 10000}}"


def held(running: Running) -> dict[str, int]:
    """What the gateway holds: descriptors and tasks of this process, its places in the bulkhead and in the pool."""
    gc.collect()
    wire = running.gateway._providers["far"]
    assert isinstance(wire, OpenAIWire)
    session = wire._upstream.open()
    assert session.connector is not None
    idle = sum(map(len, session.connector._conns.values()))
    return {
        # An idle connection is kept on purpose: it is no leak, and there are never more than were in use at once.
        "descriptors": psutil.Process().num_fds() - idle,
        "tasks": len(asyncio.all_tasks()),
        "places": running.gateway._bulkhead.in_flight["far"],
        "connections": len(session.connector._acquired),
        "requests": sum(route.in_flight for route in running.gateway.metrics._routes.values()),
    }


def free(now: dict[str, int], before: dict[str, int] | None = None) -> bool:
    """Whether nothing is held but what was held before."""
    return all(
        count <= before[name] + SLACK[name] if before and name in SLACK else name in SLACK or not count
        for name, count in now.items()
    )


async def in_lanes(work: Callable[[int], Awaitable[None]], count: int) -> None:
    """Do `work` so many times, LANES at once."""
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane())


@asynccontextmanager
async def connections(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def request(model: str, *, stream: bool) -> bytes:
    body = json.dumps({"model": model, "stream": stream, "messages": HELLO}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


KINDS = [("live", True), ("live", True), ("rescued", True), ("late", True), ("vote", True), ("vote", False)]
"""Routes that are left: in the middle of a stream (twice as often), with siblings behind it, before its first words,
and while whole answers are awaited."""
ROUTES = """
  live: {targets: ['far/a?gap=0.01&tokens=100000', 'far/b?ttft=0.05&gap=0.01&tokens=100000']}
  rescued: {standby: warm, targets: ['far/a?gap=0.01&tokens=100000', 'far/b?gap=0.01&tokens=100000']}
  late: {targets: ['far/a?silent', 'far/b?early=role&ttft=60']}
  vote: {targets: ['far/a?latency=60', 'far/b?latency=60', far/c], select: majority}
"""


async def leave(url: str, number: int) -> None:
    """Ask, and hang up: with a reset or a FIN, after some of the stream or before anything has come."""
    model, stream = KINDS[number % len(KINDS)]
    async with connections(url) as (reader, writer):
        writer.write(request(model, stream=stream))
        if model in {"live", "rescued"}:
            await reader.readuntil(b'"content":"')
        else:
            await asyncio.sleep(0.01)
        if number % 2:
            hang_up(writer)


async def test_streams_that_clients_abort_leave_nothing_behind(far: SimulatorProcess) -> None:
    """Thousands of them, in every phase: descriptors, tasks and places are back at their baseline, and all is quiet."""
    async with gateways(ROUTES, head=head(far)) as running:
        await in_lanes(lambda number: leave(running.url, number), 10 * LANES)
        await eventually(lambda: free(held(running)))
        before, began = held(running), time.monotonic()
        await in_lanes(lambda number: leave(running.url, number), ABORTED // 2)
        await eventually(lambda: free(held(running), before))
        middle = psutil.Process().memory_info().rss
        await in_lanes(lambda number: leave(running.url, number), ABORTED // 2)
        took = time.monotonic() - began
        await eventually(lambda: free(held(running), before))
        after = held(running)
        grown = (psutil.Process().memory_info().rss - middle) / (ABORTED // 2)
        left = sum(running.sample("hedgerow_requests_total", route=route, status="499") for route, _ in set(KINDS))
        failed = [
            running.sample("hedgerow_attempts_total", route=route, target=target.name, outcome=outcome)
            for route in ("live", "rescued", "late", "vote")
            for target in running.gateway.settings.routes[route].targets
            for outcome in ("transient", "timeout", "truncated", "unknown")
        ]
    figures = f"before {before}, after {after}, {grown:.0f} bytes of memory each in the second half"
    print(f"{ABORTED} aborted streams in {took:.0f} s: {figures}")  # noqa: T201
    assert free(after, before)
    assert left >= ABORTED
    assert grown < MEMORY
    assert sum(failed) == 0
    await eventually(lambda: _running(far) == 0)


def _running(sim: SimulatorProcess) -> int:
    return sum(
        account["calls"] - account["completed"] - account["disconnected"] - account["reset"]
        for account in sim.ledger().values()
    )


async def test_a_naive_proxy_goes_on_when_its_clients_have_left(far: SimulatorProcess) -> None:
    """The control: its upstream calls run on, and with them its tasks and its descriptors."""
    async with naive_proxies(far.base_url, "a?ttft=60") as naive:
        before, busy = len(asyncio.all_tasks()), _running(far)
        for _ in range(2 * SLACK["tasks"]):
            async with connections(naive) as (_, writer):
                writer.write(request("a", stream=True))
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        assert _running(far) - busy > SLACK["tasks"]
        assert len(asyncio.all_tasks()) > before + SLACK["tasks"]


async def test_losers_of_races_cost_no_place_in_any_pool(far: SimulatorProcess) -> None:
    """Race after race, each cancels two calls: none fails or waits for a place, and none is taken when all is over.

    The three have a bulkhead that is only just large enough: a place that leaked would soon be missed.
    """
    tight = head(far).replace("concurrency: 10000", f"concurrency: {4 * LANES}")
    routes = "  race: {targets: ['far/a?silent', far/b, 'far/c?early=headers&ttft=60'], retries: 0}"
    outcomes: Counter[str] = Counter()
    async with gateways(routes, head=tight) as running:

        async def race(number: int) -> None:
            reply = await running.post({"model": "race", "stream": number % 2 == 0, "messages": HELLO})
            outcomes[f"{reply.status} {reply.headers['x-hedgerow-target']}"] += 1

        await in_lanes(race, 5 * LANES)
        before, began = held(running), time.monotonic()
        await in_lanes(race, RACES)
        took = time.monotonic() - began
        await eventually(lambda: free(held(running), before))
        after = held(running)
        full = running.sample("hedgerow_failures_total", route="race", target="far/b", kind="bulkhead_full")
    print(f"{RACES} races in {took:.0f} s: {dict(outcomes)}, before {before}, after {after}")  # noqa: T201 -- the figures
    assert outcomes == {"200 far/b": RACES + 5 * LANES}
    assert free(after, before)
    assert full == 0


async def rounds_survived(ask: Callable[[str], Awaitable[object]]) -> int:
    """Cancel 800 calls a round, at any moment of their lives; return after how many rounds 20 calls still came through.

    How many places a round takes depends on the machine, so a client that loses some gets the time to lose them all.
    """
    chance = random.Random(1)  # noqa: S311 -- repeatable

    async def cut() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0, 0.05)):
                await ask("a?latency=0.05")

    async def whole() -> bool:
        try:
            async with asyncio.timeout(5):
                await ask("b")
        except Exception:  # noqa: BLE001 -- whatever a client says when its pool is full
            return False
        return True

    for survived in range(ROUNDS):
        for _ in range(20):
            async with asyncio.TaskGroup() as group:
                for _ in range(40):
                    group.create_task(cut())
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(whole()) for _ in range(20)]
        if not all(task.result() for task in asked):
            return survived
    return ROUNDS


async def test_the_client_that_the_gateway_uses_survives_what_httpx_does_not(far: SimulatorProcess) -> None:
    """The control: with places for ten, cancelled calls take all of httpx 0.28's for ever (encode/httpcore#1093)."""
    httpx, url = pytest.importorskip("httpx", "0.28"), f"{far.base_url}/chat/completions"

    def body(model: str) -> dict[str, object]:
        return {"model": model, "messages": HELLO}

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=10)) as session:

        async def ask(model: str) -> None:
            async with session.post(url, json=body(model)) as answer:
                await answer.read()

        assert await rounds_survived(ask) == ROUNDS
    limits, timeout = httpx.Limits(max_connections=10), httpx.Timeout(60, pool=1)
    async with httpx.AsyncClient(limits=limits, timeout=timeout) as client:
        assert await rounds_survived(lambda model: client.post(url, json=body(model))) < ROUNDS
