"""The endpoints that are passed through, with the real OpenAI client over real sockets."""

# ruff: noqa: E501 -- a row of a table is one case

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.support.gateways import gateways
from tests.support.wire_server import Reply, WireServer

pytestmark = pytest.mark.anyio

TWO = """
  one: {targets: [sim/a], retries: 0}
  safe: {targets: [{model: 'sim/a?status=503', same_as: a}, sim/a], launch: fallback, retries: 0}
  race: {targets: ['sim/a?latency=5', sim/a]}
  vote: {targets: [sim/a, sim/b, sim/c], select: majority}
  ranked: {targets: [{model: 'sim/a?latency=0.1', same_as: a}, sim/a], select: priority}
  mixed: {targets: [sim/a, sim/b]}
  limited: {targets: ['sim/a?status=429&retry_after=7'], retries: 0}
"""
SCRIPT = {"a": {"answer": "Paris is it"}, "b": {"answer": "Paris is it"}, "c": {"answer": "Rome"}}


@pytest.mark.parametrize("route", ["one", "safe", "ranked"])
async def test_every_operation_answers_through_the_official_client(route: str) -> None:
    """One target, a fallback from a dead one, and a selector that only ranks: the same answers."""
    async with gateways(TWO, SCRIPT) as running, running.client() as client:
        vectors = await client.embeddings.create(model=route, input=["one", "two"])
        assert [len(vector.embedding) for vector in vectors.data] == [8, 8]  # asked for and decoded as base64
        assert vectors.model == route
        assert vectors.usage.prompt_tokens > 0
        judged = await client.moderations.create(model=route, input="hello")
        assert judged.results[0].flagged is False
        picture = await client.images.generate(model=route, prompt="a cat", n=2)
        assert picture.data is not None
        assert len(picture.data) == 2
        spoken = await client.audio.speech.create(model=route, input="hello", voice="alloy")
        assert spoken.read() == b"ID3\x00hello"
        assert spoken.response.headers["content-type"] == "audio/mpeg"
        heard = await client.audio.transcriptions.create(
            model=route, file=("a.mp3", b"\x00\r\n--x\xff" * 9), language="en"
        )
        assert heard.text == "Paris is it"
        old = await client.completions.create(model=route, prompt="The capital?")
        assert (old.choices[0].text, old.model) == ("Paris is it", route)
        reply = await running.post(
            {"model": route, "query": "big cat", "documents": ["a dog", "a big cat"], "top_n": 1}, "/v1/rerank"
        )
        assert reply.json["results"] == [{"index": 1, "relevance_score": 1.0}]
        assert reply.headers["x-hedgerow-route"] == route
        assert reply.headers["x-request-id"]


PAGED = "  r: {targets: [{model: 'sim/a?html', same_as: a}, sim/a], launch: fallback, retries: 0}"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("completions", {"prompt": "The capital?"}),
        ("completions", {"prompt": "The capital?", "stream": True}),
        ("embeddings", {"input": "one"}),
        ("moderations", {"input": "hello"}),
        ("images/generations", {"prompt": "a cat"}),
        ("audio/speech", {"input": "hello", "voice": "alloy"}),
    ],
)
async def test_a_page_of_html_is_no_answer_of_any_operation(path: str, asked: dict[str, Any]) -> None:
    """A firewall's page comes with status 200: the next target is asked, and the gateway has no fault of its own."""
    async with gateways(PAGED, SCRIPT) as running:
        reply = await running.post({"model": "r", **asked}, f"/v1/{path}")
        assert (reply.status, b"<html" in reply.body.lower()) == (200, False), reply.body
        assert reply.headers["x-hedgerow-branches"] == "1/2"
        assert running.sample("hedgerow_failures_total", route="r", target="sim/a?html", kind="malformed") == 1
        assert b"gateway.faulted" not in running.written.getvalue()


