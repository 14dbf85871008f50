"""Faults that are seldom seen: streams that drip, calls that differ, a wrong language, another model's name."""

from __future__ import annotations

import asyncio
import json

import psutil
import pytest

from tests.support.gateways import Reply, Running, gateways
from tests.support.wire_server import Reply as Scripted
from tests.support.wire_server import WireServer

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "17 * 23?"}]
SSE = {"content-type": "text/event-stream"}


def event(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode() + b"\n\n"


async def ask(running: Running, *, stream: bool = False, **fields: object) -> Reply:
    return await running.post({"model": "r", "messages": HELLO, "stream": stream, **fields})


@pytest.mark.parametrize("begun", [False, True])
async def test_bytes_that_drip_are_no_sign_of_life(begun: bool) -> None:
    """A byte now and then that never makes an event is silence, before the first words and after them."""
    drip = [bytes([byte]) for byte in event("and so on " * 20)]
    frames = [event("It may be "), *drip] if begun else drip
    reply = Scripted(headers=SSE, frames=frames, pause=0.02)
    async with WireServer(lambda _: reply) as server:
        head = f"  drip: {{api: openai, base_url: '{server.url}'}}"
        limits = "first_token: 600ms, idle: 600ms, launch: fallback, retries: 0"
        async with gateways(f"  r: {{targets: [drip/m, sim/good], {limits}}}", head=head) as running:
            answer = await ask(running, stream=True)
            assert len(server.received) == 1
            async with asyncio.timeout(10):
                await server.received[0].gone.wait()
    if begun:
        assert b"the stream fell silent for 0.6 s" in answer.body
        assert b"[DONE]" not in answer.body
    else:
        assert answer.headers["x-hedgerow-target"] == "sim/good"
        assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_tool_calls_that_differ_are_voted_on_by_what_they_mean() -> None:
    """Two that call the same with other spaces and another order of arguments win over one that came first."""
    script = {
        "a": {"call": 'tell:{"city": "Rome", "unit": "C"}'},
        "b": {"call": 'tell:{"city": "Paris", "unit": "C"}', "latency": 0.02},
        "c": {"call": 'tell:{ "unit":"C","city":"Paris" }', "latency": 0.04},
    }
    tools = [{"type": "function", "function": {"name": "tell", "parameters": {"type": "object"}}}]
    async with gateways("  r: {targets: [sim/a, sim/b, sim/c], select: tool_calls}", script) as running:
        [call] = (await ask(running, tools=tools)).json["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris", "unit": "C"}


async def test_an_answer_in_a_wrong_language_loses_and_is_taken_where_there_is_no_other() -> None:
    """The check is the route's; it keeps nobody from an answer, and text of no language makes it no trouble."""
    german = "Das ist die Antwort auf die Frage, und sie ist nicht schwer zu verstehen."
    script = {
        "de": {"answer": german},
        "en": {"answer": "This is the answer to the question, and it is not hard.", "latency": 0.05},
        "none": {"answer": "%$§ 0x1f \u2603\u2603\u2603 qqqq wwww zzzz xxxx"},
    }
    check = "select: {valid: {check: {language: en}, of: first}}"
    routes = f"  r: {{targets: [sim/de, sim/en], {check}}}\n  n: {{targets: [sim/none], {check}}}"
    async with gateways(routes, script) as running:
        assert (await ask(running)).headers["x-hedgerow-target"] == "sim/en"
        assert (await ask(running, model="n")).status == 200


async def test_a_stream_that_broke_off_ends_once_and_nothing_spins() -> None:
    """One error event, then the end; the process is as idle afterwards as before."""
    async with gateways("  r: {targets: ['sim/a?gap=0.002&cut=3'], retries: 3}") as running:
        answer = await ask(running, stream=True)
        assert answer.body.count(b'"error"') == 1
        assert len(running.sim.journal) == 1
        before = psutil.Process().cpu_times()
        await asyncio.sleep(0.5)
        after = psutil.Process().cpu_times()
    assert (after.user + after.system) - (before.user + before.system) < 0.4


@pytest.mark.parametrize("stream", [False, True])
async def test_another_model_s_name_in_an_answer_deceives_nobody(stream: bool) -> None:
    """The client reads the name it asked for, the header who answered; metrics know the target, not its claims."""
    options = {"stream_options": {"include_usage": True}} if stream else {}
    async with gateways("  r: {targets: ['sim/a?answer_model=somebody-else&usage_tokens=5']}") as running:
        answer = await ask(running, stream=stream, **options)
        text = answer.body.decode()
        tokens = running.sample(
            "hedgerow_tokens_total", target=answer.headers["x-hedgerow-target"], kind="completion", fate="won"
        )
    assert "somebody-else" not in text
    assert '"model":"r"' in text.replace(" ", "")
    assert '"completion_tokens":5' in text.replace(" ", "")
    assert tokens == 5
