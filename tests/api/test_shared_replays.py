"""`Idempotency-Key` over several processes with a real Redis between them: carried out once, never held up by it."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from gateway import config
from gateway.api import shared_replays
from gateway.api.shared_replays import Kept, SharedReplays
from gateway.app import Gateway
from gateway.config import ConfigError
from gateway.observe.log import Log
from gateway.providers.simulator import Simulator
from gateway.serving.loopback import serving
from tests.support.gateways import Running, nothing_blocks
from tests.support.redises import RedisServer, needs_redis, redis_server

pytestmark = [pytest.mark.anyio, needs_redis]

BODY = {"model": "one", "messages": [{"role": "user", "content": "Hello"}]}
KEY = {"idempotency-key": "order-1"}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with redis_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no fault of Redis's."""
    monkeypatch.setattr(shared_replays, "PATIENCE", 10.0)


@asynccontextmanager
async def two(redis: RedisServer, model: str = "a?latency=0.2") -> AsyncIterator[tuple[Running, Running]]:
    """Two gateways that share one Redis and one simulated provider."""
    async with Simulator() as sim, AsyncExitStack() as stack:
        text = f"providers: {{sim: {{api: openai, base_url: '{sim.base_url}'}}}}\nredis: {redis.url}\n"
        settings = config.parse(text + f"routes: {{one: {{targets: ['sim/{model}'], retries: 0}}}}\n", {})
        written = [io.BytesIO(), io.BytesIO()]
        built = [Gateway(settings, Log(each, [])) for each in written]
        http = await stack.enter_async_context(aiohttp.ClientSession())
        urls = [await stack.enter_async_context(serving(gateway.asgi)) for gateway in built]
        with nothing_blocks:
            first, second = (Running(url, built[n], sim, written[n], http, stack) for n, url in enumerate(urls))
            yield first, second


@pytest.mark.parametrize("stream", [False, True])
async def test_another_process_gives_the_same_response(redis: RedisServer, stream: bool) -> None:
    """Bytes and headers, said to be a replay; the upstream is called once."""
    async with two(redis) as (first, second):
        made = await first.post({**BODY, "stream": stream}, headers=KEY)
        again = await second.post({**BODY, "stream": stream}, headers=KEY)
        assert len(first.sim.journal) == 1

    assert (made.status, again.status, again.body) == (200, 200, made.body)
    assert again.headers["content-type"] == made.headers["content-type"]
    assert "idempotent-replayed" not in made.headers
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_request_in_flight_elsewhere_is_waited_for(redis: RedisServer) -> None:
    """Both clients ask at once, at two processes: one call, one answer for both."""
    async with two(redis) as (first, second):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(running.post(BODY, headers=KEY)) for running in (first, second)]
        replies = [task.result() for task in tasks]
        assert len(first.sim.journal) == 1

    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].body == replies[1].body


async def test_another_request_under_the_same_key_is_refused_everywhere(redis: RedisServer) -> None:
    """422 without a word of the first request, also while that is in flight."""
    async with two(redis) as (first, second):
        async with asyncio.TaskGroup() as group:
            group.create_task(first.post(BODY, headers=KEY))
            while not first.sim.journal:  # noqa: ASYNC110 -- the simulator says it in its journal only
                await asyncio.sleep(0.01)
            meanwhile = await second.post({**BODY, "temperature": 1}, headers=KEY)
        after = await second.post({**BODY, "temperature": 1}, headers=KEY)
        assert len(first.sim.journal) == 1

    for refused in (meanwhile, after):
        assert refused.status == 422
        assert refused.json["error"]["code"] == "idempotency_key_reused"


async def test_a_failure_frees_the_key_for_another_process(redis: RedisServer) -> None:
    """What another try may better is not kept, and its claim does not hold up that try."""
    async with two(redis, "a?status=503") as (first, second):
        replies = [await first.post(BODY, headers=KEY), await second.post(BODY, headers=KEY)]
        assert len(first.sim.journal) == 2

    assert all(reply.status >= 500 for reply in replies)
    assert all("idempotent-replayed" not in reply.headers for reply in replies)


async def test_a_frozen_redis_costs_three_short_waits_and_no_request(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three questions without an answer none is asked for a while; then it is found again by itself."""
    async with two(redis, "a") as (first, second):
        redis.freeze()
        with monkeypatch.context() as frozen:
            frozen.setattr(shared_replays, "PATIENCE", 0.1)
            for n in range(6):
                assert (await first.post(BODY, headers={"idempotency-key": f"k{n}"})).status == 200
        assert _said(first, "redis.silent") == 1
        monkeypatch.setattr(shared_replays, "PAUSE", 0.0)
        redis.thaw()
        assert first.gateway.asgi.replays.shared is not None
        first.gateway.asgi.replays.shared._resume_at = 1e-9
        await first.post(BODY, headers=KEY)
        assert _said(first, "redis.back") == 1
        assert (await second.post(BODY, headers=KEY)).headers["idempotent-replayed"] == "true"


def _said(running: Running, event: str) -> int:
    running.gateway.log.close()
    return sum(json.loads(line)["event"] == event for line in running.written.getvalue().splitlines())


async def test_a_claim_dies_with_its_process_and_lives_as_long_as_it(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a process that was killed, and nobody repeats what is still being done."""
    monkeypatch.setattr(shared_replays, "CLAIMED_FOR", 1.5)
    killed, other = (SharedReplays(redis.url, 60.0, lambda _: None) for _ in range(2))
    assert await killed.find(b"k", b"d") is None
    assert await other.find(b"k", b"d") is None
    async with asyncio.TaskGroup() as group, other.holding(b"k"):
        waiting = group.create_task(killed.find(b"k", b"d"))
        await asyncio.sleep(2)
        assert not waiting.done()
        await other.keep(b"k", b"d", 200, [(b"a", b"b")], b"body")
    kept = waiting.result()
    assert isinstance(kept, Kept)
    assert (kept.status, kept.headers, kept.body) == (200, [(b"a", b"b")], b"body")
    await killed.aclose()
    await other.aclose()


def test_a_wrong_address_is_told_without_its_password() -> None:
    """The fault names the key and what was expected."""
    with pytest.raises(ConfigError) as caught:
        config.parse(
            "redis: 'http://:pass-canary@h'\nproviders: {o: {api_key: k}}\nroutes: {r: {targets: [o/m]}}\n", {}
        )
    assert "redis: " in str(caught.value)
    assert "redis://127.0.0.1:6379/0" in str(caught.value)
    assert "pass-canary" not in str(caught.value)
