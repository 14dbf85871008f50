"""Streams over real sockets: the first words decide, the end is only what the wire says, and losers stop."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from aiohttp import web

from gateway.api import endpoint
from gateway.providers import openai_stream
from tests.support.gateways import Running, gateways
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Say something."}]
WORDS = "one two three four five six seven eight nine ten"
SCRIPT = {"a": {"answer": WORDS}, "b": {"answer": WORDS}, "c": {"answer": "Rome"}}


async def events(running: Running, **body: object) -> list[str]:
    """The data of every event of a streamed answer."""
    response = await running.post({"messages": HELLO, "stream": True, **body})
    assert response.status == 200, response.body
    assert response.headers["content-type"].startswith("text/event-stream")
    return [
        event.removeprefix("data: ") for event in response.body.decode().split("\n\n") if event.startswith("data: ")
    ]


def text_of(data: list[str]) -> str:
    """The text that the events add up to."""
    chunks = [json.loads(event) for event in data if event != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", []))


async def test_the_openai_client_reads_a_live_stream() -> None:
    """Role, deltas, finish reason and end arrive as from OpenAI, under the name asked for."""
    async with gateways("  race: {targets: [sim/a]}", SCRIPT) as running, running.client() as client:
        stream = await client.chat.completions.create(model="race", messages=HELLO, stream=True)  # type: ignore[call-overload]
        chunks = [chunk async for chunk in stream]

    assert {chunk.model for chunk in chunks} == {"race"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.role for chunk in chunks[1:]] == [None] * (len(chunks) - 1)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WORDS
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_stream_through_one_target_is_the_upstream_s_own_but_for_the_model() -> None:
    """Chunk by chunk, field by field, with the usage the client asked for."""
    async with gateways("  one: {targets: ['sim/a']}", SCRIPT) as running:
        through = await events(running, model="one", stream_options={"include_usage": True})
        body = {"model": "a", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
        async with running.http.post(f"{running.sim.base_url}/chat/completions", json=body) as response:
            direct = [line[6:] for line in (await response.text()).split("\n") if line.startswith("data: ")]

    volatile = {"id", "created", "model", "system_fingerprint", "obfuscation"}
    assert len(through) == len(direct)
    assert through[-1] == direct[-1] == "[DONE]"
    for ours, theirs in zip(through[:-1], direct[:-1], strict=True):
        mine, other = json.loads(ours), json.loads(theirs)
        assert list(mine) == list(other)
        assert {k: v for k, v in mine.items() if k not in volatile} == {
            k: v for k, v in other.items() if k not in volatile
        }


async def test_the_first_words_win_and_not_the_first_headers() -> None:
    """Headers and role at once, words late: the target with the first words is the winner, the other is cut off."""
    routes = "  race: {targets: ['sim/a?early=role&ttft=5', 'sim/b?latency=0.2']}"
    async with gateways(routes, SCRIPT) as running:
        assert text_of(await events(running, model="race")) == WORDS
        assert (
            running.sample("hedgerow_selected_total", route="race", target="sim/b?latency=0.2", selector="first") == 1
        )
        assert running.sample("hedgerow_superseded_total", target="sim/a?early=role&ttft=5") == 1
        await eventually(lambda: len(running.sim.journal) == 2)
        outcomes = {entry.model: entry.outcome for entry in running.sim.journal}
        assert outcomes == {"b?latency=0.2": "completed", "a?early=role&ttft=5": "disconnected"}


@pytest.mark.parametrize(
    "words",
    ["status=503", "reset", "empty=text", "error=overloaded&error_in=stream", "cut=0&cut_by=eof", "malformed=0"],
)
async def test_a_target_that_fails_before_its_first_words_is_replaced_unseen(words: str) -> None:
    """Nothing was passed on yet, so the client sees one clean stream from the next target."""
    routes = f"  back: {{targets: ['sim/a?{words}', 'sim/b'], launch: fallback, retries: 0}}"
    async with gateways(routes, SCRIPT) as running:
        data = await events(running, model="back")
    assert text_of(data) == WORDS
    assert data[-1] == "[DONE]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cut=3&cut_by=rst", "broke off"),
        ("cut=3&cut_by=eof", "the stream ended before the answer did"),
        ("error=overloaded&error_in=stream&error_at=3", "broke off"),
        ("malformed=3", "not valid JSON"),
    ],
)
async def test_a_stream_that_breaks_after_its_first_words_ends_in_an_error_event(words: str, said: str) -> None:
    """No invented `stop`, no `[DONE]`: the client knows that the answer is incomplete, and the SDK raises."""
    async with gateways(f"  one: {{targets: ['sim/a?gap=0.002&{words}']}}", SCRIPT) as running:
        data = await events(running, model="one")
        assert 0 < len(text_of(data[:-1])) < len(WORDS)
        error = json.loads(data[-1])["error"]
        assert said in error["message"]
        assert error["code"] == "stream_broken"
        assert "[DONE]" not in data
        assert not any('"finish_reason":"stop"' in event for event in data)
        async with running.client() as client:
            stream = await client.chat.completions.create(model="one", messages=HELLO, stream=True)  # type: ignore[call-overload]
            with pytest.raises(openai.APIError, match="broke off"):
                async for _ in stream:
                    pass


async def test_a_missing_done_after_the_finish_reason_is_a_complete_answer() -> None:
    """The finish reason is the end; the client gets its `[DONE]` all the same."""
    async with gateways("  one: {targets: ['sim/a?no_done']}", SCRIPT) as running:
        data = await events(running, model="one")
    assert text_of(data) == WORDS
    assert data[-1] == "[DONE]"


@pytest.mark.parametrize(
    "words",
    [
        "newline=crlf",
        "newline=cr",
        "bom&comments",
        "multiline",
        "split=1",
        "tight",
        "metadata_chunk",
        "encoding=gzip",
        "encoding=br",
        "encoding=zstd",
        "encoding=zstd&split=1&bom&comments&multiline&newline=crlf",
    ],
)
async def test_every_legal_spelling_of_a_stream_gives_the_same_text(words: str) -> None:
    """Line ends, comments, byte order marks, chunk borders and compression are the wire's business."""
    script = {"a": {"answer": WORDS, "separators": True}}
    async with gateways(f"  one: {{targets: ['sim/a?{words}']}}\n  plain: {{targets: [sim/a]}}", script) as running:
        spelled, plain = await events(running, model="one"), await events(running, model="plain")
    assert text_of(spelled) == text_of(plain)
    assert "\u2028" in text_of(spelled)


