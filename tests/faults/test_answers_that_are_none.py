"""Answers that look like success and are none, over real sockets: each is recognised.

Whatever breaks the form that the request asks for is a failure of its branch, so that another target is asked; a
refusal, a cut or a filtered answer stays an answer that others win over.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.gateways import Reply, Running, gateways
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

RIGHT = "391"
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}


def tool(*, strict: bool) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "tell", "strict": strict, "parameters": SCHEMA}}


async def ask(running: Running, **fields: Any) -> Reply:
    messages = [{"role": "user", "content": "17 * 23?"}]
    return await running.post({"model": "r", "messages": messages, "hedgerow": {"explain": True}, **fields})


def said(reply: Reply) -> Any:
    message = reply.json["choices"][0]["message"]
    return message["content"] or [call["function"]["arguments"] for call in message.get("tool_calls") or ()]


BROKEN = [
    pytest.param({"answer": "{'answer': 391}"}, {"response_format": {"type": "json_object"}}, id="no JSON"),
    pytest.param({"answer": '{"answer": "391"}'}, {"response_format": FORMAT}, id="another type"),
    pytest.param({"answer": '{"answer": 391, "more": 1}'}, {"response_format": FORMAT}, id="a field too many"),
    pytest.param({"call": 'tell:{"answer": 3'}, {"tools": [tool(strict=False)]}, id="cut arguments"),
    pytest.param({"call": "tell:[391]"}, {"tools": [tool(strict=False)]}, id="arguments that are no object"),
    pytest.param({"call": 'tell:{"answer": "x"}'}, {"tools": [tool(strict=True)]}, id="a strict schema"),
]


@pytest.mark.parametrize(("play", "fields"), BROKEN)
async def test_an_answer_of_another_form_than_asked_for_is_a_failure_of_its_branch(
    play: dict[str, Any], fields: dict[str, Any]
) -> None:
    """The next target is asked, the failure has a kind of its own in the metrics and a line in the explanation."""
    good = {"call": 'tell:{"answer": 391}'} if "tools" in fields else {"answer": '{"answer": 391}'}
    routes = "  r: {targets: [sim/bad, sim/good], launch: fallback, select: first, retries: 0}"
    async with gateways(routes, {"bad": play, "good": good}) as running:
        reply = await ask(running, **fields)
        assert said(reply) in ('{"answer": 391}', ['{"answer": 391}'])
        assert [failure["kind"] for failure in reply.json["hedgerow"]["failures"]] == ["invalid"]
        assert running.sample("hedgerow_attempts_total", route="r", target="sim/bad", outcome="invalid") == 1


async def test_a_loop_that_was_cut_is_a_failure_and_one_that_ended_by_itself_loses() -> None:
    """A model that repeats itself until its limit gave nothing; where it stopped, somebody may have asked for that."""
    loop = {"answer": "I think so.", "loop": 300}
    async with gateways(
        "  r: {targets: [sim/cut, sim/good], launch: fallback, select: first, retries: 0}\n"
        "  v: {targets: [sim/loop, 'sim/loop?ttft=0', sim/good], select: majority, retries: 0}\n"
        "  alone: {targets: [sim/loop]}",
        {"cut": {**loop, "finish": "length"}, "loop": loop, "good": {"answer": RIGHT}},
    ) as running:
        reply = await ask(running)
        assert said(reply) == RIGHT
        assert reply.json["hedgerow"]["failures"][0]["kind"] == "degenerate"
        assert said(await ask(running, model="v")) == RIGHT
        assert said(await ask(running, model="alone")).count("I think so.") > 3


LOSING = [
    pytest.param({"refusal": "I will not calculate."}, "refused", id="refusal field"),
    pytest.param({"answer": "I'm sorry, but I can't help with that.", "confidence": 1.0}, "refused", id="refusal text"),
    pytest.param({"answer": "It may be 39", "finish": "length"}, "truncated", id="truncated"),
    pytest.param({"answer": "It may be 39", "finish": "content_filter"}, "filtered", id="content filter"),
]


@pytest.mark.parametrize(("play", "flaw"), LOSING)
@pytest.mark.parametrize("select", ["majority", "max_confidence", "{majority: {agree: 2}}", "guarded", "weighted"])
async def test_what_is_not_quite_an_answer_loses_to_one(play: dict[str, Any], flaw: str, select: str) -> None:
    """Two of them against one answer, earlier, with the higher priority and more confidence: the answer wins."""
    targets = "targets: [sim/bad, {model: sim/bad, name: again}, 'sim/good?latency=0.05']"
    script = {"bad": play, "good": {"answer": RIGHT, "confidence": 0.3}}
    async with gateways(f"  r: {{{targets}, select: {select}}}", script) as running:
        reply = await ask(running)
    explained = reply.json["hedgerow"]
    assert said(reply) == RIGHT
    assert [candidate["flaw"] for candidate in explained["candidates"]].count(flaw) == 2
    assert f"without again ({flaw}), sim/bad ({flaw})" in explained["reason"]


@pytest.mark.parametrize(("play", "flaw"), LOSING)
async def test_what_is_not_quite_an_answer_is_still_given_where_there_is_no_other(
    play: dict[str, Any], flaw: str
) -> None:
    """A refusal of the only target, or of all, is the client's to see, as it came."""
    async with gateways(
        "  r: {targets: [sim/bad, {model: sim/bad, name: again}], select: majority}", {"bad": play}
    ) as r:
        reply = await ask(r)
    choice = reply.json["choices"][0]
    assert reply.status == 200
    assert (choice["message"]["content"] or choice["message"]["refusal"]) == (play.get("answer") or play["refusal"])
    assert choice["finish_reason"] == play.get("finish", "stop")


