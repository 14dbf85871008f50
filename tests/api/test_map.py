"""A long message asked part by part over a real gateway: spread over the targets, reduced to one honest answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.support.gateways import Running, gateways
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

ECHO = {"answer": "{model}: {question}"}
ROUTE = """
  long:
    targets: [sim/a, sim/b]
    launch: {map: {by: paragraphs, size: 7, parallel: 2, most: 5}}
    retries: 0
"""


def asking(text: Any, model: str = "long", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def said(response: Any) -> str:
    text: str = response["choices"][0]["message"]["content"]
    return text


def asked(running: Running) -> list[tuple[str, str]]:
    """The parts that reached the upstream, each with the model that it was asked of, in the order of the parts."""
    return sorted((body["messages"][-1]["content"], body["model"]) for body in running.received())


async def test_each_paragraph_is_asked_of_the_next_target_and_the_answers_are_joined_in_order() -> None:
    """Part 1 goes to the first target, part 2 to the second, part 3 to the first; the slow first part stays first."""
    script = {"a": {"answers": {"one": "1", "three": "3"}, "latency": 0.030}, "b": {"answer": "2"}}
    async with gateways(ROUTE, script) as running, running.client() as client:
        raw = await client.chat.completions.with_raw_response.create(**asking("one\n\ntwo\n\nthree"))
        assert asked(running) == [("one", "a"), ("three", "a"), ("two", "b")]
        spent = [
            running.sample("hedgerow_tokens_total", target=f"sim/{name}", kind="completion", fate="won")
            for name in "ab"
        ]
        assert running.sample("hedgerow_requests_total", route="long", status="200") == 1
    completion = raw.parse()
    assert [choice.message.content for choice in completion.choices] == ["1\n\n2\n\n3"]
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == sum(spent) >= 3
    assert (raw.headers["x-hedgerow-selector"], raw.headers["x-hedgerow-parts"]) == ("concat", "3")


async def test_a_part_whose_target_fails_is_answered_by_the_other() -> None:
    """The first target is down for everything; no part is lost, and the explanation tells of each part."""
    async with gateways(ROUTE, {"a": {"status": 503}, "b": ECHO}) as running:
        response = await running.post(asking("one\n\ntwo\n\nthree", hedgerow={"explain": True}))
        assert running.sample("hedgerow_rescues_total", route="long") == 1
    assert said(response.json) == "b: one\n\nb: two\n\nb: three"
    parts = response.json["hedgerow"]["parts"]
    assert [(part["part"], part["target"]) for part in parts] == [(1, "sim/b"), (2, "sim/b"), (3, "sim/b")]
    assert [[each["target"] for each in part["failures"]] for part in parts] == [["sim/a"], [], ["sim/a"]]


async def test_a_part_that_fails_everywhere_fails_the_request_and_is_named() -> None:
    """The error counts parts from 1 and tells of that part's branches."""
    routes = ROUTE.replace("[sim/a, sim/b]", "[sim/a, 'sim/a?status=500']")
    async with gateways(routes, {"a": {"status": 503}}) as running:
        response = await running.post(asking("one"))
    error = response.json["error"]
    assert response.status == 502
    assert error["message"].startswith("Part 1 of 1: No target answered.")
    assert [branch["target"] for branch in error["hedgerow"]["branches"]] == ["sim/a", "sim/a?status=500"]
    assert error["hedgerow"]["part"] == 1


async def test_the_other_parts_are_cancelled_when_one_fails() -> None:
    """Nobody waits for 20 s for an answer that cannot be whole any more."""
    routes = """
  long:
    targets: [sim/a, sim/b]
    launch: {map: {size: 4}}
    retries: 0
"""
    script = {"a": [{"latency": 20}, {"status": 503}], "b": {"status": 503, "latency": 0.05}}
    async with gateways(routes, script) as running:
        async with asyncio.timeout(10):
            response = await running.post(asking("one\n\ntwo"))
        await eventually(lambda: not any(entry.outcome == "running" for entry in running.sim.journal))
    assert response.json["error"]["hedgerow"]["part"] == 2


async def test_an_answer_that_was_cut_makes_the_whole_one_incomplete() -> None:
    """`length` where any part was cut, though the first was not; no client may take it for the end."""
    async with gateways(ROUTE, {"a": ECHO, "b": {"answer": "cut", "finish": "length"}}) as running:
        response = await running.post(asking("one\n\ntwo"))
    assert response.json["choices"][0]["finish_reason"] == "length"