async def test_tool_call_deltas_keep_their_index_and_id() -> None:
    """The SDK puts the call together again."""
    script = {"a": {"call": {"name": "weather", "arguments": '{"city": "Paris"}'}}}
    async with gateways("  one: {targets: [sim/a]}", script) as running, running.client() as client:
        calls = {}
        async for chunk in await client.chat.completions.create(model="one", messages=HELLO, stream=True):  # type: ignore[call-overload]
            for delta in chunk.choices[0].delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": delta.id, "name": delta.function.name, "arguments": ""})
                call["arguments"] += delta.function.arguments or ""
    [call] = calls.values()
    assert call["id"]
    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Paris"})


async def test_a_vote_is_replayed_as_a_proper_stream() -> None:
    """A selector that needs whole answers asks without streaming; the winner comes as chunks the SDK understands."""
    routes = "  vote: {targets: [sim/a, sim/b, sim/c], select: {defer: majority}}"
    async with gateways(routes, SCRIPT) as running:
        data = await events(running, model="vote", stream_options={"include_usage": True})
        assert all("stream" not in body and "stream_options" not in body for body in running.received())

    chunks = [json.loads(event) for event in data[:-1]]
    assert data[-1] == "[DONE]"
    assert text_of(data) == WORDS
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0


async def test_a_replayed_tool_call_has_its_index() -> None:
    """Clients put streamed calls together by index, so the replay numbers them."""
    script = {"a": {"call": {"name": "weather", "arguments": '{"city": "Paris"}'}}}
    async with gateways("  vote: {targets: [sim/a], select: majority}", script) as running:
        data = await events(running, model="vote")
    [call] = [
        call
        for event in data[:-1]
        for choice in json.loads(event)["choices"]
        for call in choice["delta"].get("tool_calls", [])
    ]
    assert call["index"] == 0
    assert call["function"]["name"] == "weather"


async def test_a_waiting_stream_is_kept_alive_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """While whole answers are awaited the connection carries comments, and the answer still comes."""
    monkeypatch.setattr(endpoint, "KEEP_ALIVE_EVERY", 0.02)
    async with gateways("  vote: {targets: ['sim/a?latency=1'], select: majority}", SCRIPT) as running:
        response = await running.post({"model": "vote", "messages": HELLO, "stream": True})
    assert response.body.count(b": keep-alive\n\n") >= 3
    assert response.body.endswith(b"data: [DONE]\n\n")


