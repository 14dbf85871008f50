"""Several answers side by side: live streams interleaved by index, and a client's `n` over several providers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from gateway.engine import chorus
from tests.support.gateways import Running, gateways
from tests.support.ports import free_port
from tests.support.simulators import eventually
from tests.support.stages import DONE, Stage, delta, stages

pytestmark = pytest.mark.anyio

HELLO: list[Any] = [{"role": "user", "content": "Say something."}]
SCRIPT: dict[str, Any] = {
    "a": {"answer": "one two three"},
    "b": {"answer": "uno dos tres", "ttft": 0.02},
    "c": {"answer": "eins zwei drei", "ttft": 0.04},
}
THREE = "  all: {targets: [sim/a, sim/b, sim/c], select: collect, retries: 0}"


async def streamed(running: Running, **body: Any) -> list[Any]:
    """The events of a stream that ended as it should."""
    answer = await running.post({"model": "all", "messages": HELLO, "stream": True, **body})
    assert answer.status == 200, answer.body
    data = [e.removeprefix("data: ") for e in answer.body.decode().split("\n\n") if e.startswith("data: ")]
    assert data.count("[DONE]") == 1, data
    assert data[-1] == "[DONE]", data
    return [json.loads(event) for event in data[:-1]]


def choices(chunks: list[Any], index: int) -> list[Any]:
    return [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]


def text(chunks: list[Any], index: int) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in choices(chunks, index))


def finishes(chunks: list[Any], index: int) -> list[str]:
    return [choice["finish_reason"] for choice in choices(chunks, index) if choice["finish_reason"]]


@asynccontextmanager
async def on_stage(routes: str) -> AsyncIterator[tuple[Stage, Running]]:
    """A gateway before a provider that the test plays."""
    async with stages() as stage, gateways(routes, head=f"  s: {{api: openai, base_url: '{stage.url}'}}") as running:
        yield stage, running


class Client:
    """A client that reads one stream event by event."""

    def __init__(self, running: Running, **body: Any) -> None:
        self._request = running.http.post(
            running.url + "/v1/chat/completions", json={"model": "all", "messages": HELLO, "stream": True, **body}
        )

    async def __aenter__(self) -> Self:
        self._response = await self._request.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._response.close()

    async def line(self) -> bytes:
        """The next line that is not empty."""
        async with asyncio.timeout(10):
            while not (line := await self._response.content.readline()).strip():
                assert line, "the stream has ended"
        return line.strip()

    async def next(self) -> Any:
        """The next event, `[DONE]` as it stands."""
        while not (line := await self.line()).startswith(b"data: "):
            pass
        data = line.removeprefix(b"data: ")
        return data.decode() if data == b"[DONE]" else json.loads(data)

    async def said(self) -> tuple[int, str]:
        """The next words and whose they are."""
        choice = (await self.next())["choices"][0]
        return choice["index"], choice["delta"].get("content")


async def test_each_target_s_words_arrive_as_it_says_them_under_its_own_index() -> None:
    """Nobody is waited for: what one says goes out while the others are silent, in the order of its saying."""
    async with on_stage("  all: {targets: [s/a, s/b], select: collect}") as (stage, running):
        stage.say("b", delta("uno"))
        async with Client(running) as client:
            opening = await client.next()
            assert await client.said() == (1, "uno")  # a has not said a word yet
            stage.say("a", delta("one"))
            assert await client.said() == (0, "one")
            stage.say("a", delta("two"))
            assert await client.said() == (0, "two")
            stage.say("b", delta("dos"))
            assert await client.said() == (1, "dos")
            stage.say("b", delta("", "stop"), DONE)
            assert (await client.next())["choices"][0]["finish_reason"] == "stop"
            stage.say("a", delta("three"))
            assert await client.said() == (0, "three")
            stage.say("a", delta("", "stop"), DONE)
            assert (await client.next())["choices"][0]["finish_reason"] == "stop"
            assert await client.next() == "[DONE]"

    assert [choice["index"] for choice in opening["choices"]] == [0, 1]
    assert {choice["delta"]["role"] for choice in opening["choices"]} == {"assistant"}


async def test_a_long_silence_of_all_is_bridged_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies close what is silent: after the first words, too, the connection shows that it is alive."""
    monkeypatch.setattr(chorus, "KEEP_ALIVE_EVERY", 0.02)
    async with on_stage("  all: {targets: [s/a, s/b], select: collect}") as (stage, running):
        stage.say("a", delta("one"))
        async with Client(running) as client:
            assert (await client.next())["choices"]
            assert await client.said() == (0, "one")
            assert [await client.line(), await client.line()] == [b": keep-alive"] * 2
            for name in ("a", "b"):
                stage.say(name, delta("end", "stop"), DONE)
            while await client.next() != "[DONE]":
                pass


