"""`judge` and `fuse` over real sockets, with a simulated model that judges by a table."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gateway import config
from gateway.config.faults import ConfigError
from gateway.engine.plan import describe
from tests.support.gateways import Reply, Running, gateways

pytestmark = pytest.mark.anyio

WINNER = [(f'answer {k}\\] "right', f'{{"winner": {k}}}') for k in (1, 2, 3)]
"""A judge that finds the answer beginning with `right`, wherever it stands."""
FIRST = {"answer": '{"winner": 1}'}
"""A judge that always says the first: it says something else in another order."""
SCRIPT: dict[str, Any] = {
    "a": {"answer": "wrong, and long"},
    "b": {"answer": "right it is"},
    "c": {"answer": "also wrong"},
    "judge": {"answers": dict(WINNER)},
}
TARGETS = "targets: [sim/a, sim/b, sim/c]"


async def ask(running: Running, model: str = "r", **fields: Any) -> Reply:
    messages = [
        {"role": "system", "content": "You are the tenant's secret persona."},
        {"role": "user", "content": "Which {{7*7}}?"},
    ]
    return await running.post({"model": model, "messages": messages, "hedgerow": {"explain": True}, **fields})


def said(reply: Reply) -> str:
    text: str = reply.json["choices"][0]["message"]["content"]
    return text


def judged(running: Running, model: str = "judge") -> list[Any]:
    return [body for body in running.received() if body["model"].startswith(model)]


@pytest.mark.parametrize("how", ["index", "consistency", "pairwise"])
async def test_a_judge_chooses_in_two_orders_and_its_tokens_are_the_route_s(how: str) -> None:
    """Its verdict decides over priority; the explanation and the metrics tell what asking it cost."""
    select = f"select: [{{judge: {{by: sim/judge, how: {how}}}}}, priority]"
    async with gateways(f"  r: {{{TARGETS}, {select}}}", SCRIPT) as running:
        reply = await ask(running)
        explained = reply.json["hedgerow"]
        assert said(reply) == "right it is"
        assert reply.headers["x-hedgerow-selector"] == "judge"
        assert "in both orders" in explained["reason"]
        calls = judged(running)
        assert len(calls) == len(explained["consulted"]) == (4 if how == "pairwise" else 2)
        spent = running.sample("hedgerow_tokens_total", target="judge:sim/judge", kind="completion", fate="judge")
        assert spent == sum(call["usage"]["completion_tokens"] for call in explained["consulted"]) > 0


async def test_what_a_judge_is_sent_is_data_and_rules_and_nothing_of_the_tenant_s() -> None:
    """A mark for each call, the orders turned round, a schema for the verdict; no tools, no system prompt."""
    async with gateways(f"  r: {{{TARGETS}, select: [{{judge: {{by: sim/judge}}}}, priority]}}", SCRIPT) as running:
        tools = [{"type": "function", "function": {"name": "tell", "parameters": {}}}]
        await ask(running, tools=tools, temperature=0.5, user="someone")
        one, other = judged(running)
    assert one.keys() == {"model", "messages", "response_format"}
    assert one["response_format"]["json_schema"]["schema"]["properties"]["winner"]["enum"] == [1, 2, 3]
    assert "persona" not in json.dumps(one)
    assert "Which {{7*7}}?" in one["messages"][1]["content"]
    sheets = [body["messages"][1]["content"].split("\n") for body in (one, other)]
    marks = [lines[0].split()[0] for lines in sheets]
    assert marks[0] != marks[1]
    answers = [
        [line.partition("] ")[2] for line in lines if line[:1] == "[" and " answer " in line[:30]] for lines in sheets
    ]
    assert answers[0] == answers[1][::-1]


async def test_a_judge_of_consistency_sees_how_many_say_the_same_and_one_of_quality_sees_each_answer_once() -> None:
    """Which of the equal answers it names is the same to us: the one of the highest priority carries it."""
    targets = "targets: [sim/a, sim/b, {model: sim/b, name: again}]"
    for how, shown in (("consistency", 3), ("index", 2), ("pairwise", 2)):
        select = f"select: [{{judge: {{by: sim/judge, how: {how}}}}}, priority]"
        async with gateways(f"  r: {{{targets}, {select}}}", SCRIPT) as running:
            reply = await ask(running)
            assert reply.headers["x-hedgerow-target"] == "sim/b"
            sheets = [body["messages"][1]["content"] for body in judged(running)]
            assert [len(re.findall(r" answer \d\]", sheet)) for sheet in sheets] == [shown, shown]


FALLING = [
    pytest.param(FIRST, "chose another answer in another order", id="the order decides"),
    pytest.param({"answer": "The best is 2."}, "gave no readable verdict", id="words"),
    pytest.param({"answer": 'They say {"winner": 2}'}, "gave no readable verdict", id="a verdict among words"),
    pytest.param({"answer": '{"winner": 4}'}, "gave no readable verdict", id="out of range"),
    pytest.param({"answer": '{"winner": true}'}, "gave no readable verdict", id="true"),
    pytest.param({"status": 401}, "failed (credential)", id="refused"),
    pytest.param({"empty": "null"}, "failed (empty)", id="empty"),
    pytest.param({"silent": 9}, "took too long", id="silent"),
]


@pytest.mark.parametrize(("play", "why"), FALLING)
async def test_where_a_judge_gives_no_verdict_the_next_selector_decides_and_the_reason_says_why(
    play: dict[str, Any], why: str
) -> None:
    """Never a random pick, never an error for the client, never longer than its share of the deadline."""
    select = "select: [{judge: {by: sim/judge, share: 0.2}}, priority], deadline: 1s, timeout: 1s"
    async with gateways(f"  r: {{{TARGETS}, {select}}}", {**SCRIPT, "judge": play}) as running:
        reply = await ask(running)
    assert reply.status == 200
    assert said(reply) == "wrong, and long"
    assert reply.headers["x-hedgerow-selector"] == "priority"
    assert reply.json["hedgerow"]["reason"].endswith(f"; judge:sim/judge {why}")


async def test_a_judge_stands_ready_behind_a_vote_and_is_asked_only_when_that_is_undecided() -> None:
    """Agreement costs nothing more; disagreement asks."""
    select = "select: [{majority: {min_agreement: 0.6}}, {judge: {by: sim/judge}}, priority]"
    routes = f"  r: {{{TARGETS}, {select}}}\n  same: {{targets: [sim/a, {{model: sim/a, name: again}}], {select}}}"
    async with gateways(routes, SCRIPT) as running:
        assert said(await ask(running, "same")) == "wrong, and long"
        assert not judged(running)
        assert said(await ask(running)) == "right it is"
        assert len(judged(running)) == 2


async def test_a_slow_target_leaves_the_judge_its_share() -> None:
    """The ballot closes before the deadline, so that there is time to judge what has come."""
    select = "select: [{judge: {by: sim/judge}}, priority], deadline: 1s, timeout: 1s"
    async with gateways(f"  r: {{targets: ['sim/c?silent', sim/a, sim/b], {select}}}", SCRIPT) as running:
        reply = await ask(running)
    assert said(reply) == "right it is"
    assert [failure["kind"] for failure in reply.json["hedgerow"]["failures"]] == ["timeout"]


async def test_a_judge_that_takes_no_schema_is_asked_without_one_from_then_on() -> None:
    """A 400 for the form is answered by asking again in words alone, and remembered."""
    table = {"answers": dict(WINNER)}
    script = {**SCRIPT, "judge": [{"status": 400}, {"status": 400}, table]}
    async with gateways(f"  r: {{{TARGETS}, select: [{{judge: {{by: sim/judge}}}}, priority]}}", script) as running:
        assert said(await ask(running)) == "right it is"
        assert said(await ask(running)) == "right it is"
        assert ["response_format" in body for body in judged(running)] == [True, True, False, False, False, False]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fuser_s_answer_is_a_candidate_of_its_own(stream: bool) -> None:
    """It is written from the client's conversation and the drafts, and comes as any answer, also as a stream."""
    select = "select: [{fuse: {by: sim/fuser, drafts: 2}}, priority]"
    script = {**SCRIPT, "fuser": {"answers": {'draft 1\\] "wrong, and long': "fused {{7*7}}"}}}
    async with gateways(f"  r: {{{TARGETS}, {select}}}", script) as running:
        reply = await ask(running, stream=stream, temperature=0.5)
        (asked,) = judged(running, "fuser")
        assert reply.status == 200
        assert b"fused {{7*7}}" in reply.body
        assert reply.headers["x-hedgerow-target"] == "fuse:sim/fuser"
        assert "tools" not in asked
        assert asked["temperature"] == 0.5
        assert asked["messages"][0]["content"] == "You are the tenant's secret persona."
        assert "draft 3" not in asked["messages"][-1]["content"]
        spent = running.sample("hedgerow_tokens_total", target="fuse:sim/fuser", kind="completion", fate="judge")
        lost = running.sample("hedgerow_tokens_total", target="sim/a", kind="completion", fate="lost")
        assert spent > 0
        assert lost > 0


