"""What becomes of a request's fields on their way to one target, and what the client is told of it."""

from __future__ import annotations

import json

import pytest

from tests.support import anthropic_server
from tests.support.gateways import gateways
from tests.support.wire_server import Reply as Answer
from tests.support.wire_server import WireServer

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Hello"}]


def _route(target: str) -> str:
    return f"  one: {{targets: [{target}], retries: 0}}"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_target_drops_renames_and_fills_in(stream: bool) -> None:
    """Each as the operator wrote it; what is dropped is named in a header, also before a live stream."""
    target = (
        "{model: sim/a, drop: [logit_bias, seed], rename: {max_tokens: max_completion_tokens},"
        " defaults: {temperature: 0.5, top_p: 0.9}, params: {user: operator}}"
    )
    body = {"messages": HELLO, "logit_bias": {"1": 2}, "max_tokens": 9, "top_p": 0.1, "user": "me", "odd": [1]}
    async with gateways(_route(target)) as running:
        reply = await running.post({"model": "one", "stream": stream, **body})
        [received] = running.received()

    received.pop("stream", None)
    assert received == {
        "model": "a",
        "temperature": 0.5,
        "top_p": 0.1,
        "messages": HELLO,
        "max_completion_tokens": 9,
        "user": "operator",
        "odd": [1],
    }
    assert reply.status == 200
    assert reply.headers["x-hedgerow-dropped"] == "logit_bias"


async def test_two_values_for_one_name_are_both_passed_on() -> None:
    """The client sent the new name, too: which one it means is not for us to say."""
    async with gateways(_route("{model: sim/a, rename: {max_tokens: max_completion_tokens}}")) as running:
        await running.post({"model": "one", "messages": HELLO, "max_tokens": 1, "max_completion_tokens": 2})
        [received] = running.received()
    assert (received["max_tokens"], received["max_completion_tokens"]) == (1, 2)


