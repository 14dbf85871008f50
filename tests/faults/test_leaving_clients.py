"""Clients that leave, in whatever phase their request is: every call of it is cut off, and nobody is blamed."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from gateway.api import endpoint
from tests.support.gateways import Running, gateways
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "one\n\ntwo"}]
SCRIPT = {"a": {"answer": "one"}, "b": {"answer": "two"}, "c": {"answer": "three"}}
JUDGE = "[{judge: {by: 'sim/a?silent'}}, priority]"
VOTE = "select: majority"
PHASES = [
    pytest.param(f"targets: ['sim/a?silent', 'sim/b?latency=60', sim/c], {VOTE}", 2, id="a vote waits"),
    pytest.param(f"targets: ['sim/a?silent', 'sim/b?silent'], {VOTE}", 2, id="nobody has answered"),
    pytest.param(f"targets: [sim/a, sim/b], select: {JUDGE}", 2, id="a judge thinks"),
    pytest.param(
        "targets: ['sim/a?silent'], launch: {map: {by: paragraphs, size: 7, parallel: 2}}", 2, id="a part is asked"
    ),
    pytest.param("targets: ['sim/a?silent', sim/b], launch: {initial: 1, stagger: 60s}", 1, id="a hedge is not due"),
    pytest.param("targets: ['sim/a?early=role&ttft=60', 'sim/b?silent']", 2, id="before the first words"),
    pytest.param("targets: ['sim/a?silent', 'sim/b?early=headers&ttft=60'], buffer: full", 2, id="buffered"),
]


async def leave(running: Running, *, stream: bool, calls: int) -> list[bytes]:
    """Ask, wait until so many calls hang at the upstream, and hang up; return what was heard until then."""
    heard: list[bytes] = []

    async def listen() -> None:
        body: dict[str, Any] = {"model": "r", "messages": HELLO, "stream": stream}
        async with running.http.post(f"{running.base_url}/chat/completions", json=body) as response:
            async for piece in response.content.iter_any():
                heard.append(piece)  # noqa: PERF401 -- what came before the end counts

    listening = asyncio.get_running_loop().create_task(listen())
    await eventually(lambda: running.sim.running == calls)
    await asyncio.sleep(0.1)
    assert not listening.done()
    listening.cancel()
    await asyncio.wait({listening})
    return heard


async def nobody_is_left(running: Running) -> None:
    """The upstream has seen every call end, the request is a 499, and none of its targets has failed."""
    await eventually(lambda: running.sim.running == 0)
    await eventually(lambda: running.sample("hedgerow_requests_total", route="r", status="499") == 1)
    failures = [family for family in running.gateway.metrics.registry.collect() if family.name == "hedgerow_failures"]
    assert [sample for family in failures for sample in family.samples if sample.value and "total" in sample.name] == []
    assert running.gateway._bulkhead.in_flight == {"sim": 0}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("route", "calls"), PHASES)
async def test_a_client_that_leaves_takes_every_call_along(
    route: str, calls: int, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While answers are awaited, judged or collected, with comments that keep the connection alive or without."""
    monkeypatch.setattr(endpoint, "KEEP_ALIVE_EVERY", 0.02)
    async with gateways(f"  r: {{{route}}}", SCRIPT) as running:
        heard = b"".join(await leave(running, stream=stream, calls=calls))
        await nobody_is_left(running)
    assert heard == b": keep-alive\n\n" * (len(heard) // 14)
    if stream and ("majority" in route or "priority" in route):
        assert heard, "the client had not heard a comment before it left"


async def test_a_client_that_leaves_while_a_retry_pauses_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No call is made for somebody who has gone."""
    monkeypatch.setattr(sys.modules["gateway.policies.retry"], "FLOOR", 1.0)
    async with gateways("  r: {targets: ['sim/a?status=503'], retries: 3}") as running:
        body = {"model": "r", "messages": HELLO}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await running.post(body)
        await eventually(lambda: running.sample("hedgerow_requests_total", route="r", status="499") == 1)
        await asyncio.sleep(1.2)
        assert len(running.sim.journal) == 1