async def test_reasoning_without_an_answer_is_none() -> None:
    """All tokens went into thinking: the next target is asked, and the line says why."""
    routes = "  r: {targets: [sim/bad, sim/good], launch: fallback, select: first, retries: 0}"
    async with gateways(routes, {"bad": {"reasoning_only": True}, "good": {"answer": RIGHT}}) as running:
        reply = await ask(running)
    assert said(reply) == RIGHT
    assert reply.json["hedgerow"]["failures"][0]["detail"] == "reasoning and no answer"


async def test_reasoning_without_an_answer_is_one_where_the_target_says_so() -> None:
    """As of a server that takes everything for reasoning: it is voted on, and passed on as it came, live, too."""
    bad = {"reasoning_only": True, "reasoning": RIGHT}
    routes = (
        "  taken: {targets: [{model: sim/bad, on_reasoning_only: answer}, sim/good], select: majority}\n"
        "  live: {targets: [{model: sim/bad, on_reasoning_only: answer}], retries: 0}\n"
        "  default: {targets: [sim/bad], retries: 0}"
    )
    ask = {"messages": [{"role": "user", "content": "?"}]}
    async with gateways(routes, {"bad": bad, "good": {"answer": RIGHT}}) as running:
        taken = await running.post({**ask, "model": "taken", "hedgerow": {"explain": True}})
        live = await running.post({**ask, "model": "live", "stream": True})
        default = await running.post({**ask, "model": "default", "stream": True})
    assert taken.json["hedgerow"]["agreement"] == 1
    assert {each["text"] for each in taken.json["hedgerow"]["candidates"]} == {RIGHT}
    assert b"reasoning_content" in live.body
    assert live.body.endswith(b"data: [DONE]\n\n")
    assert default.status == 502


async def test_when_all_break_the_form_the_error_says_so_for_each() -> None:
    """No half answer is sold; every branch has its line, without what the provider said."""
    routes = "  r: {targets: [sim/bad, {model: sim/bad, name: again}], select: majority, retries: 0}"
    async with gateways(routes, {"bad": {"answer": "secret words"}}) as running:
        reply = await ask(running, response_format={"type": "json_object"})
    assert reply.status == 502
    assert [branch["kind"] for branch in reply.json["error"]["hedgerow"]["branches"]] == ["invalid", "invalid"]
    assert "secret words" not in json.dumps(reply.json)


async def test_a_check_of_tool_arguments_looks_at_schemas_that_are_not_strict() -> None:
    """Without the check such a call passes, as OpenAI promises nothing for it; with it the valid one is taken."""
    script = {"bad": {"call": 'tell:{"answer": "x"}'}, "good": {"call": 'tell:{"answer": 391}'}}
    async with gateways(
        "  r: {targets: [sim/bad, 'sim/good?latency=0.02'], select: {valid: {check: tool_arguments, of: priority}}}\n"
        "  plain: {targets: [sim/bad, 'sim/good?latency=0.02'], select: priority}",
        script,
    ) as running:
        tools = [tool(strict=False)]
        assert said(await ask(running, tools=tools)) == ['{"answer": 391}']
        assert said(await ask(running, tools=tools, model="plain")) == ['{"answer": "x"}']


async def test_a_hostile_schema_of_a_client_costs_the_gateway_nothing() -> None:
    """References that double 40 times, an address to fetch, a pattern that backtracks for ever: none is followed."""
    doubling = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)} | {"d40": {}}
    hostile = [
        {"$defs": doubling, "$ref": "#/$defs/d0"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"properties": {"answer": {"pattern": "(a+)+$"}}},
        {"$ref": "#"},
        {"type": 7},
    ]
    script = {"m": {"answer": json.dumps({"answer": "a" * 40 + "!"})}}
    async with gateways("  r: {targets: [sim/m], timeout: 2s}", script) as running:
        for schema in hostile:
            reply = await ask(running, response_format={"type": "json_schema", "json_schema": {"schema": schema}})
            assert reply.status == 200, schema


async def test_a_stream_caught_in_a_loop_is_ended_and_its_upstream_stops() -> None:
    """The client gets an error event and no `stop`; of 20,000 tokens a tenth is written, not all."""
    script = {"m": {"answer": "I think so.", "loop": 20_000, "gap": 0.0003}}
    async with gateways("  r: {targets: [sim/m], select: first}", script) as running:
        reply = await ask(running, stream=True)
        call = running.sim.journal[0]
        await eventually(lambda: call.outcome == "disconnected")
    assert b"the answer repeats itself" in reply.body
    assert b"[DONE]" not in reply.body
    assert call.generated < 10_000


async def test_a_stream_that_repeats_itself_for_a_while_is_passed_on() -> None:
    """Half a thousand tokens of the same may be what was asked for."""
    script = {"m": {"answer": "0,", "loop": 500}}
    async with gateways("  r: {targets: [sim/m], select: first}", script) as running:
        reply = await ask(running, stream=True)
    assert reply.body.rstrip().endswith(b"[DONE]")
