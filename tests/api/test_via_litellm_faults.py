"""Providers behind litellm that fail: every fault has its kind, is asked once, and no half answer passes for whole."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fanin import Candidate
from gateway.domain import Failure, Target
from gateway.domain import FailureKind as K
from gateway.errors import StreamBroken
from gateway.providers import via_litellm, wiretap
from gateway.providers.via_litellm import LitellmProvider
from gateway.settings import ProviderSettings, Secret
from tests.support import anthropic_server as anthropic
from tests.support import gemini_server as gemini
from tests.support.behind_litellm import CLAUDE, FLASH, KEY, QUIET, Upstream, ask, upstream_server
from tests.support.ports import free_port
from tests.support.wire_server import End, Reply, WireServer

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings(QUIET)]

both = pytest.mark.parametrize("target", [CLAUDE, FLASH], ids=["anthropic", "gemini"])
whole_and_live = pytest.mark.parametrize("live", [False, True], ids=["whole", "stream"])
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with upstream_server() as upstream:
        yield upstream


def frames_of(target: Target, *words: str) -> list[bytes]:
    """A complete stream of the target's dialect, one frame or more a word."""
    if target is CLAUDE:
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}} for w in words
        ]
        frames = anthropic.frames(anthropic.text(""), pieces=1)
        at = next(i for i, frame in enumerate(frames) if b"content_block_stop" in frame)
        return [*frames[:at], *map(anthropic.frame, deltas), *frames[at:]]
    pieces = [gemini.frame(gemini.content(gemini.text(word), finish=None)) for word in words]
    return [*pieces, gemini.frame(gemini.content(gemini.text("")))]


def before_finish(frames: Sequence[bytes]) -> list[bytes]:
    """The frames up to the one that says how the answer ended."""
    end = next(i for i, frame in enumerate(frames) if b'stop_reason": "' in frame or b"finishReason" in frame)
    return list(frames[:end])


def streaming(frames: Sequence[bytes], *, end: End = "clean", pause: float = 0.0) -> Reply:
    return Reply(200, SSE, frames=frames, end=end, pause=pause)


async def drain(candidate: Candidate) -> tuple[list[dict[str, Any]], Failure | None]:
    """Read a stream to its end; return its chunks and how it broke."""
    chunks: list[dict[str, Any]] = []
    try:
        async for events in candidate.payload:
            chunks.extend(json.loads(data) for data in events)
    except StreamBroken as broken:
        return chunks, broken.failure
    finally:
        await candidate.payload.aclose()
    return chunks, None