async def test_an_error_after_keep_alives_comes_in_band(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is spent, so the error is the last event."""
    monkeypatch.setattr(endpoint, "KEEP_ALIVE_EVERY", 0.02)
    routes = "  vote: {targets: ['sim/a?latency=0.1&status=503'], select: majority, retries: 0}"
    async with gateways(routes, SCRIPT) as running:
        response = await running.post({"model": "vote", "messages": HELLO, "stream": True})
    assert response.status == 200
    last = response.body.decode().strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "all_targets_failed"


async def test_an_error_before_the_first_words_still_has_its_status() -> None:
    """As long as nothing was sent, a stream fails like any request."""
    async with gateways("  one: {targets: ['sim/a?status=429&retry_after=7'], retries: 0}") as running:
        response = await running.post({"model": "one", "messages": HELLO, "stream": True})
    assert response.status == 429
    assert int(response.headers["retry-after"]) in {7, 8}


async def test_an_explanation_is_the_last_chunk_before_the_end() -> None:
    """Asked for, it comes in a chunk without choices, which SDKs skip over."""
    async with gateways("  race: {targets: [sim/a]}", SCRIPT) as running:
        data = await events(running, model="race", hedgerow={"explain": True})
    last = json.loads(data[-2])
    assert last["choices"] == []
    assert last["hedgerow"]["winner"] == "sim/a"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("select", ["first", "majority"])
async def test_a_client_that_leaves_takes_every_branch_along(stream: bool, select: str) -> None:
    """All upstream calls are cut within a moment, the status is 499, and no target is blamed."""
    routes = f"  all: {{targets: ['sim/a?silent', 'sim/b?silent'], select: {select}}}"
    async with gateways(routes, SCRIPT) as running:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(running.post({"model": "all", "messages": HELLO, "stream": stream}))
            await eventually(lambda: running.sim.running == 2)
            asking.cancel()
        await eventually(lambda: [entry.outcome for entry in running.sim.journal] == ["disconnected"] * 2)
        await eventually(lambda: running.sample("hedgerow_requests_total", route="all", status="499") == 1)
        for target in ("sim/a?silent", "sim/b?silent"):
            assert running.sample("hedgerow_attempts_total", route="all", target=target, outcome="superseded") == 1
            assert running.sample("hedgerow_attempts_total", route="all", target=target, outcome="timeout") == 0


async def test_a_client_that_leaves_in_mid_stream_stops_the_upstream() -> None:
    """What was generated is booked, what was not is never generated."""
    routes = "  one: {targets: ['sim/a?gap=0.01&tokens=1000']}"
    async with gateways(routes, SCRIPT) as running:
        async with running.client() as client:
            stream = await client.chat.completions.create(model="one", messages=HELLO, stream=True)  # type: ignore[call-overload]
            async for chunk in stream:
                if chunk.choices[0].delta.content:
                    break
            await stream.close()
        await eventually(lambda: [entry.outcome for entry in running.sim.journal] == ["disconnected"])
        assert running.sim.journal[0].generated < 100
        assert (
            running.sample("hedgerow_tokens_total", target="sim/a?gap=0.01&tokens=1000", kind="completion", fate="won")
            > 0
        )


async def test_connections_are_used_again_after_streams_and_answers() -> None:
    """Ten requests one after another need one upstream connection."""
    async with gateways("  one: {targets: [sim/a]}", SCRIPT) as running:
        for number in range(10):
            await running.post({"model": "one", "messages": HELLO, "stream": number % 2 == 0})
        session = running.gateway._providers["sim"]._upstream._session  # type: ignore[attr-defined]
        assert sum(map(len, session.connector._conns.values())) == 1


@asynccontextmanager
async def upstreams(*pieces: bytes | float | None) -> AsyncIterator[str]:
    """A provider that sends exactly these bytes of a stream; a number waits so long, None breaks the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            if piece is None:
                assert request.transport is not None
                request.transport.abort()
            elif isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                await response.write(piece)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def event(index: int, content: str, finish: str | None = None) -> bytes:
    """One chunk of a stream."""
    choice = {"index": index, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode() + b"\n\n"


async def test_a_complete_stream_whose_connection_ends_late_is_a_success() -> None:
    """The client has everything: the status is 200, and the connection is kept for the next request."""
    async with upstreams(event(0, "hi", "stop"), b"data: [DONE]\n\n", 0.02) as url:
        head, routes = f"  raw: {{api: openai, base_url: '{url}'}}", "  one: {targets: [raw/m]}"
        async with gateways(routes, head=head) as running:
            for _ in range(3):
                assert (await events(running, model="one"))[-1] == "[DONE]"
            await eventually(lambda: running.sample("hedgerow_requests_total", route="one", status="200") == 3)
            assert running.sample("hedgerow_requests_total", route="one", status="499") == 0


async def test_a_stream_of_several_choices_is_complete_when_each_of_them_is() -> None:
    """One finished choice does not make up for another that broke off."""
    async with upstreams(event(0, "whole", "stop"), event(1, "half of"), None) as url:
        head, routes = f"  raw: {{api: openai, base_url: '{url}'}}", "  one: {targets: [raw/m]}"
        async with gateways(routes, head=head) as running:
            data = await events(running, model="one", n=2)
    assert json.loads(data[-1])["error"]["code"] == "stream_broken"
    assert "[DONE]" not in data


async def test_losers_of_a_race_leave_nothing_behind() -> None:
    """Streams that were cancelled before their first words keep no timer and no response alive."""
    routes = "  race: {targets: [sim/a, 'sim/b?early=role&ttft=5', 'sim/c?early=role&ttft=5']}"

    def streams() -> set[int]:
        gc.collect()
        return {id(each) for each in gc.get_objects() if isinstance(each, openai_stream.WireStream)}

    before = streams()  # other tests of this process may have left some on purpose
    async with gateways(routes, SCRIPT) as running:
        for _ in range(5):
            await events(running, model="race")
        await eventually(lambda: streams() <= before)
