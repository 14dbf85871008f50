"""Every way in which the simulator refuses a call: statuses, error bodies, Retry-After, errors in 200s and streams."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.support.simulators import Exchange, ask, chat, exchange, simulators

pytestmark = pytest.mark.anyio


async def stream(model: str, *, quiet: float = 1.0, **fields: Any) -> Exchange:
    return await ask(model, quiet=quiet, stream=True, **fields)


@pytest.mark.parametrize(
    ("model", "status", "code", "kind"),
    [
        ("m?status=400", 400, None, "invalid_request_error"),
        ("m?error=context_length", 400, "context_length_exceeded", "invalid_request_error"),
        ("m?error=content_policy", 400, "content_policy_violation", "invalid_request_error"),
        ("m?error=content_filter", 400, "content_filter", "invalid_request_error"),
        ("m?error=credit", 400, None, "invalid_request_error"),
        ("m?status=401", 401, "invalid_api_key", "invalid_request_error"),
        ("m?status=403", 403, "model_not_found", "invalid_request_error"),
        ("m?status=404", 404, "model_not_found", "invalid_request_error"),
        ("m?status=429", 429, "rate_limit_exceeded", "requests"),
        ("m?error=quota", 429, "insufficient_quota", "insufficient_quota"),
        ("m?status=500", 500, None, "server_error"),
        ("m?status=503", 503, None, "server_error"),
        ("m?status=529", 529, "overloaded", "overloaded_error"),
        ("m?status=418", 418, None, "invalid_request_error"),
        ("m?error=quota&status=402", 402, "insufficient_quota", "insufficient_quota"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_refusals_have_the_status_and_the_words_of_real_ones(
    model: str, status: int, code: str | None, kind: str, streamed: bool
) -> None:
    """Each refusal comes as JSON with its status, also when a stream was asked for, and is not marked as success."""
    answer = await ask(model, stream=streamed)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json["error"]
    assert (error["code"], error["type"]) == (code, kind)
    assert "{" not in error["message"]


async def test_a_refusal_says_what_the_script_says() -> None:
    """`message` replaces the words; without it the numbers and the model are filled in."""
    assert (await ask("m?status=500&message=Out of cheese")).json["error"]["message"] == "Out of cheese"
    assert "maximum context length is 8192 tokens" in (await ask("m?error=context_length")).json["error"]["message"]
    assert "for m?status=429 in" in (await ask("m?status=429")).json["error"]["message"]


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("retry_after=2", {"retry-after": "2"}),
        ("retry_after=0.5", {"retry-after": "0.5"}),
        ("retry_after=1.5&retry_as=ms", {"retry-after-ms": "1500"}),
        ("retry_after=0.5&retry_as=duration", {"x-ratelimit-reset-requests": "500ms"}),
        (
            "retry_after=360&retry_as=duration",
            {"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"},
        ),
        ("retry_after=5401&retry_as=duration", {"x-ratelimit-reset-requests": "1h30m1s"}),
        ("headers=retry-after:soon", {"retry-after": "soon"}),
        ("retry_after=9&headers=retry-after-ms:10|x-should-retry:false", {"retry-after": "9", "retry-after-ms": "10"}),
    ],
)
async def test_retry_after_is_spelled_in_every_way(spelling: str, expected: dict[str, str]) -> None:
    """Seconds, milliseconds, Go's durations and whatever a script writes itself."""
    answer = await ask(f"m?status=429&{spelling}")
    assert {name: answer.headers.get(name) for name in expected} == expected