def text_of(chunks: Sequence[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def finishes(chunks: Sequence[dict[str, Any]]) -> list[str]:
    return [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]


REFUSALS: list[tuple[str, Target, Reply, K, int]] = [
    ("anthropic-401", CLAUDE, anthropic.refusal(401, "authentication_error", "invalid x-api-key"), K.CREDENTIAL, 401),
    (
        "anthropic-429",
        CLAUDE,
        anthropic.refusal(429, "rate_limit_error", "x", {"retry-after": "7"}),
        K.RATE_LIMITED,
        429,
    ),
    ("anthropic-529", CLAUDE, anthropic.refusal(529, "overloaded_error", "Overloaded"), K.TRANSIENT, 529),
    ("anthropic-500", CLAUDE, anthropic.refusal(500, "api_error", "Internal server error"), K.TRANSIENT, 500),
    ("anthropic-400", CLAUDE, anthropic.refusal(400, "invalid_request_error", "messages: bad"), K.CALLER_FAULT, 400),
    ("anthropic-404", CLAUDE, anthropic.refusal(404, "not_found_error", "model: claude-sonet"), K.MODEL_GONE, 404),
    (
        "anthropic-long",
        CLAUDE,
        anthropic.refusal(400, "invalid_request_error", "prompt is too long"),
        K.CONTEXT_LENGTH,
        400,
    ),
    (
        "anthropic-credit",
        CLAUDE,
        anthropic.refusal(400, "invalid_request_error", "Your credit balance is too low"),
        K.QUOTA,
        400,
    ),
    ("anthropic-html", CLAUDE, Reply(503, {"content-type": "text/html"}, b"<html>no</html>"), K.TRANSIENT, 503),
    ("gemini-400", FLASH, gemini.answer(gemini.error(400, "INVALID_ARGUMENT", "bad range")), K.CALLER_FAULT, 400),
    (
        "gemini-key",
        FLASH,
        gemini.answer(gemini.error(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"})),
        K.CREDENTIAL,
        400,
    ),
    (
        "gemini-429",
        FLASH,
        gemini.answer(gemini.error(429, "RESOURCE_EXHAUSTED", "quota", {"retryDelay": "7s"})),
        K.RATE_LIMITED,
        429,
    ),
    ("gemini-503", FLASH, gemini.answer(gemini.error(503, "UNAVAILABLE", "overloaded")), K.TRANSIENT, 503),
    ("gemini-404", FLASH, gemini.answer(gemini.error(404, "NOT_FOUND", "models/x is not found")), K.MODEL_GONE, 404),
]


@whole_and_live
@pytest.mark.parametrize(("target", "reply", "kind", "status"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
async def test_a_refusal_has_its_kind_and_is_asked_for_once(
    upstream: Upstream, target: Target, reply: Reply, kind: K, status: int, live: bool
) -> None:
    """The upstream's own status, headers and words decide, not litellm's exception; nobody asks again."""
    failure = await upstream.ask(target, ask(live=live), reply)
    assert (failure.kind, failure.status, failure.target) == (kind, status, target.name)
    assert failure.retry_after == (7 if kind is K.RATE_LIMITED else None)
    assert (failure.error is not None) == kind.caller_should_know
    assert len(upstream.server.received) == 1


async def test_a_client_reads_the_upstreams_words_and_none_of_litellms(upstream: Upstream) -> None:
    """The message is the upstream's own, scrubbed; class names and advice about litellm stay inside."""
    words = "messages.0: bad role. See https://docs.anthropic.com/x or ask sk-ant-canary-0123456789"
    failure = await upstream.ask(CLAUDE, ask(), anthropic.refusal(400, "invalid_request_error", words))
    assert failure.error == {
        "message": "messages.0: bad role. See [removed] or ask [removed]",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


@both
@whole_and_live
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 529, 302])
async def test_no_failure_shows_a_key_or_an_address(
    upstream: Upstream, target: Target, status: int, live: bool
) -> None:
    """Neither our credential nor the provider's host appears in anything a client or a log might see."""
    host = upstream.server.url.removeprefix("http://")
    body = {"error": {"message": f"key {KEY}-sk-ant-abcdef123 at {upstream.server.url}/v1 ({host})", "type": "x"}}
    reply = Reply(status, JSON | {"location": upstream.server.url}, json.dumps(body).encode())
    failure = await upstream.ask(target, ask(live=live), reply)
    shown = repr(failure) + json.dumps(failure.error)
    assert host not in shown
    assert "sk-ant-abcdef123" not in shown
    assert isinstance(failure, Failure)


@both
@whole_and_live
async def test_a_redirect_is_not_followed(upstream: Upstream, target: Target, live: bool) -> None:
    """A provider cannot send our request, key included, to another place."""
    async with WireServer(lambda _: Reply()) as elsewhere:
        reply = Reply(307, {"location": f"{elsewhere.url}/v1/messages"})
        failure = await upstream.ask(target, ask(live=live), reply)
        assert failure.kind is K.MALFORMED
        assert elsewhere.received == []


class Resetter:
    """A server that reads a request and resets the connection; `attempts` counts them."""

    def __init__(self) -> None:
        self.attempts = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attempts += 1
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.02)
        linger = struct.pack("ii", 1, 0)  # on, for no time: closing sends RST instead of FIN
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()


@both
@whole_and_live
async def test_a_reset_before_the_answer_is_asked_for_once(target: Target, live: bool) -> None:
    """What may have been billed is not sent again behind our back; retries are ours to count."""
    resetter = Resetter()
    async with await asyncio.start_server(resetter, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        provider = LitellmProvider(ProviderSettings(target.provider, target.provider, url, Secret("k")))
        failure = await provider(target, ask(live=live), asyncio.get_running_loop().time() + 9)
        await provider.aclose()
    assert isinstance(failure, Failure)
    assert failure.kind is K.TRANSIENT
    assert resetter.attempts == 1


async def test_litellm_alone_would_send_a_request_twice() -> None:
    """The reason why our session turns resets into errors that litellm does not answer by itself."""
    await LitellmProvider(ProviderSettings("a", "anthropic")).warm_up()
    import litellm

    resetter = Resetter()
    async with await asyncio.start_server(resetter, "127.0.0.1", 0) as server:
        with pytest.raises(litellm.InternalServerError):
            await litellm.acompletion(
                model=f"anthropic/{anthropic.MODEL}",
                api_base=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
                api_key="k",
                messages=[{"role": "user", "content": "hi"}],
                num_retries=0,
                max_retries=0,
            )
    await litellm.close_litellm_async_clients()
    assert resetter.attempts == 2


@both
@whole_and_live
async def test_a_refused_connection_is_transient(target: Target, live: bool) -> None:
    """Nobody listens: nothing was sent, another time it may work."""
    port = free_port()
    provider = LitellmProvider(
        ProviderSettings(target.provider, target.provider, f"http://127.0.0.1:{port}", Secret("k"))
    )
    failure = await provider(target, ask(live=live), asyncio.get_running_loop().time() + 9)
    await provider.aclose()
    assert isinstance(failure, Failure)
    assert failure.kind is K.TRANSIENT
    assert str(port) not in repr(failure)


@both
async def test_a_connection_that_is_not_accepted_ends_after_seconds(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that drops our packets costs the connect limit, not the whole attempt."""
    monkeypatch.setattr(wiretap, "CONNECT_TIMEOUT", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):  # a backlog of one, filled: further packets are dropped
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            await asyncio.sleep(0.05)
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            provider = LitellmProvider(ProviderSettings(target.provider, target.provider, url, Secret("k")))
            loop = asyncio.get_running_loop()
            await provider.warm_up()
            start = loop.time()
            failure = await provider(target, ask(), start + 9)
            await provider.aclose()
    assert isinstance(failure, Failure)
    assert failure.kind is K.TIMEOUT
    assert loop.time() - start < 2


ERRORS_INSIDE = {
    "claude": anthropic.error("overloaded_error", "Overloaded"),
    "flash": gemini.error(503, "UNAVAILABLE", "The model is overloaded."),
}
WHOLE: list[tuple[str, Callable[[Target], Reply], K]] = [
    ("html", lambda _: Reply(200, {"content-type": "text/html"}, b"<html>Bad gateway</html>"), K.MALFORMED),
    ("half-json", lambda _: Reply(200, JSON, b'{"id": "msg_01", "content": [{"ty'), K.MALFORMED),
    ("list", lambda _: Reply(200, JSON, b"[]"), K.MALFORMED),
    (
        "error-in-200",
        lambda t: Reply(200, JSON, json.dumps(ERRORS_INSIDE[t.name]).encode()),
        K.TRANSIENT,
    ),
    ("short", lambda _: Reply(200, JSON | {"content-length": "500"}, b'{"id": 1}', end="reset"), K.TRUNCATED),
    ("zipped", lambda _: Reply(200, JSON | {"content-encoding": "gzip"}, gzip.compress(b"{}")), K.MALFORMED),
    ("huge", lambda _: Reply(200, JSON, b'{"x": "' + b"x" * 17_000_000 + b'"}'), K.MALFORMED),
    (
        "empty",
        lambda t: anthropic.message() if t is CLAUDE else gemini.answer(gemini.content(gemini.text(""))),
        K.EMPTY,
    ),
]


@both
@pytest.mark.parametrize(("reply", "kind"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
async def test_a_success_that_is_no_answer_is_a_failure(
    upstream: Upstream, target: Target, reply: Callable[[Target], Reply], kind: K
) -> None:
    """A 200 proves nothing."""
    failure = await upstream.ask(target, ask(), reply(target))
    assert isinstance(failure, Failure)
    assert failure.kind is kind, failure
    assert len(upstream.server.received) == 1


@whole_and_live
async def test_a_blocked_prompt_of_gemini_was_filtered(upstream: Upstream, live: bool) -> None:
    """No words and a block reason: the content policy, not an empty answer."""
    reply = gemini.stream([gemini.blocked()]) if live else gemini.answer(gemini.blocked())
    failure = await upstream.ask(FLASH, ask(live=live), reply)
    assert failure.kind is K.FILTERED


@both
@pytest.mark.parametrize("cut", ["clean", "reset"])
async def test_a_stream_that_ends_too_early_is_broken_and_never_finished(
    upstream: Upstream, target: Target, cut: End
) -> None:
    """However cleanly the connection closes: without the upstream's own finish_reason there is none."""
    frames = before_finish(frames_of(target, "Paris ", "is ", "the"))
    candidate = await upstream.ask(target, ask(live=True), streaming(frames, end=cut, pause=0.01))
    assert isinstance(candidate, Candidate)
    chunks, failure = await drain(candidate)
    assert text_of(chunks) == "Paris is the"
    assert finishes(chunks) == []
    assert failure is not None
    assert failure.kind is K.TRUNCATED


@both
async def test_litellm_alone_would_sell_a_broken_stream_as_complete(upstream: Upstream, target: Target) -> None:
    """The reason for our check, and the proof that the test above can fail (BerriAI/litellm#40260)."""
    await LitellmProvider(ProviderSettings("a", "anthropic")).warm_up()
    import litellm

    upstream.replies = [streaming(before_finish(frames_of(target, "Paris ", "is ", "the")))]
    stream = await litellm.acompletion(
        model=f"{target.provider}/{target.model}",
        api_base=upstream.server.url,
        api_key="k",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
    )
    read = [chunk async for chunk in stream]
    await stream.aclose()
    await litellm.close_litellm_async_clients()
    assert read[-1].choices[0].finish_reason == "stop"


@both
@pytest.mark.parametrize("cut", ["clean", "reset"])
async def test_a_stream_that_ends_before_its_first_words_is_a_failure(
    upstream: Upstream, target: Target, cut: End
) -> None:
    """Nothing was committed: another target can still answer."""
    frames = before_finish(frames_of(target))[:2]
    failure = await upstream.ask(target, ask(live=True), streaming(frames or [b": ping\n\n"], end=cut, pause=0.01))
    assert isinstance(failure, Failure)
    assert failure.kind is K.TRUNCATED


@both
async def test_a_stream_without_words_is_empty(upstream: Upstream, target: Target) -> None:
    """It ended properly and said nothing."""
    failure = await upstream.ask(target, ask(live=True), streaming(frames_of(target)))
    assert isinstance(failure, Failure)
    assert failure.kind is K.EMPTY


@both
async def test_a_cut_after_the_finish_reason_is_no_harm(upstream: Upstream, target: Target) -> None:
    """The answer is complete once the upstream said how it ended, whatever the connection does then."""
    frames = frames_of(target, "Paris")
    frames = frames[:-1] if target is CLAUDE else frames  # without message_stop
    candidate = await upstream.ask(target, ask(live=True), streaming(frames, end="reset", pause=0.01))
    chunks, failure = await drain(candidate)
    assert (text_of(chunks), finishes(chunks), failure) == ("Paris", ["stop"], None)


@both
async def test_a_stream_that_stays_open_after_its_end_is_not_waited_for(
    upstream: Upstream, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the finish_reason only a moment is granted for what may follow."""
    monkeypatch.setattr(via_litellm, "GRACE", 0.1)
    candidate = await upstream.ask(target, ask(live=True), streaming(frames_of(target, "Paris"), end="hang"))
    async with asyncio.timeout(3):
        chunks, failure = await drain(candidate)
    assert (text_of(chunks), finishes(chunks), failure) == ("Paris", ["stop"], None)


@both
async def test_silence_is_a_stall_and_pings_do_not_break_it(upstream: Upstream, target: Target) -> None:
    """Only events with something in them count as life."""
    words = before_finish(frames_of(target, "Paris "))
    ping = anthropic.frame({"type": "ping"}) if target is CLAUDE else b": keep-alive\n\n"
    impatient = replace(target, idle=0.3)
    candidate = await upstream.ask(impatient, ask(live=True), streaming([*words, *[ping] * 100], pause=0.05))
    loop = asyncio.get_running_loop()
    start = loop.time()
    chunks, failure = await drain(candidate)
    assert failure is not None
    assert failure.kind is K.STALLED
    assert text_of(chunks) == "Paris "
    assert loop.time() - start < 2


ERROR_EVENTS: list[tuple[str, Target, bytes, K]] = [
    ("overloaded", CLAUDE, anthropic.frame(anthropic.error("overloaded_error", "Overloaded")), K.TRANSIENT),
    ("rate", CLAUDE, anthropic.frame(anthropic.error("rate_limit_error", "slow down")), K.RATE_LIMITED),
    ("caller", CLAUDE, anthropic.frame(anthropic.error("invalid_request_error", "bad")), K.CALLER_FAULT),
    ("gemini-rate", FLASH, gemini.frame(gemini.error(429, "RESOURCE_EXHAUSTED", "quota")), K.RATE_LIMITED),
    ("gemini-down", FLASH, gemini.frame(gemini.error(503, "UNAVAILABLE", "overloaded")), K.TRANSIENT),
]


@pytest.mark.parametrize("committed", [False, True], ids=["before-words", "after-words"])
@pytest.mark.parametrize(("target", "event", "kind"), [r[1:] for r in ERROR_EVENTS], ids=[r[0] for r in ERROR_EVENTS])
async def test_an_error_inside_a_stream_has_the_kind_that_it_names(
    upstream: Upstream, target: Target, event: bytes, kind: K, committed: bool
) -> None:
    """Litellm makes a 500 of every one of them; the event itself says what it is."""
    words = ["Paris "] if committed else []
    frames = [*before_finish(frames_of(target, *words)), event]
    outcome = await upstream.ask(target, ask(live=True), streaming(frames))
    if committed:
        chunks, outcome = await drain(outcome)
        assert text_of(chunks) == "Paris "
        assert finishes(chunks) == []
    assert isinstance(outcome, Failure)
    assert outcome.kind is kind


@both
async def test_an_unreadable_event_breaks_the_stream(upstream: Upstream, target: Target) -> None:
    """What it held is lost, so the rest is not passed on as if it were whole."""
    frames = frames_of(target, "Paris ", "was ", "nice")
    at = next(i for i, frame in enumerate(frames) if b"was " in frame)
    frames[at] = b'data: {"type": "content_block_delta", "delta": {"tex\n\n'
    candidate = await upstream.ask(target, ask(live=True), streaming(frames))
    chunks, failure = await drain(candidate)
    assert text_of(chunks) == "Paris "
    assert finishes(chunks) == []
    assert failure is not None
    assert failure.kind in {K.TRUNCATED, K.MALFORMED}


@both
async def test_a_zipped_stream_is_refused(upstream: Upstream, target: Target) -> None:
    """We ask for none; what comes all the same is not unpacked."""
    reply = Reply(200, SSE | {"content-encoding": "gzip"}, frames=[gzip.compress(b"data: {}\n\n")])
    failure = await upstream.ask(target, ask(live=True), reply)
    assert failure.kind is K.MALFORMED
    assert upstream.server.received[-1].headers["Accept-Encoding"] == "identity"


async def arrived(upstream: Upstream, frames: int = 0) -> None:
    """Wait until the upstream has the request, has sent so many frames, and the caller had a moment to read them."""
    async with asyncio.timeout(5):
        while not upstream.server.received or upstream.server.received[-1].sent < frames:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


async def hung_up(upstream: Upstream, since: float) -> float:
    """Seconds until the upstream noticed that we hung up."""
    received = upstream.server.received[-1]
    async with asyncio.timeout(2):
        await received.gone.wait()
    assert received.gone_at is not None
    return received.gone_at - since


@both
@whole_and_live
async def test_cancelling_a_call_hangs_up_while_it_waits_for_headers(
    upstream: Upstream, target: Target, live: bool
) -> None:
    """A loser stops costing money within a tenth of a second, and the cancellation is not swallowed."""
    reply = Reply(200, JSON, b"{}", delay=60)
    await LitellmProvider(ProviderSettings("a", "anthropic")).warm_up()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(upstream.ask(target, ask(live=live), reply))
        await arrived(upstream)
        cancelled = asyncio.get_running_loop().time()
        task.cancel()
        assert await hung_up(upstream, cancelled) < 0.1
    assert task.cancelled()


@both
async def test_cancelling_a_call_hangs_up_inside_a_body(upstream: Upstream, target: Target) -> None:
    """The same for one that has begun to answer."""
    reply = Reply(200, JSON, b'{"id": "msg_01", ', end="hang")
    await LitellmProvider(ProviderSettings("a", "anthropic")).warm_up()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(upstream.ask(target, ask(), reply))
        await arrived(upstream, 1)
        cancelled = asyncio.get_running_loop().time()
        task.cancel()
        assert await hung_up(upstream, cancelled) < 0.1
    assert task.cancelled()


@both
async def test_cancelling_a_call_hangs_up_on_a_stream_without_words(upstream: Upstream, target: Target) -> None:
    """The same before the first words of a stream."""
    frames = before_finish(frames_of(target))[:2] or [b": ping\n\n"]
    await LitellmProvider(ProviderSettings("a", "anthropic")).warm_up()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(upstream.ask(target, ask(live=True), streaming(frames, end="hang")))
        await arrived(upstream, len(frames))
        cancelled = asyncio.get_running_loop().time()
        task.cancel()
        assert await hung_up(upstream, cancelled) < 0.1
    assert task.cancelled()


@both
@pytest.mark.parametrize("read", [0, 1])
async def test_closing_a_stream_hangs_up(upstream: Upstream, target: Target, read: int) -> None:
    """Whether nobody read from it yet, or somebody stopped in the middle."""
    frames = before_finish(frames_of(target, "Paris ", "is "))
    candidate = await upstream.ask(target, ask(live=True), streaming(frames, end="hang"))
    stream = aiter(candidate.payload)
    for _ in range(read):
        await anext(stream)
    closed = asyncio.get_running_loop().time()
    await candidate.payload.aclose()
    assert await hung_up(upstream, closed) < 0.1


@both
async def test_cancelling_a_reader_hangs_up_when_the_stream_is_closed(upstream: Upstream, target: Target) -> None:
    """A client that left while we waited for the next word: reader cancelled, stream closed, upstream free."""
    frames = before_finish(frames_of(target, "Paris "))
    candidate = await upstream.ask(target, ask(live=True), streaming(frames, end="hang"))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(drain(candidate))
        await asyncio.sleep(0.1)
        cancelled = asyncio.get_running_loop().time()
        task.cancel()
        assert await hung_up(upstream, cancelled) < 0.1
    assert task.cancelled()


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": 5},
        {"messages": [5]},
        {"messages": [{"role": "wizard", "content": {}}]},
        {"messages": []},
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{not json"}}]},
            ]
        },
        {"tools": "x"},
        {"tools": [{"type": "mcp", "server_url": "litellm_proxy"}]},
        {"tool_choice": 7},
        {"temperature": {}},
        {"response_format": [1]},
        {"stop": 4},
        {"metadata": 4},
        {"stream_options": 4},
        {"max_tokens": "many"},
        {"reasoning_effort": {}},
        {"thinking": "x"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:nonsense"}}]}]},
    ],
    ids=str,
)
@both
@whole_and_live
async def test_no_request_makes_it_raise(
    upstream: Upstream, target: Target, fields: dict[str, Any], live: bool
) -> None:
    """Whatever a client sends and litellm stumbles over, the outcome is a value and shows nothing of the inside."""
    good = (
        anthropic.message(anthropic.text("x")) if target is CLAUDE else gemini.answer(gemini.content(gemini.text("x")))
    )
    outcome = await upstream.ask(target, ask(live=live, **fields), streaming(frames_of(target, "x")) if live else good)
    if isinstance(outcome, Candidate):
        if live:
            await outcome.payload.aclose()
    else:
        assert isinstance(outcome, Failure)
        assert "litellm" not in repr(outcome).lower()
