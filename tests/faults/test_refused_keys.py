"""Keys that a provider refuses: disabled at once, told to the operator once, never the client's own 401."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.domain import ChatRequest, Failure, FailureKind, Outcome, Target
from gateway.engine.events import KeyDisabled, KeyEnabled
from gateway.policies import Credentials, credentials
from tests.support.clock import run
from tests.support.gateways import Reply, Running, gateways
from tests.support.naive import naive_proxies

pytestmark = pytest.mark.anyio

RIGHT = "391"
SECOND = "  sim2: {api: openai, base_url: '{sim}', api_key: sk-second-canary}"


async def ask(running: Running, model: str = "r") -> Reply:
    return await running.post({"model": model, "messages": [{"role": "user", "content": "17 * 23?"}]})


def told(running: Running) -> list[dict[str, str]]:
    """What the log says about keys, beside the lines of requests."""
    running.gateway.log.close()
    lines = [json.loads(line) for line in running.written.getvalue().splitlines()]
    return [line for line in lines if line["event"].startswith("provider.")]


def tried(running: Running, model: str) -> int:
    return sum(body["model"].startswith(model) for body in running.received())


REFUSALS = ["status=401", "status=402", "error=credit", "error=quota"]


@pytest.mark.parametrize("words", REFUSALS)
async def test_a_refused_key_is_not_used_again_for_any_model_of_its_provider(words: str) -> None:
    """One call finds out; others serve without a call to it, also on other routes; the operator is told once."""
    routes = (
        f"  r: {{targets: ['sim/bad?{words}', sim2/good], launch: fallback, retries: 2}}\n"
        "  alone: {targets: [sim/good]}"
    )
    async with gateways(routes, {"good": {"answer": RIGHT}}, head=SECOND) as running:
        for _ in range(3):
            reply = await ask(running)
            assert (reply.status, reply.headers["x-hedgerow-target"]) == (200, "sim2/good")
        assert tried(running, "bad") == 1
        alone = await ask(running, "alone")
        assert (alone.status, alone.json["error"]["code"]) == (502, "upstream_credentials_refused")
        assert "canary" not in alone.body.decode()
        assert [(line["event"], line["level"], line["provider"]) for line in told(running)] == [
            ("provider.key_disabled", "error", "sim")
        ]
        reason = "credential" if words == "status=401" else "quota"
        assert running.sample("hedgerow_key_disabled", provider="sim", reason=reason) == 1
        async with naive_proxies(running.sim.base_url, f"bad?{words}") as naive:
            body = {"model": "r", "messages": [{"role": "user", "content": "17 * 23?"}]}
            for _ in range(2):
                async with running.http.post(f"{naive}/chat/completions", json=body) as answer:
                    assert answer.status in {400, 401, 402, 429}  # the client takes it for its own fault
        assert tried(running, "bad") == 3


async def test_a_403_concerns_the_model_it_was_said_about() -> None:
    """It speaks of what the key may do, or a firewall says it about one prompt: other models are asked as before."""
    words = "status=403&error_shape=none"
    async with gateways(f"  r: {{targets: ['sim/bad?{words}']}}\n  alone: {{targets: [sim/good]}}") as running:
        assert [(await ask(running)).status for _ in range(2)] == [502, 502]
        assert tried(running, "bad") == 1
        assert (await ask(running, "alone")).status == 200


async def test_one_call_tries_a_refused_key_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was paid for meanwhile: the first call after the pause finds out, and everybody is served again."""
    monkeypatch.setattr(credentials, "PAUSE", 0.2)
    async with gateways("  r: {targets: ['sim/bad?status=402&first=1']}") as running:
        assert (await ask(running)).json["error"]["code"] == "upstream_credentials_refused"
        await asyncio.sleep(0.25)
        assert [(await ask(running)).status for _ in range(2)] == [200, 200]
        assert running.sample("hedgerow_key_disabled", provider="sim", reason="quota") == 0
        assert [line["event"] for line in told(running)] == ["provider.key_disabled", "provider.key_enabled"]


def test_a_configuration_that_changes_a_provider_has_its_key_tried_again() -> None:
    """Of a provider that stays the same, what is known stays known."""
    heard: list[object] = []
    keys = Credentials(heard.append)
    target = Target("a", "p", "m")
    calls = 0

    async def refused(asked: Target, request: ChatRequest, deadline: float) -> Outcome:
        nonlocal calls
        calls += 1
        return Failure(asked.name, FailureKind.CREDENTIAL, "refused", status=401)

    async def main() -> None:
        call = keys(refused)
        for unchanged in (["p"], ["p"], [], ["p"]):
            keys.take_over(unchanged, heard.append)
            await call(target, ChatRequest("1", "r", {}), 60)

    run(main())
    assert calls == 2
    assert heard == [KeyDisabled("p", "credential"), KeyEnabled("p"), KeyDisabled("p", "credential")]