async def test_a_stream_replays_the_joined_answer() -> None:
    """One choice, its text whole, its usage that of all parts."""
    async with gateways(ROUTE, {"a": ECHO, "b": ECHO}) as running, running.client() as client:
        stream = await client.chat.completions.create(
            **asking("one\n\ntwo", stream=True, stream_options={"include_usage": True})
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "a: one\n\nb: two"
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0}
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens >= 4


async def test_the_client_may_give_the_parts_itself() -> None:
    """They follow what the user says; a route that does not map refuses them."""
    routes = ROUTE + "  one: {targets: [sim/a]}\n"
    async with gateways(routes, {"a": ECHO, "b": ECHO}) as running:
        response = await running.post(asking("Say it:", hedgerow={"map": ["x", "y"]}))
        refused = await running.post(asking("Say it:", "one", hedgerow={"map": ["x"]}))
        wrong = await running.post(asking("Say it:", hedgerow={"map": "x"}))
    assert said(response.json) == "a: Say it:\n\nx\n\nb: Say it:\n\ny"
    assert (refused.status, refused.json["error"]["param"]) == (400, "hedgerow.map")
    assert (wrong.status, wrong.json["error"]["param"]) == (400, "hedgerow.map")


async def test_numbers_of_the_parts_are_added_up() -> None:
    """Any selector reduces; the sum stands in the score, each part is a choice, the tokens are those of all."""
    routes = ROUTE + "    select: {reduce: {how: sum, key: number}}\n"
    async with gateways(routes, {"a": {"answer": "3 errors"}, "b": {"answer": "4 errors"}}) as running:
        response = await running.post(asking("one\n\ntwo\n\nthree"))
    assert response.headers["x-hedgerow-score"] == "10"
    assert len(response.json["choices"]) == 3


async def test_more_parts_than_the_route_allows_are_refused_before_anybody_is_asked() -> None:
    """Amplification is capped: the message says how many it would have been."""
    async with gateways(ROUTE, {"a": ECHO, "b": ECHO}) as running:
        response = await running.post(asking("\n\n".join(["many me"] * 6)))
        assert running.received() == []
    assert response.status == 400
    assert "6 parts, expected at most 5" in response.json["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [7]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
            "messages[0].content",
        ),
    ],
)
async def test_what_cannot_be_split_is_refused(fields: dict[str, Any], param: str) -> None:
    """The error names the field; nothing is sent with every part that the client meant once."""
    async with gateways(ROUTE) as running:
        response = await running.post({**asking("one"), **fields})
    assert (response.status, response.json["error"]["param"]) == (400, param)


async def test_no_more_parts_are_in_flight_than_the_route_says() -> None:
    """Two at a time, of five."""
    async with gateways(ROUTE, {"a": {**ECHO, "latency": 0.020}, "b": {**ECHO, "latency": 0.020}}) as running:
        response = await running.post(asking("\n\n".join(["partone"] * 5)))
        spans = [(entry.started, entry.ended) for entry in running.sim.journal]
    assert response.status == 200
    assert max(sum(began < start < (ended or start) for began, ended in spans) for start, _ in spans) <= 1


async def test_all_parts_end_when_the_client_leaves() -> None:
    """No call goes on for somebody who is gone, and none is begun."""
    async with gateways(ROUTE, {"a": {"latency": 20}, "b": {"latency": 20}}) as running:
        with pytest.raises(TimeoutError):
            await running.post(asking("one\n\ntwo\n\nthree"), timeout=aiohttp.ClientTimeout(total=0.5))
        await eventually(
            lambda: all(running.sample("hedgerow_superseded_total", target=f"sim/{name}") == 1 for name in "ab"),
            within=10,
        )
        assert len(running.sim.journal) == 2


async def test_anthropics_clients_may_ask_a_route_that_maps() -> None:
    """The parts are asked in chat; the message holds the joined text and the tokens of all."""
    body = {"model": "long", "max_tokens": 50, "messages": [{"role": "user", "content": "one\n\ntwo"}]}
    async with gateways(ROUTE, {"a": ECHO, "b": ECHO}) as running:
        response = await running.post(body, "/v1/messages")
    assert response.json["content"] == [{"type": "text", "text": "a: one\n\nb: two"}]
    assert response.json["usage"]["output_tokens"] >= 4, json.dumps(response.json)