async def test_a_client_of_another_dialect_has_its_answers_judged_and_fused_too() -> None:
    """Where all targets speak the client's own dialect, whoever judges still reads what was asked."""
    head = "  anth: {api: anthropic, base_url: '{sim}', api_key: sk-ant-canary}"
    routes = (
        "  r: {targets: [anth/a, anth/b], select: [{judge: {by: sim/judge}}, priority]}\n"
        "  f: {targets: [anth/a, anth/b], select: [{fuse: {by: sim/fuser}}, priority]}"
    )
    async with gateways(routes, {**SCRIPT, "fuser": {"answer": "fused"}}, head=head) as running:
        body = {"max_tokens": 9, "messages": [{"role": "user", "content": "Which one?"}]}
        for model, text in (("r", "right it is"), ("f", "fused")):
            reply = await running.post({"model": model, **body}, "/v1/messages")
            assert reply.json["content"][-1]["text"] == text
        assert all("Which one?" in json.dumps(sent["messages"]) for sent in running.received())


FUSED_BADLY = [
    ({"status": 503}, "failed (transient)"),
    ({"refusal": "No."}, "gave an answer that is refused"),
    ({"answer": "half", "finish": "length"}, "gave an answer that is truncated"),
]


@pytest.mark.parametrize(("play", "why"), FUSED_BADLY)
async def test_where_a_fuser_gives_no_answer_the_drafts_stand(play: dict[str, Any], why: str) -> None:
    """The next selector decides among them, and says why it had to."""
    routes = f"  r: {{{TARGETS}, select: [{{fuse: {{by: sim/fuser}}}}, priority]}}"
    async with gateways(routes, {**SCRIPT, "fuser": play}) as running:
        reply = await ask(running)
    assert said(reply) == "wrong, and long"
    assert reply.json["hedgerow"]["reason"].endswith(f"; fuse:sim/fuser {why}")


