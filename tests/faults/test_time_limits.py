"""Time limits over real sockets: the first words, the silence between events, and what the client itself waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import fanin
from gateway.domain import Launch, Route, Target
from gateway.engine.plan import plan
from tests.support.gateways import Reply, Running, gateways
from tests.support.naive import naive_proxies

pytestmark = pytest.mark.anyio

RIGHT = "The answer is three hundred and ninety one."
SCRIPT = {"good": {"answer": RIGHT}, "bad": {"answer": RIGHT, "gap": 0.002}}
STAGED = "targets: [{{model: 'sim/bad?{}', first_token: {}}}, sim/good], launch: fallback, retries: 2"


async def ask(running: Running, *, stream: bool = False, **headers: str) -> Reply:
    body: dict[str, Any] = {"model": "r", "messages": [{"role": "user", "content": "17 * 23?"}], "stream": stream}
    async with asyncio.timeout(5):
        return await running.post(body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def tried(running: Running) -> int:
    return sum(body["model"].startswith("bad") for body in running.received())


@pytest.mark.parametrize(
    "words", ["silent", "early=headers&ttft=60", "early=role&ttft=60", "early=role&ttft=60&ping=0.02"]
)
async def test_a_stream_without_words_is_left_for_the_next_target_and_not_tried_again(words: str) -> None:
    """Headers, roles and pings are no words, and nobody waits for a whole minute; a plain proxy waits on."""
    async with gateways(f"  r: {{{STAGED.format(words, '300ms')}}}", SCRIPT) as running:
        reply = await ask(running, stream=True)
        assert (reply.headers["x-hedgerow-target"], b"[DONE]" in reply.body) == ("sim/good", True)
        assert tried(running) <= 1  # on a busy machine the time may be over before the provider has read a word
        assert running.sample("hedgerow_attempts_total", route="r", target=f"sim/bad?{words}", outcome="timeout") == 1
        async with naive_proxies(running.sim.base_url, f"bad?{words}") as naive:
            body = {"model": "r", "messages": [{"role": "user", "content": "17 * 23?"}], "stream": True}
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.4), running.http.post(f"{naive}/chat/completions", json=body) as answer:
                    await answer.read()


async def test_a_whole_answer_is_not_held_to_the_limit_for_first_words() -> None:
    """Without streaming all words come at once, at the end."""
    async with gateways(f"  r: {{{STAGED.format('latency=0.3', '100ms')}}}", SCRIPT) as running:
        assert (await ask(running)).headers["x-hedgerow-target"] == "sim/bad?latency=0.3"
        assert (await ask(running, stream=True)).headers["x-hedgerow-target"] == "sim/good"


async def test_each_target_has_its_own_limit_of_silence_between_events() -> None:
    """The same pause of 400 ms is a stall for the one and thinking for the other; pings do not end it."""
    pausing = "sim/bad?stall=0.4&stall_at=3&ping=0.05"
    routes = (
        f"  r: {{targets: [{{model: '{pausing}', idle: 100ms}}]}}\n"
        f"  patient: {{targets: [{{model: '{pausing}', idle: 2s}}], idle: 100ms}}"
    )
    async with gateways(routes, SCRIPT) as running:
        broken = (await ask(running, stream=True)).body.decode()
        assert "the stream fell silent for 0.1 s" in broken
        assert "[DONE]" not in broken
        body = {"model": "patient", "messages": [{"role": "user", "content": "17 * 23?"}], "stream": True}
        assert "[DONE]" in (await running.post(body)).body.decode()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_gets_an_answer_before_its_own_patience_ends(stream: bool) -> None:
    """It says how long it waits; at that time minus a margin it gets the error, with every branch in it."""
    async with gateways("  r: {targets: ['sim/bad?silent', 'sim/good?ttft=60'], deadline: 60s}", SCRIPT) as running:
        reply = await ask(running, stream=stream, x_request_timeout_ms="300")
    assert (reply.status, reply.json["error"]["code"]) == (504, "deadline_exceeded")
    assert all(150 <= branch["ms"] <= 300 for branch in reply.json["error"]["hedgerow"]["branches"])


async def test_what_has_arrived_when_the_client_s_patience_ends_is_what_it_gets() -> None:
    """A vote that misses one of its three decides on two."""
    targets = "[sim/good, {model: sim/good, name: again}, 'sim/bad?silent']"
    async with gateways(f"  r: {{targets: {targets}, select: {{defer: majority}}, deadline: 60s}}", SCRIPT) as running:
        reply = await ask(running, x_request_timeout_ms="300")
    assert (reply.status, reply.headers["x-hedgerow-branches"]) == (200, "2/3")


@pytest.mark.parametrize("given", ["soon", "0", "-5", "1.5", "1e3", "", "9" * 30])
async def test_a_limit_that_cannot_be_read_is_refused_by_its_name(given: str) -> None:
    """Guessing would be wrong in one direction or the other."""
    async with gateways("  r: {targets: [sim/good]}", SCRIPT) as running:
        reply = await ask(running, x_request_timeout_ms=given)
    assert (reply.status, reply.json["error"]["param"]) == (400, "x-request-timeout-ms")
    assert f"{given[:40]!r}, expected a whole number of milliseconds" in reply.json["error"]["message"]


def test_the_shortest_limit_counts_and_a_margin_is_kept_from_the_client_s() -> None:
    """The route's deadline, the client's less 50 ms, and half of one that is shorter than that."""
    route = Route("r", (Target("a", "p", "m"),), Launch(), fanin.first(), deadline=20.0)
    deadlines = [plan(route, stream=False, now=100.0, limit=limit).deadline for limit in (5.0, 0.06, 20.02, 600.0)]
    assert deadlines == pytest.approx([104.95, 100.03, 119.97, 120.0])
    assert plan(route, stream=False, now=100.0).deadline == 120.0
