"""What the client is told when every target fails, and whom a failure sends its request to next."""

from __future__ import annotations

import json

import pytest

from gateway.domain import Failure, FailureKind
from gateway.domain import FailureKind as K
from gateway.errors import AllTargetsFailed
from tests.support.gateways import Reply, Running, gateways
from tests.support.naive import naive_proxies

pytestmark = pytest.mark.anyio

RIGHT = "391"
CANARY = "sk-canary-0123456789abcdef"
SECRETS = (CANARY, "10.1.2.3", "internal", "provider-canary", "127.0.0.1")


async def ask(running: Running, model: str = "r", *, stream: bool = False) -> Reply:
    messages = [{"role": "user", "content": "17 * 23?"}]
    return await running.post({"model": model, "messages": messages, "stream": stream})


MIXED = [
    ((K.CALLER_FAULT, K.CONTEXT_LENGTH), 400, "all_targets_refused"),
    ((K.CALLER_FAULT, K.TRANSIENT), 502, "all_targets_failed"),
    ((K.CALLER_FAULT, K.CREDENTIAL), 400, "all_targets_refused"),
    ((K.FILTERED, K.QUOTA, K.MODEL_GONE), 400, "all_targets_refused"),
    ((K.CALLER_FAULT, K.RATE_LIMITED), 502, "all_targets_failed"),
    ((K.RATE_LIMITED, K.RATE_LIMITED), 429, "rate_limit_exceeded"),
    ((K.RATE_LIMITED, K.CREDENTIAL), 429, "rate_limit_exceeded"),
    ((K.RATE_LIMITED, K.TRANSIENT), 503, "overloaded"),
    ((K.RATE_LIMITED, K.TIMEOUT, K.CIRCUIT_OPEN), 503, "overloaded"),
    ((K.RATE_LIMITED, K.MALFORMED), 502, "all_targets_failed"),
    ((K.TRANSIENT, K.TRANSIENT), 502, "all_targets_failed"),
    ((K.TIMEOUT, K.STALLED, K.CREDENTIAL), 504, "deadline_exceeded"),
    ((K.CREDENTIAL, K.QUOTA), 502, "upstream_credentials_refused"),
    ((K.CREDENTIAL, K.MODEL_GONE), 502, "all_targets_failed"),
    ((K.UNKNOWN,), 502, "all_targets_failed"),
]


@pytest.mark.parametrize(("kinds", "status", "code"), MIXED)
def test_the_status_is_the_one_that_helps_the_client_most(
    kinds: tuple[FailureKind, ...], status: int, code: str
) -> None:
    """What only the operator can mend says nothing about the request; a 400 counts where nothing else may pass."""
    fused = AllTargetsFailed([Failure(str(at), kind, "x", retry_after=9.0 + at) for at, kind in enumerate(kinds)])
    assert (fused.status, fused.code) == (status, code)
    assert fused.headers == ({"retry-after": "9"} if status in {429, 503} else {})
    assert fused.status not in {401, 403}


LEAKY = ["status=400", "status=401", "status=402", "status=403", "status=404", "status=429", "status=500", "status=503"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["error_in=status", "error_in=body", "error_in=stream", "error_shape=detail", "html"])
async def test_nothing_that_a_provider_says_carries_a_secret_to_the_client(where: str, stream: bool) -> None:
    """Keys, hosts and addresses in error messages of every status, inside answers and streams; a plain proxy leaks."""
    said = f"Incorrect key {CANARY} at http://10.1.2.3:8000/internal for org-canaryorganisation"
    routes = "\n".join(
        f"  r{at}: {{targets: ['sim/a{at}?{words}&{where}', 'sim/b{at}?{words}&{where}'], retries: 0}}"
        for at, words in enumerate(LEAKY)
    )
    script = {f"{name}{at}": {"message": said} for at in range(len(LEAKY)) for name in "ab"}
    async with gateways(routes, script) as running:
        for at in range(len(LEAKY)):
            text = (await ask(running, f"r{at}", stream=stream)).body.decode()
            assert not [
                word for word in (CANARY, "10.1.2.3", "internal", "provider-canary", "127.0.0.1") if word in text
            ]
        assert CANARY not in json.dumps(running.log())
        if where == "error_in=status":
            async with naive_proxies(running.sim.base_url, "a0?status=400") as naive:
                body = {"model": "r", "messages": [{"role": "user", "content": "17 * 23?"}]}
                async with running.http.post(f"{naive}/chat/completions", json=body) as answer:
                    assert CANARY in await answer.text()


async def test_a_prompt_that_is_too_long_goes_to_the_larger_window_next() -> None:
    """The small and the equal one are passed over, the unknown one would come last; each is asked once at most."""
    small = "status=400&error=context_length"
    routes = (
        f"  r: {{launch: fallback, retries: 2, targets: [{{model: 'sim/a?{small}', context: 8k}}, sim/unknown, "
        "{model: sim/equal, context: 8000}, {model: sim/wide, context: 128k}]}\n"
        f"  none: {{launch: fallback, retries: 2, targets: [{{model: 'sim/a?{small}', context: 8k}}, "
        "{model: sim/equal, context: 4k}]}"
    )
    async with gateways(routes, {"wide": {"answer": RIGHT}}) as running:
        reply = await ask(running)
        assert (reply.status, reply.headers["x-hedgerow-target"]) == (200, "sim/wide")
        assert [body["model"] for body in running.received()] == [f"a?{small}", "wide"]
        refused = await ask(running, "none")
    assert (refused.status, refused.json["error"]["code"]) == (400, "context_length_exceeded")
    branches = refused.json["error"]["hedgerow"]["branches"]
    assert [branch["kind"] for branch in branches] == ["context_length", "context_length"]
    assert branches[1]["detail"].startswith("not asked: its window is no larger")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_content_policy_refused_is_not_carried_to_the_next_provider(stream: bool) -> None:
    """The client gets the refusal as a 400 of its own, unless the operator's route says that the next one is asked."""
    refusing = "status=400&error=content_policy"
    targets = f"launch: fallback, retries: 2, targets: ['sim/a?{refusing}', sim/good]"
    async with gateways(f"  r: {{{targets}}}\n  on: {{{targets}, on_filtered: next}}") as running:
        reply = await ask(running, stream=stream)
        assert (reply.status, len(running.received())) == (400, 1)
        assert [branch["kind"] for branch in reply.json["error"]["hedgerow"]["branches"]] == ["filtered"] * 2
        assert (await ask(running, "on", stream=stream)).headers["x-hedgerow-target"] == "sim/good"


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        ("status=503&headers=x-should-retry:false", 1),
        ("status=503&headers=x-should-retry:true", 2),
        ("status=400&headers=x-should-retry:true", 2),
        ("status=429&retry_after=121", 1),
        ("status=429&retry_after=0.01&retry_as=ms", 2),
        ("status=429&retry_after=0&retry_as=date", 2),
    ],
)
async def test_a_provider_s_own_word_on_asking_again_is_kept(words: str, calls: int) -> None:
    """`x-should-retry` goes before the status; more than two minutes are never waited for."""
    async with gateways(f"  r: {{targets: ['sim/a?{words}'], retries: 1}}") as running:
        await ask(running)
        assert len(running.received()) == calls
