"""Several keys of one provider: calls take turns, and what one key may not have is had with the next."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.domain import Candidate, ChatRequest, Failure, FailureKind, Outcome, Target
from gateway.policies import Keys
from tests.support.clock import run
from tests.support.gateways import Running, gateways

pytestmark = pytest.mark.anyio

PAIR = "  pair: {api: openai, base_url: '{sim}', api_key: [sk-canary-one, sk-canary-two]}"
ONE, TWO = "Bearer sk-canary-one", "Bearer sk-canary-two"


async def asked(running: Running, count: int, *, stream: bool = False) -> list[int]:
    body = {"model": "r", "stream": stream, "messages": [{"role": "user", "content": "17 * 23?"}]}
    return [(await running.post(body)).status for _ in range(count)]


def used(running: Running) -> list[str]:
    """The keys with which the upstream was asked, in order."""
    return [entry.headers["authorization"] for entry in running.sim.journal]


async def test_calls_take_turns_with_the_keys() -> None:
    """So that the limits of all keys are there for everybody."""
    async with gateways("  r: {targets: [pair/m]}", head=PAIR) as running:
        assert await asked(running, 4) == [200] * 4
        assert used(running) == [ONE, TWO, ONE, TWO]


@pytest.mark.parametrize("words", ["status=401", "status=402", "error=credit"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refused_key_leaves_the_others_in_use(words: str, *, stream: bool) -> None:
    """The request in which it comes out is answered, too; the operator is told which key, and never the key."""
    routes = f"  r: {{targets: ['pair/m?{words}&first=1'], retries: 0}}"
    async with gateways(routes, head=PAIR) as running:
        assert await asked(running, 3, stream=stream) == [200] * 3
        assert used(running) == [ONE, TWO, TWO, TWO]
        reason = "credential" if words == "status=401" else "quota"
        assert running.sample("hedgerow_key_disabled", provider="pair", reason=reason) == 1
        assert running.sample("hedgerow_key_disabled", provider="pair#2") == 0
        running.gateway.log.close()
        written = running.written.getvalue().decode()
        told = [json.loads(line) for line in written.splitlines()]
        assert [line["provider"] for line in told if line["event"] == "provider.key_disabled"] == ["pair"]
        assert "canary" not in written


@pytest.mark.parametrize("words", ["status=429&retry_after=30", "status=429"])
async def test_the_next_key_is_used_while_one_is_limited(words: str) -> None:
    """At once: nobody waits for the Retry-After of one key while there is another."""
    async with gateways(f"  r: {{targets: ['pair/m?{words}&first=1']}}", head=PAIR) as running:
        assert await asked(running, 1) == [200]
        assert used(running) == [ONE, TWO]


async def test_where_every_key_is_limited_the_client_learns_so() -> None:
    """A 429 with a Retry-After, although another key was refused for good."""
    script = {"m": [{"status": 401}, {"status": 429, "retry_after": 30}]}
    async with gateways("  r: {targets: [pair/m], retries: 0}", script, head=PAIR) as running:
        assert await asked(running, 2) == [429, 429]


def test_the_failure_that_passes_soonest_is_the_one_that_counts() -> None:
    """Of three keys one is refused, and the others want to be left alone for some time."""
    failures = {
        "p": Failure("a", FailureKind.RATE_LIMITED, "limited", 60.0),
        "p#2": Failure("a", FailureKind.CREDENTIAL, "refused"),
        "p#3": Failure("a", FailureKind.RATE_LIMITED, "limited", 20.0),
    }

    async def call(target: Target, request: ChatRequest, deadline: float) -> Outcome:
        return failures[target.provider]

    async def main() -> list[Outcome]:
        guarded = Keys({"p": list(failures)})(call)
        return [await guarded(Target("a", "p", "m"), ChatRequest("1", "r", {}), 60) for _ in range(3)]

    assert run(main()) == [failures["p#3"]] * 3


def test_what_is_not_the_key_s_fault_is_not_tried_with_another() -> None:
    """An upstream that is down is down for every key; retries and the other targets are for that."""
    calls: list[str] = []

    async def call(target: Target, request: ChatRequest, deadline: float) -> Outcome:
        calls.append(target.provider)
        return Failure(target.name, FailureKind.TRANSIENT, "503")

    async def main() -> None:
        guarded = Keys({"p": ["p", "p#2"]})(call)
        await guarded(Target("a", "p", "m"), ChatRequest("1", "r", {}), 60)

    run(main())
    assert calls == ["p"]


def test_providers_with_one_key_pay_nothing() -> None:
    """Without several keys no call goes through here."""

    async def call(target: Target, request: ChatRequest, deadline: float) -> Outcome:
        await asyncio.sleep(0)
        return Candidate(target.name, "x")

    assert Keys({})(call) is call