async def test_retry_after_may_be_a_date_on_a_clock_that_is_wrong() -> None:
    """An HTTP date and Anthropic's RFC 3339 agree with the Date header of the same, skewed answer."""
    answer = await ask("m?status=429&retry_after=60&retry_as=date&skew=-3600")
    date, back = parsedate_to_datetime(answer.headers["date"]), parsedate_to_datetime(answer.headers["retry-after"])
    assert 59 <= (back - date).total_seconds() <= 61
    assert 3595 <= (datetime.now(UTC) - date).total_seconds() <= 3605
    reset = (await ask("m?status=429&retry_after=60&retry_as=rfc3339")).headers["anthropic-ratelimit-requests-reset"]
    assert 55 <= (datetime.fromisoformat(reset) - datetime.now(UTC)).total_seconds() <= 60


async def test_no_retry_after_is_sent_where_none_is_scripted() -> None:
    """A refusal says nothing about coming back unless the script does."""
    assert not [name for name in (await ask("m?status=429")).headers if "retry" in name or "ratelimit" in name]


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("openrouter", b'{"error":{"message":"Boo","code":500},"user_id":"user_simulated"}'),
        ("detail", b'{"detail":"Boo"}'),
        ("text", b"Boo"),
        ("none", b""),
    ],
)
async def test_errors_come_in_the_forms_of_other_vendors(shape: str, body: bytes) -> None:
    """An error body may have OpenRouter's or FastAPI's form, be plain text, or be missing."""
    answer = await ask(f"m?status=500&message=Boo&error_shape={shape}")
    assert (answer.status, answer.body) == (500, body)


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_may_hide_in_a_200(streamed: bool) -> None:
    """error_in=body answers 200 with an error object where the answer should be."""
    answer = await ask("m?error=overloaded&error_in=body", stream=streamed)
    assert answer.status == 200
    assert answer.json["error"]["code"] == "overloaded"


@pytest.mark.parametrize(("model", "done"), [("", True), ("&no_done", False)])
async def test_an_error_may_come_in_the_stream(model: str, done: bool) -> None:
    """After so many tokens an error event follows, with or without the end of the stream."""
    answer = await stream(f"m?tokens=9&error=server_error&error_in=stream&error_at=2{model}")
    assert answer.text == "This is"
    assert (answer.events[-1] == "[DONE]") is done
    assert json.loads(answer.events[-1 - done])["error"]["type"] == "server_error"
    assert answer.whole
    at_once = await stream("m?error=overloaded&error_in=stream")
    assert list(at_once.chunks[0]) == ["error"]
    assert (await ask("m?error=overloaded&error_in=stream")).json["error"]["code"] == "overloaded"


async def test_the_key_the_context_and_the_prefill_are_rules_not_faults() -> None:
    """Rules of a provider refuse what breaks them and nothing else, also on calls whose faults are spared."""
    assert (await ask("m?key=secret")).status == 401
    assert (await ask("m?context=3")).json["error"]["code"] == "context_length_exceeded"
    assert (await ask("m?context=100&first=0")).status == 200
    history = [{"role": "user", "content": "Go"}, {"role": "assistant", "content": "On"}]
    assert (await ask("m", messages=history)).status == 200
    assert (await ask("m?prefill=0", messages=history)).status == 400
    assert (await ask("m?prefill=0")).status == 200


@pytest.mark.parametrize("header", ["Authorization: Bearer secret", "x-api-key: secret", "api-key: secret"])
async def test_the_right_key_opens(header: str) -> None:
    """A key is found where OpenAI, Anthropic and Azure put it."""
    async with simulators() as (sim,):
        assert (await exchange(sim, chat("m?key=secret"), headers=header)).status == 200
        assert (await exchange(sim, chat("m?key=secret"), headers=f"{header}s")).status == 401


async def test_one_call_too_many_is_refused() -> None:
    """`concurrency` lets so many calls run at once; when one has ended there is room again."""
    async with simulators() as (sim,), asyncio.TaskGroup() as group:
        model = "m?concurrency=2&latency=0.1"
        calls = [group.create_task(exchange(sim, chat(model))) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert (await exchange(sim, chat(model))).status == 429
        assert [(await call).status for call in calls] == [200, 200]
        assert (await exchange(sim, chat(model))).status == 200
