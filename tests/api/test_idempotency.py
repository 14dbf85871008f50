"""`Idempotency-Key`: what comes twice is carried out and billed once."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from gateway.api import replays
from tests.support.gateways import Running, gateways

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Hello"}]
SLOW = "  one: {targets: ['sim/a?latency=0.2'], retries: 0}"
KEY = {"idempotency-key": "order-1"}


def _body(**more: object) -> dict[str, object]:
    return {"model": "one", "messages": HELLO, **more}


async def test_the_same_key_and_body_get_the_stored_response() -> None:
    """One upstream call, the same bytes, and a header that says so; the id is the request's own."""
    async with gateways(SLOW) as running:
        first = await running.post(_body(), headers=KEY)
        second = await running.post(_body(), headers={**KEY, "x-request-id": "again"})
        assert len(running.sim.journal) == 1

    assert first.status == second.status == 200
    assert first.body == second.body
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] == "again"
    assert second.headers["x-hedgerow-target"] == first.headers["x-hedgerow-target"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_joins_the_one_in_flight(stream: bool) -> None:
    """Three at once are one call; a stream is followed from its beginning."""
    async with gateways(SLOW) as running:
        replies = await _at_once(running, 3, _body(stream=stream))
        assert len(running.sim.journal) == 1

    assert {reply.body for reply in replies} == {replies[0].body}
    assert sorted("idempotent-replayed" in reply.headers for reply in replies) == [False, True, True]
    assert not stream or replies[0].body.endswith(b"data: [DONE]\n\n")


async def _at_once(running: Running, count: int, body: object) -> list[object]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(running.post(body, headers=KEY)) for _ in range(count)]
    return [task.result() for task in tasks]


async def test_a_client_that_gave_up_and_comes_back_pays_once() -> None:
    """The call goes on without its client, whose retry finds it or its answer."""
    async with gateways(SLOW) as running:
        with pytest.raises(TimeoutError):
            await running.post(_body(), headers=KEY, timeout=aiohttp.ClientTimeout(total=0.05))
        reply = await running.post(_body(), headers=KEY)
        [entry] = running.sim.journal

    assert (reply.status, entry.outcome) == (200, "completed")


async def test_the_same_key_with_another_body_is_refused() -> None:
    """422, by the draft standard; nothing is sent upstream, and no word of the first request gets out."""
    async with gateways(SLOW) as running:
        await running.post(_body(), headers=KEY)
        refused = await running.post(_body(temperature=1), headers=KEY)
        assert len(running.sim.journal) == 1

    assert refused.status == 422
    assert refused.json["error"]["code"] == "idempotency_key_reused"


async def test_the_same_key_of_two_clients_is_two_keys() -> None:
    """The store is parted by the client's key: two upstream calls."""
    keys = {"web": "f6c1b0d7e2a94853b1c7d6e5f4a39281", "app": "0b9e8d7c6a5f4e3d2c1b0a9f8e7d6c5b"}
    async with gateways(SLOW, head=f"keys: {json.dumps(keys)}") as running:
        for key in keys.values():
            reply = await running.post(_body(), headers={**KEY, "authorization": f"Bearer {key}"})
            assert reply.status == 200
            assert "idempotent-replayed" not in reply.headers
        assert len(running.sim.journal) == 2


async def test_a_failure_that_may_pass_is_not_kept() -> None:
    """A 502 is no answer to replay: the retry is a new call; a 400 is one."""
    routes = "  one: {targets: [sim/a], retries: 0}"
    async with gateways(routes, {"a": [{"status": 500}, {"answer": "Paris"}]}) as running:
        statuses = [(await running.post(_body(), headers=KEY)).status for _ in range(2)]
        wrong = [(await running.post({"model": "one"}, headers={"idempotency-key": "2"})) for _ in range(2)]

    assert statuses == [502, 200]
    assert [reply.status for reply in wrong] == [400, 400]
    assert "idempotent-replayed" in wrong[1].headers


async def test_what_is_kept_has_an_end_and_a_bound() -> None:
    """After ten minutes a key is free again; beyond the room the oldest response goes."""
    now = 0.0
    async with gateways("  one: {targets: [sim/a]}") as running:
        running.gateway.asgi.replays = store = replays.Replays(lambda: now, room=10_000)
        for number in range(9):
            await running.post(_body(), headers={"idempotency-key": f"k{number}"})
        assert store._used <= 10_000
        assert 1 < len(store._entries) < 9
        calls = len(running.sim.journal)
        assert "idempotent-replayed" in (await running.post(_body(), headers={"idempotency-key": "k8"})).headers
        now = replays.KEPT_FOR
        assert "idempotent-replayed" not in (await running.post(_body(), headers={"idempotency-key": "k8"})).headers
        assert len(running.sim.journal) == calls + 1
        assert len(store._entries) == 1


async def test_a_key_that_is_none_is_refused() -> None:
    """Empty or longer than 255 characters."""
    async with gateways(SLOW) as running:
        for key in ("", "x" * 256):
            assert (await running.post(_body(), headers={"idempotency-key": key})).status == 400
        assert running.sim.journal == []