@pytest.mark.parametrize(
    ("sent", "arrives"), [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")]
)
async def test_a_limit_goes_under_the_name_that_the_model_knows(sent: str, arrives: str) -> None:
    """The first refusal teaches it; from then on the request goes out right. Nothing is lost, so nothing is said."""
    async with gateways(_route("sim/a"), {"a": {"unsupported": [sent]}}) as running:
        replies = [await running.post({"model": "one", "messages": HELLO, sent: 7}) for _ in range(2)]
        received = running.received()

    assert [reply.status for reply in replies] == [200, 200]
    assert [[name for name in body if name.startswith("max")] for body in received] == [[sent], [arrives], [arrives]]
    assert received[-1][arrives] == 7
    assert "x-hedgerow-dropped" not in replies[0].headers


async def test_what_a_provider_cannot_do_fails_and_is_named() -> None:
    """The default: never silently changed. The client's error has the parameter, the code and the status."""
    async with gateways(_route("sim/a"), {"a": {"unsupported": ["seed"]}}) as running:
        reply = await running.post({"model": "one", "messages": HELLO, "seed": 1})
        assert len(running.sim.journal) == 1

    assert reply.status == 400
    error = reply.json["error"]
    assert (error["param"], error["code"]) == ("seed", "unsupported_parameter")
    assert error["hedgerow"]["branches"][0]["detail"] == "the provider found fault with `seed` (400)"


async def test_with_drop_what_a_provider_cannot_do_is_left_out_and_named() -> None:
    """One more call the first time, none later; the answer says what it did not see."""
    target = "{model: sim/a, on_unsupported: drop}"
    async with gateways(_route(target), {"a": {"unsupported": ["seed", "top_k"]}}) as running:
        body = {"model": "one", "messages": HELLO, "seed": 1, "top_k": 3, "temperature": 0}
        replies = [await running.post(body) for _ in range(2)]
        assert len(running.sim.journal) == 4
        assert running.received()[-1].keys() == {"model", "messages", "temperature"}

    assert [reply.headers["x-hedgerow-dropped"] for reply in replies] == ["seed,top_k", "seed,top_k"]


async def test_the_request_itself_is_never_left_out() -> None:
    """A model that refuses `messages` has failed, whatever the policy."""
    target = "{model: sim/a, on_unsupported: drop}"
    async with gateways(_route(target), {"a": {"unsupported": ["messages"]}}) as running:
        reply = await running.post({"model": "one", "messages": HELLO})
        assert (reply.status, len(running.sim.journal)) == (400, 1)


async def test_the_winner_s_rate_limits_pass_and_its_cookies_do_not() -> None:
    """An allow-list: rate limits and processing time; never cookies, servers or the operator's organisation."""
    async with gateways(
        _route("sim/a"), {"a": {"vendor_headers": True, "headers": {"openai-processing-ms": "12"}}}
    ) as running:
        for stream in (False, True):
            reply = await running.post({"model": "one", "messages": HELLO, "stream": stream})
            assert reply.headers["x-ratelimit-remaining-requests"] == "9999"
            assert reply.headers["openai-processing-ms"] == "12"
            assert reply.headers["server"] != "cloudflare"
            for name in ("set-cookie", "cf-ray", "openai-organization", "strict-transport-security"):
                assert name not in reply.headers


async def test_a_refusal_for_its_rate_keeps_the_limits_beside_retry_after() -> None:
    """A client that paces itself by `x-ratelimit-*` needs them most when it is refused."""
    async with gateways(_route("sim/a"), {"a": {"status": 429, "retry_after": 7, "vendor_headers": True}}) as running:
        reply = await running.post({"model": "one", "messages": HELLO})
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")
    assert reply.headers["x-ratelimit-limit-requests"] == "10000"


HOSTED = [
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
    {"type": "web_search_preview"},
]


@pytest.mark.parametrize(("name", "value"), [("store", True), ("web_search_options", {}), ("tools", HOSTED)])
async def test_what_has_an_effect_besides_its_answer_is_not_raced(name: str, value: object) -> None:
    """Refused with the cure where several targets would do it; one target, or one after the other, is fine."""
    routes = """
  race: {targets: [sim/a, sim/b]}
  hedge: {targets: [sim/a, sim/b], launch: hedge}
  next: {targets: [sim/a, sim/b], launch: fallback}
  one: {targets: [sim/a]}
"""
    async with gateways(routes) as running:
        for model, status in (("race", 400), ("hedge", 400), ("next", 200), ("one", 200)):
            reply = await running.post({"model": model, "messages": HELLO, name: value})
            assert reply.status == status, model
            if status == 400:
                error = reply.json["error"]
                assert (error["param"], error["code"]) == (name, "unsafe_with_several_targets")
                assert "launch: fallback" in error["message"]
        harmless = {"store": False, "tools": HOSTED[:1], "web_search_options": None}
        assert (await running.post({"model": "race", "messages": HELLO, **harmless})).status == 200


async def test_a_target_s_names_and_defaults_hold_where_its_own_dialect_is_spoken() -> None:
    """Defaults in OpenAI's words become the dialect's own, and the client's word stands where it has said one."""
    target = "{model: own/m, rename: {speed: pace}, drop: [top_k], defaults: {stop: END, temperature: 0.5}}"
    said = anthropic_server.message(anthropic_server.text("Paris"))
    async with WireServer(lambda _: said) as server:
        head = f"  own: {{api: anthropic, base_url: '{server.url}', api_key: sk-ant-canary}}"
        async with gateways(_route(target), head=head) as running:
            asked = {"model": "one", "max_tokens": 9, "messages": HELLO, "speed": "fast", "top_k": 1}
            reply = await running.post({**asked, "temperature": 0}, "/v1/messages")
        [received] = server.received
    given = {"max_tokens": 9, "messages": HELLO, "pace": "fast", "temperature": 0, "stop_sequences": ["END"]}
    assert received.json == {"model": "m", **given}
    assert reply.headers["x-hedgerow-dropped"] == "top_k"


async def test_params_that_anthropic_cannot_do_fail_their_target_with_the_reason() -> None:
    """Where the client speaks Anthropic's dialect, too: a 400 that names the field, never a fault of the gateway's."""
    target = "{model: own/m, params: {response_format: {type: json_object}}}"
    head = "  own: {api: anthropic, base_url: 'http://127.0.0.1:9', api_key: sk-ant-canary}"
    async with gateways(_route(target), head=head) as running:
        reply = await running.post({"model": "one", "max_tokens": 9, "messages": HELLO}, "/v1/messages")
    assert reply.status == 400
    assert "json_object" in reply.json["error"]["message"]


async def test_a_target_s_defaults_hold_for_responses_in_their_words() -> None:
    """The same for a target that has `/v1/responses`: no chat parameter goes where it would be refused."""
    target = "{model: own/m, defaults: {max_tokens: 9, reasoning_effort: low}}"
    body = {"id": "r", "status": "completed", "output": [{"type": "message", "content": [{"text": "Paris"}]}]}
    async with WireServer(lambda _: Answer(body=json.dumps(body).encode())) as server:
        head = f"  own: {{api: openai, base_url: '{server.url}', responses: true}}"
        async with gateways(_route(target), head=head) as running:
            asked = {"model": "one", "input": "Hello", "store": False}
            await running.post(asked, "/v1/responses")
            own = {"max_output_tokens": 7, "reasoning": {"effort": "high", "summary": "auto"}}
            await running.post({**asked, **own}, "/v1/responses")
        first, second = (received.json for received in server.received)
    given = {"model": "m", "input": "Hello", "store": False}
    assert first == {**given, "max_output_tokens": 9, "reasoning": {"effort": "low"}}
    assert second == {**given, **own}
