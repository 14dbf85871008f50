"""Streams that break off after their first words: continued by a sibling or by prefill, or ended as an honest error."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest

from gateway.providers import openai_stream
from tests.support.gateways import Running, gateways
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

HELLO: list[Any] = [{"role": "user", "content": "Say something."}]
WORDS = "one two three four five six seven eight nine ten eleven twelve"
SCRIPT = {"a": {"answer": WORDS, "gap": 0.004}, "b": {"answer": WORDS, "ttft": 0.03}, "c": {"answer": "something else"}}
BREAKS = ["cut=5&cut_by=rst", "cut=5&cut_by=fin", "cut=5&cut_by=eof", "malformed=5", "stall&stall_at=5"]
BREAKS += ["error=overloaded&error_in=stream&error_at=5"]


async def streamed(running: Running, model: str, **body: Any) -> list[str]:
    """The data of every event."""
    answer = await running.post({"model": model, "messages": HELLO, "stream": True, **body})
    assert answer.status == 200, answer.body
    return [event.removeprefix("data: ") for event in answer.body.decode().split("\n\n") if event.startswith("data: ")]


def chunks(data: list[str]) -> list[Any]:
    return [json.loads(event) for event in data if event != "[DONE]"]


def text(data: list[str]) -> str:
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks(data) for choice in chunk.get("choices", [])
    )


def is_one_stream(data: list[str]) -> bool:
    """Whether it looks as if a single upstream had said it: one id, one role, one finish reason, one end."""
    told = [chunk for chunk in chunks(data) if chunk["choices"]]
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in told if chunk["choices"][0]["finish_reason"]]
    roles = [chunk for chunk in told if chunk["choices"][0]["delta"].get("role")]
    return (
        len({chunk["id"] for chunk in told}) == 1 and len(roles) == 1 and finishes == ["stop"] and data[-1] == "[DONE]"
    )


@pytest.mark.parametrize("words", BREAKS)
async def test_a_warm_sibling_continues_exactly_where_the_leader_broke_off(words: str) -> None:
    """The client sees one whole stream, as if a single target had spoken."""
    routes = f"  r: {{targets: ['sim/a?{words}', sim/b], standby: warm, idle: 600ms}}"
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r", hedgerow={"explain": True})
        told = chunks(data)[-1]["hedgerow"]
        assert text(data) == WORDS
        assert is_one_stream(data)
        assert told["winner"] == f"sim/a?{words}"
        assert told["rescued"] == [{"by": "sim/b", "how": "splice"}]


async def test_an_anthropic_target_and_an_openai_one_continue_each_other() -> None:
    """What counts is what was said, not the wire it was said on."""
    head = "  claude: {api: anthropic, base_url: '{sim}', api_key: sk-test}"
    routes = (
        "  one: {targets: ['claude/a?cut=5&cut_by=rst', sim/b], standby: warm}\n"
        "  two: {targets: ['sim/a?cut=5&cut_by=rst', 'claude/b'], standby: warm}"
    )
    async with gateways(routes, SCRIPT, head=head) as running:
        for name in ("one", "two"):
            data = await streamed(running, name)
            assert text(data) == WORDS
            assert is_one_stream(data)


async def test_a_sibling_that_is_behind_is_waited_for() -> None:
    """The leader breaks off before the sibling has said a word."""
    routes = "  r: {targets: ['sim/a?cut=5&cut_by=rst', 'sim/b?ttft=0.3&gap=0.01'], standby: warm}"
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r")
    assert text(data) == WORDS
    assert is_one_stream(data)


async def test_a_sibling_that_says_something_else_cannot_continue() -> None:
    """Nothing is glued together that does not belong together: the stream ends in an error, without `[DONE]`."""
    routes = "  r: {targets: ['sim/a?cut=5&cut_by=rst', 'sim/c?ttft=0.03'], standby: warm}"
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r")
    assert WORDS.startswith(text(data[:-1]))
    assert json.loads(data[-1])["error"]["code"] == "stream_broken"
    assert "[DONE]" not in data
    assert not any(chunk["choices"][0]["finish_reason"] for chunk in chunks(data[:-1]))


async def test_the_third_continues_what_the_second_broke_off_again() -> None:
    """A rescue can fail, too."""
    routes = (
        "  r: {targets: ['sim/a?cut=3&cut_by=rst', 'sim/a?ttft=0.03&cut=7&cut_by=rst', 'sim/b?ttft=0.05'],"
        " standby: warm}"
    )
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r", hedgerow={"explain": True})
    assert text(data) == WORDS
    assert is_one_stream(data)
    assert [each["by"] for each in chunks(data)[-1]["hedgerow"]["rescued"]][-1] == "sim/b?ttft=0.05"


async def test_the_usage_is_that_of_the_answer_and_the_broken_one_is_booked_as_lost() -> None:
    """The last chunk tells the tokens of the whole answer; the ledger has both targets."""
    routes = "  r: {targets: ['sim/a?cut=5&cut_by=rst', sim/b], standby: warm}"
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r", stream_options={"include_usage": True})
        assert chunks(data)[-1]["usage"]["completion_tokens"] > 5
        ledger = {"won": "sim/b", "lost": "sim/a?cut=5&cut_by=rst"}

        def booked(fate: str) -> float:
            return running.sample("hedgerow_tokens_total", target=ledger[fate], kind="completion", fate=fate)

        await eventually(lambda: booked("won") > 5)
        assert 0 < booked("lost") <= 6


async def test_a_whole_stream_ends_its_siblings() -> None:
    """Who stood by is cut off at the end of the leader's answer, and what it has said until then is booked as lost."""
    routes = "  r: {targets: ['sim/a?gap=0.05', 'sim/b?gap=0.2'], standby: warm}"
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r")
        assert text(data) == WORDS
        assert is_one_stream(data)
        await eventually(lambda: len(running.sim.journal) == 2)
        await eventually(lambda: {e.model: e.outcome for e in running.sim.journal}["b?gap=0.2"] == "disconnected")
        lost = {"target": "sim/b?gap=0.2", "kind": "completion", "fate": "lost"}
        await eventually(lambda: running.sample("hedgerow_tokens_total", **lost) >= 1)