async def test_vectors_come_as_the_client_asked_for_them() -> None:
    """Floats or base64, texts or tokens: bytes in, bytes out."""
    async with gateways(TWO, SCRIPT) as running:
        body: dict[str, Any] = {"model": "one", "dimensions": 3, "input": [[1, 2], [3]], "encoding_format": "float"}
        floats = (await running.post(body, "/v1/embeddings")).json
        packed = (await running.post({**body, "encoding_format": "base64"}, "/v1/embeddings")).json
        async with running.http.post(f"{running.sim.base_url}/embeddings", json={**body, "model": "a"}) as response:
            direct = await response.json()
    assert floats == {**direct, "model": "one"}
    assert isinstance(packed["data"][0]["embedding"], str)


@pytest.mark.parametrize("route", ["one", "race", "vote"])
async def test_legacy_completions_stream(route: str) -> None:
    """Live where the selector allows it, replayed where answers are compared: they are texts, so a vote makes sense."""
    async with gateways(TWO, SCRIPT) as running, running.client() as client:
        stream = await client.completions.create(model=route, prompt="The capital?", stream=True)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Paris is it"
    assert {chunk.model for chunk in chunks} == {route}
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_legacy_completions_can_be_collected(stream: bool) -> None:
    """All texts are choices of one object, numbered by priority, and their tokens are added up."""
    routes = "  one: {targets: [sim/a]}\n  all: {targets: [sim/a, sim/b], select: collect}"
    async with gateways(routes, {"a": {"answer": "Paris"}, "b": {"answer": "Lyon"}}) as running:
        reply = await running.post({"model": "all", "prompt": "The capital?", "stream": stream}, "/v1/completions")
        alone = await running.post({"model": "one", "prompt": "The capital?"}, "/v1/completions")
    found = json.loads(reply.body.split(b"\n\n")[0].removeprefix(b"data: ")) if stream else reply.json
    assert [(choice["index"], choice["text"]) for choice in found["choices"]] == [(0, "Paris"), (1, "Lyon")]
    assert found["model"] == "all"
    assert found["usage"]["prompt_tokens"] == 2 * alone.json["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("embeddings", {"input": "x"}),
        ("images/generations", {"prompt": "x"}),
        ("moderations", {"input": "x"}),
        ("audio/speech", {"input": "x", "voice": "alloy"}),
        ("rerank", {"query": "x", "documents": ["x"]}),
    ],
)
async def test_a_vote_on_what_cannot_be_compared_is_refused_with_the_cure(path: str, body: dict[str, Any]) -> None:
    """Nothing is sent upstream; the error names the selector and says what to ask instead."""
    async with gateways(TWO, SCRIPT) as running:
        reply = await running.post({"model": "vote", **body}, f"/v1/{path}")
        assert running.sim.journal == []
    assert reply.status == 400
    assert reply.json["error"]["code"] == "selector_not_applicable"
    assert "majority" in reply.json["error"]["message"]
    assert "select: first" in reply.json["error"]["message"]


async def test_embeddings_of_different_models_are_never_mixed() -> None:
    """Two vectors of two models have nothing to do with each other, so which one wins must not be chance."""
    async with gateways(TWO, SCRIPT) as running:
        reply = await running.post({"model": "mixed", "input": "x"}, "/v1/embeddings")
        assert running.sim.journal == []
    assert (reply.status, reply.json["error"]["code"]) == (400, "different_models")


async def test_failures_are_classified_as_in_chat() -> None:
    """A 429 with its Retry-After, a missing field, an unknown route, an empty answer."""
    routes = TWO + "  empty: {targets: ['sim/a?empty=choices'], retries: 0}\n"
    async with gateways(routes, SCRIPT) as running, running.client() as client:
        with pytest.raises(openai.RateLimitError) as limited:
            await client.embeddings.create(model="limited", input="x")
        assert limited.value.response.headers["retry-after"] == "7"
        missing = await running.post({"model": "one"}, "/v1/embeddings")
        assert (missing.status, missing.json["error"]["param"]) == (400, "input")
        with pytest.raises(openai.NotFoundError):
            await client.audio.transcriptions.create(model="none", file=b"x")
        empty = await running.post({"model": "empty", "input": "x"}, "/v1/embeddings")
        assert empty.status == 502
        assert running.sample("hedgerow_requests_total", route="limited", status="429") == 1


