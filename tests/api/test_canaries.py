"""Secrets and prompts through every error path: not one turns up in logs, responses, metrics or faults."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import generate_latest

from gateway import config
from tests.support.gateways import Running, gateways

pytestmark = pytest.mark.anyio

PROVIDER = "sk-provider-canary"  # what tests/support/gateways.py configures
CLIENT, PROMPT = "sk-client-canary-0001", "prompt-canary-0002"
RIGHT = "9f2c47b1e05d83a6c4f7120eb98d35a6d1"
ROUTES = """
  fine: {targets: [sim/a]}
  refused: {targets: [sim/echoing], retries: 0}
  locked: {targets: [sim/locked], retries: 0}
  garbled: {targets: [sim/garbled], retries: 0}
  faulty: {targets: [sim/a], select: {majority: {key: number}}}
"""
SCRIPT = {
    "echoing": {"status": 500, "message": f"your key {PROVIDER} said {PROMPT}"},
    "locked": {"status": 401, "message": f"Incorrect API key provided: {PROVIDER}"},
    "garbled": {"error_in": "body", "error": "server_error", "message": f"{PROVIDER} {PROMPT}"},
    "a": {},
}


def body(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": PROMPT}], **fields}


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (200, body("fine")),
        (200, body("fine", stream=True)),
        (502, body("refused")),
        (502, body("refused", stream=True)),
        (502, body("locked")),
        (502, body("garbled")),
        (404, body("nobody")),
        (400, body("fine", messages=PROMPT)),
        (400, [PROMPT]),
    ],
)
async def test_no_secret_and_no_prompt_leaves_by_an_error(status: int, sent: Any) -> None:
    """The client's key in its header, the provider's in its own error text, the prompt in both."""
    async with gateways(ROUTES, SCRIPT) as running:
        headers = {"authorization": f"Bearer {CLIENT}", "x-request-id": CLIENT, "x-api-key": CLIENT}
        reply = await running.post(sent, headers=headers)
        assert reply.status == status
        said = reply.body.decode() if status != 200 else ""
        _clean(running, said, PROMPT)


async def test_a_wrong_key_is_refused_without_being_repeated() -> None:
    """Nor does the right one turn up."""
    async with gateways(ROUTES, SCRIPT, head=f"keys: {{web: {RIGHT}}}") as running:
        reply = await running.post(body("fine"), headers={"authorization": f"Bearer {CLIENT}"})
        assert reply.status == 401
        _clean(running, reply.body.decode(), PROMPT, RIGHT)


async def test_a_fault_of_ours_is_logged_with_its_traceback_and_without_the_secret_in_it() -> None:
    """The exception's text and the source line stand there, the key does not."""
    async with gateways(ROUTES, SCRIPT) as running:

        async def broken(*_: object) -> Any:
            raise RuntimeError(f"Authorization: Bearer {PROVIDER}")

        provider = running.gateway._providers["sim"]
        running.gateway._providers["sim"] = broken  # type: ignore[assignment]
        reply = await running.post(body("fine"))
        assert reply.status == 502
        _clean(running, reply.body.decode(), PROMPT)
        assert b"RuntimeError" in running.written.getvalue()
        running.gateway._providers["sim"] = provider


def test_a_configuration_s_faults_do_not_quote_its_secrets() -> None:
    """Keys, headers, queries and variables are wrong in every way here."""
    text = f"""
providers:
  openai: {{api_key: [{CLIENT}], headers: {{authorization: [{CLIENT}]}}, query: {{key: [{CLIENT}]}}}}
  other: {{api_key: {CLIENT}, base_url: 'http://user:{CLIENT}@host/v1'}}
keys: {{web: [{CLIENT}]}}
routes: {{r: {{targets: ['openai/${{KEY}} x ']}}}}
traces: {{endpoint: '{CLIENT}'}}
"""
    with pytest.raises(config.ConfigError) as refused:
        config.parse(text, {"KEY": CLIENT})
    assert CLIENT not in str(refused.value)


def _clean(running: Running, said: str, *also: str) -> None:
    running.gateway.log.close()
    running.gateway.metrics.tell()
    places = {
        "log": running.written.getvalue().decode(),
        "response": said,
        "metrics": generate_latest(running.gateway.metrics.registry).decode(),
    }
    for secret in (PROVIDER, CLIENT, *also):
        for place, text in places.items():
            assert secret not in text, f"{secret} in the {place}: {text}"
