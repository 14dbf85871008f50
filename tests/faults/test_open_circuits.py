"""The circuit breaker in a whole gateway, over real sockets: passed over at once, back again, seen in the metrics."""

from __future__ import annotations

import asyncio

import pytest

from gateway.policies import circuit
from tests.support.gateways import Running, gateways
from tests.support.simulators import eventually
from tests.support.stages import CUT, delta, stages

pytestmark = pytest.mark.anyio

ROUTE = "  r: {targets: [sim/bad, sim/good], launch: fallback, retries: 0}"
DOWN = {"status": 503}


async def asked(gateway: Running, times: int) -> list[str]:
    """Ask some times; return which targets the upstream heard of, all of the answers being 200."""
    before = len(gateway.sim.journal)
    for _ in range(times):
        reply = await gateway.post({"model": "r", "messages": [{"role": "user", "content": "Hello"}]})
        assert reply.status == 200
    return [body["model"] for body in gateway.received()[before:]]


def state(gateway: Running) -> float:
    return gateway.sample("hedgerow_breaker_state", target="sim/bad")


def probing(gateway: Running) -> bool:
    known = gateway.gateway.breaker._circuits.get(("sim", "bad"))
    return known is not None and known._probing


async def test_a_target_that_is_down_is_not_asked_any_more() -> None:
    """Five requests find out; the next three reach the second target alone. The gauge says open, and the log."""
    async with gateways(ROUTE, {"bad": [DOWN], "good": {"answer": "Paris"}}) as gateway:
        assert await asked(gateway, 5) == ["bad", "good"] * 5
        assert state(gateway) == 2
        assert await asked(gateway, 3) == ["good"] * 3
        gateway.gateway.log.close()
        assert gateway.written.getvalue().count(b'"event":"breaker"') == 1


async def test_a_target_that_came_back_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its pause two probes close the circuit, beside the next target, and it serves the route alone as before."""
    monkeypatch.setattr(circuit, "PAUSE", 0.0)
    async with gateways(ROUTE, {"bad": [*[DOWN] * 6, {"answer": "Paris"}], "good": {"answer": "Paris"}}) as gateway:
        assert await asked(gateway, 5) == ["bad", "good"] * 5
        for then in (2, 1, 0):
            assert sorted(await asked(gateway, 1)) == ["bad", "good"]
            await eventually(lambda: not probing(gateway))
            assert state(gateway) == then
        assert await asked(gateway, 5) == ["bad"] * 5


@pytest.mark.parametrize("launch", ["fallback", "hedge"])
@pytest.mark.parametrize("stream", [False, True])
async def test_nobody_waits_for_a_silent_target_that_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, launch: str, *, stream: bool
) -> None:
    """The probe says nothing for a minute, the answer comes from the next target meanwhile; one probe is enough."""
    monkeypatch.setattr(circuit, "PAUSE", 0.0)
    route = f"  r: {{targets: [sim/bad, sim/good], launch: {launch}, retries: 0, timeout: 60s, first_token: 60s}}"
    hello = {"model": "r", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
    async with gateways(route, {"bad": [*[DOWN] * 5, {"silent": 60}], "good": {"answer": "Paris"}}) as gateway:
        await asked(gateway, 5)
        async with asyncio.timeout(30):
            for _ in range(3):
                assert (await gateway.post(hello)).status == 200
        assert sorted(body["model"] for body in gateway.received()[10:]) == ["bad", "good", "good", "good"]
        assert state(gateway) == 1
        assert gateway.sample("hedgerow_superseded_total", target="sim/bad") == 1


async def test_a_probe_s_stream_is_closed_at_its_first_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """They say that the target is back; whoever asked has had an answer long since, so no more of it is paid for."""
    monkeypatch.setattr(circuit, "PAUSE", 0.0)
    route = "  r: {targets: [s/bad, sim/good], launch: fallback, retries: 0}"
    hello = {"model": "r", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    async with stages() as stage, gateways(route, head=f"  s: {{api: openai, base_url: '{stage.url}'}}") as gateway:
        stage.say("bad", *[CUT] * 5)
        for _ in range(6):
            assert b"[DONE]" in (await gateway.post(hello)).body
        probes = gateway.gateway.breaker.probes
        await eventually(lambda: len(stage.bodies) == 6)
        assert (len(probes), stage.left["bad"].is_set()) == (1, False)
        stage.say("bad", delta("late"))
        async with asyncio.timeout(10):
            await stage.left["bad"].wait()
        await eventually(lambda: len(probes) == 0)
        assert gateway.sample("hedgerow_attempts_total", target="s/bad", outcome="answered") == 1


async def test_the_only_target_is_asked_in_spite_of_its_circuit() -> None:
    """A route of one target serves again with the first answer that the provider gives."""
    route = "  r: {targets: [sim/bad], retries: 0}"
    async with gateways(route, {"bad": [*[DOWN] * 7, {"answer": "Paris"}]}) as gateway:
        body = {"model": "r", "messages": [{"role": "user", "content": "Hello"}]}
        statuses = [(await gateway.post(body)).status for _ in range(8)]
        assert statuses == [502] * 7 + [200]


async def test_streams_that_break_off_after_their_first_words_count() -> None:
    """Ten streams begin and are cut: the tenth opens the circuit, and the next comes whole from the second target."""
    async with gateways(ROUTE, {"bad": "cut=3&cut_by=fin", "good": {"answer": "Paris"}}) as gateway:
        body = {"model": "r", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        for _ in range(9):
            await gateway.post(body)
        assert state(gateway) == 0
        await gateway.post(body)
        assert state(gateway) == 2
        assert b"[DONE]" in (await gateway.post(body)).body


async def test_a_storm_of_failures_costs_hardly_more_calls_than_requests() -> None:
    """Forty requests at once, all answered 503: at most 1.2 calls each, although the route would retry once."""
    async with gateways("  r: {targets: [sim/bad], retries: 1}", {"bad": [DOWN]}) as gateway:
        body = {"model": "r", "messages": [{"role": "user", "content": "Hello"}]}
        async with asyncio.TaskGroup() as group:
            replies = [group.create_task(gateway.post(body)) for _ in range(40)]
        assert {reply.result().status for reply in replies} == {502}
        assert len(gateway.sim.journal) <= 48
        assert gateway.sample("hedgerow_budget_denied_total", target="sim/bad", what="retry") > 0