HEAD = "providers: {sim: {api: openai, base_url: 'http://127.0.0.1:1/v1'}}\nroutes:\n  r: "


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        ("{targets: [sim/a, sim/b], select: {judge: {by: sam/judge}}}", "routes.r.select.judge.by"),
        ("{targets: [sim/a, sim/b], select: {judge: {by: judge}}}", "not provider/model"),
        ("{targets: [sim/a, sim/b], select: [{judge: {how: index}}]}", "lacks the option 'by'"),
        ("{targets: [sim/a, sim/b], select: {judge: {by: sim/j, share: 0.5}}}", "from 0.01 to 0.3"),
        ("{targets: [sim/a, sim/b], select: {fuse: {by: sim/j, drafts: 1}}}", "from 2 to 16"),
        (
            "{targets: [sim/a, sim/b, sim/c, sim/d, sim/e, sim/f, sim/g], select: {judge: {by: sim/j, how: pairwise}}}",
            "7 targets and 12 calls",
        ),
    ],
)
def test_a_judge_is_checked_like_any_option(route: str, fault: str) -> None:
    """Its provider, its share, and how many calls it adds: the cap on one request counts them."""
    with pytest.raises(ConfigError) as caught:
        config.parse(HEAD + route, {})
    assert fault in str(caught.value)


def test_explain_counts_the_judge() -> None:
    """Whom it asks, how often, and in what time; the bound on calls includes it."""
    route = "{targets: [sim/a, sim/b], retries: 0, deadline: 10s, select: [{judge: {by: sim/j}}, priority]}"
    told = describe(config.parse(HEAD + route, {}).routes["r"])
    assert "asks      judge:sim/j for the best answer: at most 2 calls more, in 3 s of the deadline" in told
    assert "at most 6 with every retry" in told