async def test_what_one_target_says_keeps_its_bytes_and_its_order() -> None:
    """Only `id`, `created`, `model`, `index` and the role are another's: unknown fields, numbers and spelling stay."""
    pieces = [
        b'data: {"id":"x","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"%d","vendor":1.50e+1},'
        b'"finish_reason":%s,"weird":"\\u00e9"}],"extra":[%d]}\n\n' % (i, b'"stop"' if i == 9 else b"null", i)
        for i in range(10)
    ]
    async with on_stage("  all: {targets: [s/a, s/b], select: collect}") as (stage, running):
        stage.say("a", *pieces, DONE)
        stage.say("b", *pieces, DONE)
        answer = await running.post({"model": "all", "messages": HELLO, "stream": True})

    events = answer.body.split(b"\n\n")[1:-2]
    for index in (0, 1):
        mine = [event for event in events if b'"index":%d' % index in event]
        assert mine == [
            piece.removesuffix(b"\n\n")
            .replace(b'"model":"m"', b'"model":"all"')
            .replace(b'"index":0', b'"index":%d' % index)
            for piece in pieces
        ]


async def test_openai_python_reads_the_stream_of_three_targets() -> None:
    """Raw chunks, and the SDK's own accumulation, which needs every choice opened in order."""
    async with gateways(THREE, SCRIPT) as running, running.client() as client:
        stream = await client.chat.completions.create(model="all", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        async with client.chat.completions.stream(
            model="all", messages=HELLO, stream_options={"include_usage": True}
        ) as accumulated:
            completion = await accumulated.get_final_completion()

    assert {chunk.model for chunk in chunks} == {"all"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [(c.index, c.message.role, c.message.content, c.finish_reason) for c in completion.choices] == [
        (0, "assistant", "one two three", "stop"),
        (1, "assistant", "uno dos tres", "stop"),
        (2, "assistant", "eins zwei drei", "stop"),
    ]
    assert completion.usage is not None


async def test_the_tokens_of_all_are_added_up_once_at_the_end_if_asked_for() -> None:
    """As from one upstream: `usage` is null until the last chunk, which has no choices; else there is none at all."""
    async with gateways(THREE, SCRIPT) as running:
        told = await streamed(running, stream_options={"include_usage": True})
        plain = await streamed(running)
        whole = (await running.post({"model": "all", "messages": HELLO})).json

        def booked(fate: str) -> float:
            targets = ("sim/a", "sim/b", "sim/c")
            return sum(
                running.sample("hedgerow_tokens_total", target=target, kind="completion", fate=fate)
                for target in targets
            )

        await eventually(lambda: booked("won") >= 3 * whole["usage"]["completion_tokens"])
        assert booked("lost") == 0

    assert [chunk["usage"] for chunk in told] == [None] * (len(told) - 1) + [whole["usage"]]
    assert told[-1]["choices"] == []
    assert all("usage" not in chunk for chunk in plain)


async def test_a_branch_that_breaks_off_ends_its_own_choice_and_no_other() -> None:
    """In band and of the standard's shape: `length` is the finish reason for what is not whole; `error` says why."""
    routes = "  all: {targets: ['sim/a?cut=2&cut_by=rst', sim/b], select: collect, retries: 0}"
    async with gateways(routes, SCRIPT) as running:
        chunks = await streamed(running, hedgerow={"explain": True})

    assert text(chunks, 0)
    assert "one two three".startswith(text(chunks, 0))
    assert finishes(chunks, 0) == ["length"]
    ending = choices(chunks, 0)[-1]
    assert ending["error"]["type"] == "upstream_error"
    assert ending["error"]["code"] in {"transient", "truncated"}
    assert (text(chunks, 1), finishes(chunks, 1)) == ("uno dos tres", ["stop"])
    told = chunks[-1]["hedgerow"]["choices"]
    assert [(each["index"], each["target"], "kind" in each) for each in told] == [
        (0, "sim/a?cut=2&cut_by=rst", True),
        (1, "sim/b", False),
    ]


@pytest.mark.parametrize("others", ["sim/b", "sim/b, 'sim/c?cut=1&cut_by=fin'"])
async def test_a_target_that_fails_before_its_first_words_ends_its_choice_at_once(others: str) -> None:
    """The index stays its own, so nobody's words move to another's place."""
    routes = f"  all: {{targets: ['sim/a?status=503', {others}], select: collect, retries: 0}}"
    async with gateways(routes, SCRIPT) as running:
        chunks = await streamed(running)

    assert (text(chunks, 0), finishes(chunks, 0)) == ("", ["length"])
    assert choices(chunks, 0)[-1]["error"]["code"] == "transient"
    assert (text(chunks, 1), finishes(chunks, 1)) == ("uno dos tres", ["stop"])


async def test_a_stream_in_which_everybody_breaks_off_is_an_error() -> None:
    """There is no whole answer in it, so there is no `[DONE]` either; if nobody begins there is a status."""
    routes = (
        "  all: {targets: ['sim/a?cut=1&cut_by=rst', 'sim/b?cut=1&cut_by=rst'], select: collect, retries: 0}\n"
        "  none: {targets: ['sim/a?status=503', 'sim/b?status=503'], select: collect, retries: 0}"
    )
    async with gateways(routes, SCRIPT) as running:
        broken = await running.post({"model": "all", "messages": HELLO, "stream": True})
        none = await running.post({"model": "none", "messages": HELLO, "stream": True})

    assert b"[DONE]" not in broken.body
    assert json.loads(broken.body.rstrip().rpartition(b"data: ")[2])["error"]["code"] == "stream_broken"
    assert (none.status, none.json["error"]["code"]) == (502, "all_targets_failed")


async def test_a_client_that_leaves_cancels_every_branch() -> None:
    """Those that speak and those that have not begun."""
    async with on_stage("  all: {targets: [s/a, s/b, s/c], select: collect}") as (stage, running):
        stage.say("a", delta("one"))
        stage.say("b", delta("uno"))
        async with Client(running) as client:
            await client.next()
            assert {(await client.said())[0], (await client.said())[0]} == {0, 1}
            async with asyncio.timeout(10):
                await stage.asked["c"].wait()
        async with asyncio.timeout(10):
            for model in "abc":
                await stage.left[model].wait()
        await eventually(lambda: running.sample("hedgerow_requests_total", route="all", status="499") == 1)
        assert running.sample("hedgerow_superseded_total", target="s/c") == 1


async def test_a_slow_client_holds_every_branch_back() -> None:
    """No target is read faster than the client reads: what waits is bounded by the sockets, not by memory."""
    piece, wanted = delta("x" * 60_000), 400
    async with on_stage("  all: {targets: [s/a, s/b], select: collect, idle: 60s}") as (stage, running):
        for model in "ab":
            stage.say(model, *[piece] * wanted)
        async with Client(running) as client:
            await client.next()
            for _ in range(100):  # a busy machine: until nobody has moved for a while
                before = sum(queue.qsize() for queue in stage.lines.values())
                await asyncio.sleep(0.1)
                if before == sum(queue.qsize() for queue in stage.lines.values()) < 2 * wanted - 2:
                    break
            held = [stage.lines[model].qsize() for model in "ab"]
    assert all(count > wanted // 4 for count in held), held


async def test_the_deadline_ends_the_choices_of_those_that_have_not_begun() -> None:
    """Those that speak go on."""
    async with on_stage("  all: {targets: [s/a, s/b], select: collect, deadline: 1s}") as (stage, running):
        stage.say("a", delta("one"))
        async with Client(running) as client:
            await client.next()
            assert await client.said() == (0, "one")
            late = (await client.next())["choices"][0]
            async with asyncio.timeout(10):
                await stage.left["b"].wait()
            stage.say("a", delta("two", "stop"), DONE)
            assert await client.said() == (0, "two")
            assert await client.next() == "[DONE]"
    assert (late["index"], late["finish_reason"], late["error"]["code"]) == (1, "length", "timeout")


@pytest.mark.parametrize("launch", ["fallback", "{initial: 1, stagger: 20ms}", "all"])
async def test_every_target_is_heard_whatever_the_launch(launch: str) -> None:
    """Whoever has not been asked yet joins in while the others speak."""
    routes = f"  all: {{targets: [sim/a, 'sim/b?gap=0.02', sim/c], select: collect, launch: {launch}}}"
    async with gateways(routes, SCRIPT) as running:
        chunks = await streamed(running)
    assert [text(chunks, i) for i in range(3)] == ["one two three", "uno dos tres", "eins zwei drei"]


async def test_answers_that_are_sifted_first_do_not_stream_before_they_are_whole() -> None:
    """What drops outliers must have seen all of them: no word of the one that is dropped goes out."""
    odd = {"a": {"answer": "Paris it is"}, "b": {"answer": "it is Paris"}, "c": {"answer": "zxq wvu"}}
    routes = "  all: {targets: [sim/a, sim/b, sim/c], select: {drop_outliers: {of: collect}}}"
    async with gateways(routes, odd) as running:
        chunks = await streamed(running)
    assert [text(chunks, index) for index in range(3)] == ["Paris it is", "it is Paris", ""]


async def test_a_route_that_shows_nothing_before_it_is_whole_replays_all_answers() -> None:
    """`buffer: full` is kept."""
    routes = "  all: {targets: [sim/a, sim/b], select: collect, buffer: full}"
    async with gateways(routes, SCRIPT) as running:
        chunks = await streamed(running)
    assert [text(chunks, i) for i in range(2)] == ["one two three", "uno dos tres"]


HEAD = "  anth: {api: anthropic, base_url: '{sim}', api_key: sk-test}"


def asked(running: Running) -> dict[str, list[Any]]:
    """What `n` each model was asked for, call by call."""
    found: dict[str, list[Any]] = {}
    for body in running.received():
        found.setdefault(body["model"], []).append(body.get("n"))
    return found


@pytest.mark.parametrize(
    ("n", "shares"),
    [
        (2, {"a": [None], "b": [None]}),
        (3, {"a": [None], "b": [None], "c": [None]}),
        (7, {"a": [3], "b": [2], "c": [2]}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_n_answers_come_from_all_targets_in_equal_shares(
    n: int, shares: dict[str, list[int]], stream: bool
) -> None:
    """As choices 0 to n - 1 of one completion or stream; the targets of the highest priority give one more."""
    async with gateways(THREE, SCRIPT) as running:
        if stream:
            chunks = await streamed(running, n=n)
            texts = [text(chunks, index) for index in range(n)]
            assert not choices(chunks, n)
            assert all(finishes(chunks, index) == ["stop"] for index in range(n))
        else:
            answer = await running.post({"model": "all", "messages": HELLO, "n": n})
            assert [choice["index"] for choice in answer.json["choices"]] == list(range(n))
            texts = [choice["message"]["content"] for choice in answer.json["choices"]]
        assert asked(running) == shares
    assert texts == [SCRIPT[name]["answer"] for name in "abc" for _ in range(sum(k or 1 for k in shares.get(name, [])))]


@pytest.mark.parametrize("stream", [False, True])
async def test_with_fewer_answers_than_targets_the_last_ones_stand_in_for_those_that_fail(stream: bool) -> None:
    """Two of three are asked; the third is, once one of them has failed, and gives its choice."""
    routes = "  all: {targets: ['sim/a?status=503', sim/b, sim/c], select: collect, retries: 0}"
    async with gateways(routes, SCRIPT) as running:
        if stream:
            chunks = await streamed(running, n=2)
            texts = [text(chunks, 0), text(chunks, 1)]
            assert not choices(chunks, 2)
        else:
            answer = await running.post({"model": "all", "messages": HELLO, "n": 2})
            texts = [choice["message"]["content"] for choice in answer.json["choices"]]
    assert sorted(texts) == ["eins zwei drei", "uno dos tres"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_target_without_n_is_asked_as_often_as_its_share_says(stream: bool) -> None:
    """Anthropic gives one answer at a time: two calls are its two choices, tokens and dollars are those of both."""
    routes = "  all: {targets: [sim/a, anth/b], select: collect}"
    async with gateways(routes, SCRIPT, head=HEAD) as running:
        if stream:
            chunks = await streamed(running, n=4, stream_options={"include_usage": True})
            texts, usage = [text(chunks, index) for index in range(4)], chunks[-1]["usage"]
            assert not choices(chunks, 4)
        else:
            answer = (await running.post({"model": "all", "messages": HELLO, "n": 4})).json
            texts, usage = [choice["message"]["content"] for choice in answer["choices"]], answer["usage"]
        assert asked(running) == {"a": [2], "b": [None, None]}

        def booked(name: str, fate: str = "won") -> float:
            return running.sample("hedgerow_tokens_total", target=name, kind="completion", fate=fate)

        await eventually(lambda: booked("sim/a") + booked("anth/b") == usage["completion_tokens"])
        assert (booked("anth/b") >= 6, booked("anth/b", "lost")) == (True, 0)
    assert texts == ["one two three"] * 2 + ["uno dos tres"] * 2


async def test_a_server_that_refuses_n_is_believed_once_and_then_asked_one_by_one() -> None:
    """The refusal is its own, in its own words; it is not asked in vain a second time. Any selector profits."""
    async with on_stage("  all: {targets: [s/a], retries: 0}") as (stage, running):
        stage.refusal = {"error": {"message": "'n' : number must be at most 1", "type": "invalid_request_error"}}
        stage.refuse = lambda body: (body.get("n") or 1) > 1
        stage.say("a", *[delta("one", "stop"), DONE] * 4)
        for _ in range(2):
            chunks = await streamed(running, n=2)
            assert [text(chunks, 0), text(chunks, 1)] == ["one", "one"]
        assert [body.get("n") for body in stage.bodies] == [2, None, None, None, None]


async def test_an_answer_that_fails_is_missing_from_several() -> None:
    """As long as there is one: the request has been paid for."""
    script = {**SCRIPT, "b": [{"status": 400}, {"answer": "uno"}]}
    async with gateways("  all: {targets: [anth/b], select: collect, retries: 0}", script, head=HEAD) as running:
        answer = (await running.post({"model": "all", "messages": HELLO, "n": 3})).json
    assert [(c["index"], c["message"]["content"]) for c in answer["choices"]] == [(0, "uno"), (1, "uno")]


@pytest.mark.parametrize("n", [0, -1, 129, 10**30, 1.5, "3", True])
async def test_an_absurd_n_is_refused_before_anybody_is_asked(n: Any) -> None:
    """Named, quoted, and what is expected."""
    async with gateways(THREE, SCRIPT) as running:
        answer = await running.post({"model": "all", "messages": HELLO, "n": n})
        assert not running.received()
    assert (answer.status, answer.json["error"]["param"]) == (400, "n")
    assert json.dumps(n) in answer.json["error"]["message"]
    assert "from 1 to 128" in answer.json["error"]["message"]


async def test_several_answers_side_by_side_are_billed_together_in_every_dialect() -> None:
    """Anthropic's and the Responses API's objects tell the tokens of all answers that they hold, native or not."""
    routes = (
        "  mixed: {targets: [anth/a, sim/b], select: collect}\n"
        "  chat: {targets: [sim/a, sim/b], select: collect}\n"
        "  native: {targets: [anth/a, anth/b], select: collect}"
    )
    async with gateways(routes, SCRIPT, head=HEAD) as running:
        for model in ("mixed", "chat", "native"):
            message = (await running.post({"model": model, "messages": HELLO, "max_tokens": 100}, "/v1/messages")).json
            response = (await running.post({"model": model, "input": "Say something."}, "/v1/responses")).json
            completion = (await running.post({"model": model, "messages": HELLO})).json
            assert message["usage"]["output_tokens"] == completion["usage"]["completion_tokens"] >= 6
            assert response["usage"]["output_tokens"] == completion["usage"]["completion_tokens"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("faulty", "kind"),
    [
        ("dead/a", "transient"),
        ("sim/a?status=500", "transient"),
        ("sim/a?cut=0&cut_by=fin", "truncated"),
        ("other/a?status=401", "credential"),
    ],
)
async def test_the_share_of_a_target_that_fails_is_given_by_another(faulty: str, kind: str, *, stream: bool) -> None:
    """All the answers that were asked for, in their places; headers, tokens and the log tell whose they are."""
    routes = f"  all: {{targets: ['{faulty}', sim/b], select: collect, retries: 0}}"
    head = f"""  dead: {{api: openai, base_url: 'http://127.0.0.1:{free_port()}/v1'}}
  other: {{api: openai, base_url: '{{sim}}', api_key: sk-other-canary}}"""
    async with gateways(routes, SCRIPT, head=head) as running:
        body = {"n": 5, "hedgerow": {"explain": True}}
        if stream:
            chunks = await streamed(running, **body, stream_options={"include_usage": True})
            texts, usage = [text(chunks, index) for index in range(5)], chunks[-2]["usage"]
            assert all(finishes(chunks, index) == ["stop"] for index in range(5))
            told = chunks[-1]["hedgerow"]["choices"]
            assert [each["target"] for each in told] == [f"sim/b for {faulty}"] * 3 + ["sim/b"] * 2
        else:
            reply = await running.post({"model": "all", "messages": HELLO, **body})
            texts = [choice["message"]["content"] for choice in reply.json["choices"]]
            usage, explained = reply.json["usage"], reply.json["hedgerow"]
            assert [choice["index"] for choice in reply.json["choices"]] == list(range(5))
            assert (reply.headers["x-hedgerow-target"], reply.headers["x-hedgerow-branches"]) == ("sim/b", "2/3")
            assert {each["target"] for each in explained["candidates"]} == {"sim/b", f"sim/b for {faulty}"}
            assert [each["target"] for each in explained["failures"]] == [faulty]
        assert sorted(asked(running)["b"]) == [2, 3]

        def booked(fate: str) -> float:
            return running.sample("hedgerow_tokens_total", target="sim/b", kind="completion", fate=fate)

        await eventually(lambda: booked("won") == usage["completion_tokens"])
        assert booked("lost") == running.sample("hedgerow_tokens_total", target="_other") == 0
        assert running.sample("hedgerow_attempts_total", target="sim/b", outcome="answered") == 2
        line = running.log()[-1]
    assert texts == ["uno dos tres"] * 5
    assert line["made_up"] == [{"target": faulty, "by": "sim/b", "choices": 3}]
    branches = sorted((branch["target"], branch["outcome"]) for branch in line["branches"])
    assert branches == [(faulty, kind), ("sim/b", "answered"), ("sim/b", "answered")]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_share_that_its_stand_in_fails_to_give_is_missing(*, stream: bool) -> None:
    """It is asked for once more and no more than that where there is nobody else: the answer says how many came."""
    script = {"b": [{"answer": "uno"}, {"status": 500}]}
    routes = "  all: {targets: ['sim/a?status=500', sim/b], select: collect, retries: 0}"
    async with gateways(routes, script) as running:
        if stream:
            chunks = await streamed(running, n=2)
            texts, ends = [text(chunks, index) for index in range(2)], [finishes(chunks, index) for index in range(2)]
            assert (sorted(texts), sorted(ends)) == (["", "uno"], [["length"], ["stop"]])
        else:
            reply = await running.post({"model": "all", "messages": HELLO, "n": 2})
            assert [choice["message"]["content"] for choice in reply.json["choices"]] == ["uno"]
            assert reply.headers["x-hedgerow-branches"] == "1/3"
        assert len(running.received()) == 3


async def test_what_a_target_leaves_of_its_share_is_given_by_another() -> None:
    """One of its two calls failed: the rest is asked of the other target; nobody is asked for what has been given."""
    script = {**SCRIPT, "b": [{"status": 400}, {"answer": "uno"}]}
    routes = "  all: {targets: [sim/a, anth/b], select: collect, retries: 0}"
    async with gateways(routes, script, head=HEAD) as running:
        answer = (await running.post({"model": "all", "messages": HELLO, "n": 4})).json
        assert asked(running) == {"a": [2, None], "b": [None, None]}
        assert running.log()[-1]["made_up"] == [{"target": "anth/b", "by": "sim/a", "choices": 1}]
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert (texts[:2], sorted(texts[2:])) == (["one two three"] * 2, ["one two three", "uno"])


@pytest.mark.parametrize("stream", [False, True])
async def test_with_fewer_answers_than_targets_one_that_is_left_gives_them_all(*, stream: bool) -> None:
    """The last one has stood in already; what is missing still comes from who is up."""
    routes = "  all: {targets: ['sim/a?status=503', sim/b, 'sim/c?status=503'], select: collect, retries: 0}"
    async with gateways(routes, SCRIPT) as running:
        if stream:
            chunks = await streamed(running, n=2)
            texts = [text(chunks, 0), text(chunks, 1)]
        else:
            answer = await running.post({"model": "all", "messages": HELLO, "n": 2})
            texts = [choice["message"]["content"] for choice in answer.json["choices"]]
    assert texts == ["uno dos tres"] * 2


async def test_what_broke_off_in_a_stream_stays_where_it_broke_off() -> None:
    """Its words are with the client: another's cannot follow them, so nobody is asked to."""
    routes = "  all: {targets: ['sim/a?cut=2&cut_by=rst', sim/b], select: collect, retries: 0}"
    async with gateways(routes, SCRIPT) as running:
        chunks = await streamed(running, n=2)
        assert [len(calls) for calls in asked(running).values()] == [1, 1]
    assert (finishes(chunks, 0), finishes(chunks, 1), text(chunks, 1)) == (["length"], ["stop"], "uno dos tres")


async def test_a_provider_that_fails_too_often_itself_is_not_asked_for_another_s_share() -> None:
    """All is given until the second provider's budget is used up; the metrics say why it is not any more."""
    head = "  other: {api: openai, base_url: '{sim}', api_key: sk-other-canary}"
    routes = """
  all: {targets: ['sim/a?status=401', other/b], select: collect, retries: 0}
  down: {targets: [other/c], retries: 0}
"""
    async with gateways(routes, {**SCRIPT, "c": {"status": 503}}, head=head) as running:

        async def given() -> int:
            return len((await running.post({"model": "all", "messages": HELLO, "n": 2})).json["choices"])

        assert await given() == 2
        for _ in range(5):
            assert (await running.post({"model": "down", "messages": HELLO})).status >= 500
        assert await given() == 1
        assert running.sample("hedgerow_budget_denied_total", target="other/b", what="share") == 1