async def test_streams_that_stalled_leave_nothing_behind() -> None:
    """Who is cut off by its silence is forgotten like any other; aiohttp's exception would remember it."""
    routes = "  r: {targets: ['sim/a?stall&stall_at=5', sim/b], standby: warm, idle: 600ms}"

    def streams() -> set[int]:
        gc.collect()
        return {id(each) for each in gc.get_objects() if isinstance(each, openai_stream.WireStream)}

    before = streams()
    async with gateways(routes, SCRIPT) as running:
        for _ in range(3):
            assert text(await streamed(running, "r")) == WORDS
        await eventually(lambda: streams() <= before)


async def test_tool_calls_are_never_spliced() -> None:
    """Two halves of two calls are no call: the break is an error."""
    call = {"call": 'weather:{"city": "Paris"}', "tools": "always"}
    script = {"a": {**call, "cut": 2, "cut_by": "rst", "gap": 0.004}, "b": {**call, "ttft": 0.05}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    async with gateways("  r: {targets: [sim/a, sim/b], standby: warm}", script) as running:
        data = await streamed(running, "r", tools=tools)
    assert json.loads(data[-1])["error"]["code"] == "stream_broken"
    assert "[DONE]" not in data


@pytest.mark.parametrize("standby", ["cold", "warm"])
async def test_a_target_that_takes_a_prefill_continues_the_answer(standby: str) -> None:
    """It gets the beginning as the assistant's last message, and the client the rest under the same id."""
    script = {**SCRIPT, "p": {"answer": " six seven eight nine ten eleven twelve", "ttft": 0.03}}
    launch = "all" if standby == "warm" else "fallback"
    routes = (
        "  r: {targets: ['sim/a?cut=5&cut_by=rst', {model: sim/p, prefill: true}],"
        f" standby: {standby}, launch: {launch}}}"
    )
    async with gateways(routes, script) as running:
        data = await streamed(running, "r", hedgerow={"explain": True})
        begun = [body["messages"][-1] for body in running.received() if body["messages"][-1]["role"] == "assistant"]
    assert text(data) == WORDS
    assert is_one_stream(data)
    assert begun == [{"role": "assistant", "content": "one two three four five"}]
    assert chunks(data)[-1]["hedgerow"]["rescued"] == [{"by": "sim/p", "how": "prefill"}]


async def test_a_target_that_repeats_the_beginning_is_cut_where_the_client_left_off() -> None:
    """Some models say the prefill again."""
    routes = "  r: {targets: ['sim/a?cut=5&cut_by=rst', {model: 'sim/b', prefill: true}], launch: fallback}"
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r")
    assert text(data) == WORDS
    assert is_one_stream(data)


async def test_a_target_that_refuses_the_prefill_leaves_an_honest_error() -> None:
    """No `stop`, no `[DONE]`, and the refusal is not the client's."""
    routes = (
        "  r: {targets: ['sim/a?cut=5&cut_by=rst', {model: 'sim/b?prefill=false', prefill: true}], launch: fallback}"
    )
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r")
    assert json.loads(data[-1])["error"]["code"] == "stream_broken"
    assert "[DONE]" not in data


@pytest.mark.parametrize("words", BREAKS)
async def test_a_buffered_route_shows_no_broken_stream(words: str) -> None:
    """The next target's whole answer is replayed as if nothing had happened."""
    routes = f"  r: {{targets: ['sim/a?{words}', sim/b], launch: fallback, buffer: full, retries: 0, timeout: 1s}}"
    async with gateways(routes, SCRIPT) as running:
        data = await streamed(running, "r")
    assert text(data) == WORDS
    assert is_one_stream(data)


async def test_a_stream_is_verified_while_it_is_passed_on() -> None:
    """The first words go out at once; at the end the explanation says whether the siblings agree."""
    script = {"a": {"answer": "It is 42."}, "b": {"answer": "42", "ttft": 0.03}, "c": {"answer": "7", "ttft": 0.03}}
    select = "select: {majority: {key: number}}, stream: verify"
    routes = (
        f"  same: {{targets: [sim/a, sim/b, 'sim/b?gap=0.01'], {select}}}\n"
        f"  other: {{targets: [sim/a, sim/c, 'sim/c?gap=0.01'], {select}}}\n"
        f"  alone: {{targets: [sim/a, 'sim/c?status=503'], retries: 0, {select}}}"
    )
    async with gateways(routes, script) as running:
        agreed, diverged, alone = [
            chunks(await streamed(running, name, hedgerow={"explain": True}))[-1]["hedgerow"]["verified"]
            for name in ("same", "other", "alone")
        ]
        assert text(await streamed(running, "other")) == "It is 42."
    assert agreed["agreed"] is True
    assert diverged["agreed"] is False
    assert diverged["by"] == ["sim/c", "sim/c?gap=0.01"]
    assert alone["agreed"] is None


async def test_a_client_that_leaves_takes_the_siblings_along() -> None:
    """Leader and siblings are cut off at once, and no failure is counted against them."""
    routes = "  r: {targets: ['sim/a?gap=0.2', 'sim/b?gap=0.2', 'sim/b?ttft=5'], standby: warm}"
    async with gateways(routes, SCRIPT) as running:
        async with running.client() as client:
            stream = await client.chat.completions.create(model="r", messages=HELLO, stream=True)
            async for chunk in stream:
                if chunk.choices[0].delta.content:
                    break
            await stream.close()
        await eventually(lambda: len(running.sim.journal) == 3, within=2)
        await eventually(lambda: {entry.outcome for entry in running.sim.journal} == {"disconnected"})
        await eventually(lambda: running.sample("hedgerow_requests_total", route="r", status="499") == 1)