async def test_a_form_goes_on_as_it_came_but_for_its_model() -> None:
    """Every byte of every part, whatever stands in the file; only the model's value is the target's."""
    async with gateways(TWO, SCRIPT) as running, running.client() as client:
        audio = bytes(range(256)) * 40
        await client.audio.transcriptions.create(model="one", file=("a.mp3", audio), prompt="ü", temperature=0.5)
        [entry] = running.sim.journal
    assert audio in entry.body
    assert b'name="model"\r\n\r\na\r\n' in entry.body
    assert "ü".encode() in entry.body


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("application/json", b"{}", "multipart/form-data"),
        ("multipart/form-data", b"--x\r\n", "boundary"),
        ("multipart/form-data; boundary=x", b"nothing", "does not begin"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\none', "no end"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n1\r\n--x--', "`model`"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="api_key"\r\n\r\n1\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\none\r\n--x--', "`api_key`"),
    ],
)  # fmt: skip
async def test_a_form_that_is_none_says_what_is_wrong(content_type: str, body: bytes, said: str) -> None:
    """A 400 with the fault, never a 500, and nothing upstream."""
    async with gateways(TWO, SCRIPT) as running:
        async with running.http.post(
            running.url + "/v1/audio/transcriptions", data=body, headers={"content-type": content_type}
        ) as response:
            assert response.status == 400
            assert said in (await response.json())["error"]["message"]
        assert running.sim.journal == []


async def test_speech_that_breaks_off_is_not_taken_for_whole() -> None:
    """There is no place for an error in audio: the connection ends without its end."""
    routes = "  cut: {targets: ['sim/a?cut=1&cut_by=rst'], retries: 0}\n"
    async with gateways(routes, SCRIPT) as running, running.client() as client:
        with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
            await client.audio.speech.create(model="cut", input="hello " * 1000, voice="alloy")


async def test_a_large_image_reaches_every_target_of_a_race() -> None:
    """Twelve megabytes in three branches: each gets the same request, byte for byte under its own model."""
    picture = "A" * (12 * 2**20)
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    routes = "  all: {targets: [sim/a, {model: sim/b, prompt: Look.}, sim/c], select: {defer: majority}}"
    async with gateways(routes, SCRIPT) as running:
        messages = [{"role": "user", "content": [part]}]
        reply = await running.post({"model": "all", "messages": messages, "temperature": 0})
        assert reply.status == 200, reply.body
        bodies = {body["model"]: body for body in map(json.loads, (entry.body for entry in running.sim.journal))}
    assert bodies["a"] == {"model": "a", "messages": messages, "temperature": 0}
    assert bodies["b"]["messages"] == [{"role": "system", "content": "Look."}, *messages]


@pytest.mark.parametrize(
    ("path", "answer", "status"),
    [
        ("images/generations", b'{"created": 10}', 200),
        ("images/generations", b'{"created": 10, "data": []}', 502),
        ("embeddings", b'{"object": "list"}', 502),
    ],
)
async def test_an_answer_is_empty_where_its_protocol_says_so(path: str, answer: bytes, status: int) -> None:
    """OpenAI's schema lets an answer about images have no `data` at all; an empty list is none, and others need theirs."""
    async with WireServer(lambda _: Reply(200, {"content-type": "application/json"}, answer)) as upstream:
        head = f"  real: {{api: openai, base_url: '{upstream.url}', api_key: x}}"
        async with gateways("  r: {targets: [real/m], retries: 0}", head=head) as running:
            reply = await running.post({"model": "r", "prompt": "x", "input": "x"}, f"/v1/{path}")
    assert reply.status == status
