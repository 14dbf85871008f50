"""Every fault that the simulator plays, seen from the other end of a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.simulators import Exchange, ask, chat, exchange, hang_up, simulators

pytestmark = pytest.mark.anyio


async def stream(model: str, *, quiet: float = 1.0, **fields: Any) -> Exchange:
    return await ask(model, quiet=quiet, stream=True, **fields)


async def test_the_connection_is_reset_before_the_headers() -> None:
    """`reset` answers nothing, by RST and not by FIN; with `first` only so often."""
    async with simulators() as (sim,):
        answers = [await exchange(sim, chat("m?reset&first=2")) for _ in range(3)]
        assert [(answer.ended, len(answer.raw) > 0) for answer in answers] == [
            ("rst", False),
            ("rst", False),
            ("eof", True),
        ]
        assert [entry.outcome for entry in sim.journal] == ["reset", "reset", "completed"]


async def test_a_request_on_a_used_connection_is_reset() -> None:
    """`stale` is a kept-alive connection that the server has given up: the first request passes, the second not."""
    async with simulators() as (sim,):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        body = json.dumps(chat("m?stale")).encode()
        request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        writer.write(request)
        assert b"200 OK" in await reader.readuntil(b"system_fingerprint")
        writer.write(request)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert [(e.connection, e.outcome) for e in sim.journal] == [(1, "completed"), (1, "reset")]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_provider_may_be_silent(streamed: bool) -> None:
    """`silent` accepts the request and sends no byte: for a time, or for ever."""
    forever = await ask("m?silent", quiet=0.15, stream=streamed)
    assert (forever.raw, forever.ended) == (b"", "open")
    late = await ask("m?silent=0.1", stream=streamed)
    assert late.status == 200
    assert 0.1 <= late.elapsed < 0.25


@pytest.mark.parametrize(("early", "seen"), [("headers", 0), ("role", 1)])
async def test_headers_may_come_long_before_the_first_token(early: str, seen: int) -> None:
    """`early` sends the headers at once, or the role too, and then lets the client wait."""
    answer = await stream(f"m?early={early}&ttft=inf", quiet=0.1)
    assert answer.status == 200
    assert len(answer.chunks) == seen
    assert answer.ended == "open"
    assert (await stream("m?ttft=inf", quiet=0.1)).raw == b""


@pytest.mark.parametrize(("by", "ended", "whole"), [("rst", "rst", False), ("fin", "eof", False), ("eof", "eof", True)])
@pytest.mark.parametrize("at", [0, 2, 5])
async def test_a_stream_is_cut(by: str, ended: str, whole: bool, at: int) -> None:
    """After exactly so many tokens the stream ends by RST, by FIN, or cleanly; no finish_reason, no [DONE]."""
    async with simulators() as (sim,):
        answer = await exchange(sim, chat(f"m?tokens=9&cut={at}&cut_by={by}", stream=True))
        assert sim.journal[0].outcome == "reset"
        assert sim.journal[0].generated == at
    assert answer.status == 200
    assert (answer.ended, answer.whole) == (ended, whole)
    assert answer.text == "".join(["This", " is", " a", " scripted", " answer"][:at])
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in answer.chunks)
    assert "[DONE]" not in answer.events


@pytest.mark.parametrize(("by", "ended"), [("rst", "rst"), ("fin", "eof"), ("eof", "eof")])
async def test_a_whole_answer_is_cut(by: str, ended: str) -> None:
    """A body breaks off in the middle: short of its Content-Length, or at the clean end of a chunked message."""
    answer = await ask(f"m?tokens=10&cut=5&cut_by={by}")
    assert answer.ended == ended
    assert answer.body.startswith(b'{"id":"chatcmpl-')
    assert b"system_fingerprint" not in answer.body
    if by == "eof":
        assert answer.whole
    else:
        assert int(answer.headers["content-length"]) > len(answer.body)


async def test_a_cut_beyond_the_end_strikes_at_the_last_token() -> None:
    """A position beyond the answer is not silently without effect."""
    answer = await stream("m?answer=Paris.&cut=12")
    assert (answer.text, answer.ended) == ("Paris.", "rst")


async def test_a_stream_stalls() -> None:
    """`stall` pauses after so many tokens, for a time or for ever, and then goes on as if nothing had been."""
    forever = await stream("m?tokens=9&stall&stall_at=3", quiet=0.15)
    assert (forever.text, forever.ended) == ("This is a", "open")
    passing = await stream("m?tokens=9&stall=0.1&stall_at=3")
    assert passing.events[-1] == "[DONE]"
    assert 0.1 <= passing.elapsed < 0.25
    assert 0.1 <= (await ask("m?stall=0.1")).elapsed < 0.25


@pytest.mark.parametrize(
    ("path", "ping"),
    [("/v1/chat/completions", b": ping\n\n"), ("/v1/messages", b'event: ping\ndata: {"type": "ping"}\n\n')],
)
async def test_a_stalled_stream_may_show_signs_of_life(path: str, ping: bytes) -> None:
    """`ping` sends comments or ping events while it waits, and nothing that is data."""
    async with simulators() as (sim,):
        body = chat("m?tokens=5&stall=0.1&ping=0.02", stream=True, max_tokens=99)
        answer = await exchange(sim, body, path)
    assert 1 <= answer.body.count(ping) <= 6
    assert answer.whole


@pytest.mark.parametrize("at", [1, 3])
async def test_a_chunk_is_not_json(at: int) -> None:
    """The chunk of one token is broken, the others come as if nothing had been."""
    answer = await stream(f"m?tokens=5&malformed={at}")
    broken = []
    for number, event in enumerate(answer.events[:-1]):
        try:
            json.loads(event)
        except ValueError:
            broken.append(number)
    assert broken == [at]  # the role is number 0
    assert answer.events[-1] == "[DONE]"
    with pytest.raises(json.JSONDecodeError):
        _ = (await ask("m?malformed=1")).json


async def test_the_json_is_truncated_though_the_message_is_whole() -> None:
    """A body has its Content-Length, a stream its proper end, and the JSON in it has not."""
    plain = await ask("m?truncated")
    assert int(plain.headers["content-length"]) == len(plain.body)
    with pytest.raises(json.JSONDecodeError):
        _ = plain.json
    streamed = await stream("m?truncated")
    assert streamed.whole
    assert not streamed.body.endswith(b"\n")
    with pytest.raises(json.JSONDecodeError):
        json.loads(streamed.body.decode().rpartition("data: ")[2])


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_body_is_shorter_than_promised(streamed: bool) -> None:
    """`short` promises more bytes than it sends and closes, though every byte of the answer came."""
    answer = await ask("m?short", stream=streamed)
    assert int(answer.headers["content-length"]) > len(answer.body)
    assert answer.ended == "eof"
    assert answer.body.endswith(b"data: [DONE]\n\n" if streamed else b"}")


async def test_a_stream_lacks_its_done_or_its_finish_reason() -> None:
    """`no_done` leaves out [DONE] only, finish=none the finish_reason only; both end cleanly."""
    without_done, without_finish = await stream("m?no_done"), await stream("m?finish=none")
    assert without_done.chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert "[DONE]" not in without_done.events
    assert without_finish.events[-1] == "[DONE]"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in without_finish.chunks)
    assert without_done.whole
    assert without_finish.whole
    assert (await ask("m?finish=none")).json["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize(("kind", "content"), [("null", None), ("text", "")])
async def test_an_answer_is_empty(kind: str, content: str | None) -> None:
    """Content null or "" in a body, no content in a stream; both claim to have stopped, with no tokens."""
    answer = await ask(f"m?empty={kind}")
    assert answer.json["choices"][0]["message"]["content"] == content
    assert answer.json["choices"][0]["finish_reason"] == "stop"
    assert answer.json["usage"]["completion_tokens"] == 0
    assert (await stream(f"m?empty={kind}")).text == ""


async def test_an_answer_has_no_choices() -> None:
    """`choices` is an empty list, in a body and in every chunk."""
    assert (await ask("m?empty=choices")).json["choices"] == []
    answer = await stream("m?empty=choices")
    assert [chunk["choices"] for chunk in answer.chunks] == [[]]
    assert answer.events[-1] == "[DONE]"


@pytest.mark.parametrize(("status", "expected"), [("", 200), ("&status=502", 502)])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_page_comes_instead_of_json(status: str, expected: int, streamed: bool) -> None:
    """`html` is what a proxy in front of a provider says, as a success or as an error."""
    answer = await ask(f"m?html{status}", stream=streamed)
    assert answer.status == expected
    assert answer.headers["content-type"] == "text/html"
    assert answer.body.startswith(b"<html>")


async def test_a_model_refuses() -> None:
    """The refusal stands in its own field, content is null; a stream writes it in refusal deltas."""
    message = (await ask("m?refusal=I cannot.")).json["choices"][0]["message"]
    assert (message["refusal"], message["content"]) == ("I cannot.", None)
    deltas = [chunk["choices"][0]["delta"] for chunk in (await stream("m?refusal=I cannot.")).chunks]
    assert "".join(delta.get("refusal") or "" for delta in deltas) == "I cannot."


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_an_answer_ends_for_another_reason(finish: str) -> None:
    """`finish` is told in both forms."""
    assert (await ask(f"m?finish={finish}")).json["choices"][0]["finish_reason"] == finish
    assert (await stream(f"m?finish={finish}")).chunks[-1]["choices"][0]["finish_reason"] == finish


async def test_there_is_reasoning_and_no_answer() -> None:
    """`reasoning_only` thinks aloud and then says nothing."""
    message = (await ask("m?reasoning_only")).json["choices"][0]["message"]
    assert message["reasoning_content"]
    assert message["content"] is None
    answer = await stream("m?reasoning_only")
    assert answer.text == ""
    assert any(chunk["choices"][0]["delta"].get("reasoning_content") for chunk in answer.chunks)


@pytest.mark.parametrize("arguments", ['{"a":"Paris"}', "{}", "[1]"])
async def test_the_arguments_of_a_call_are_broken(arguments: str) -> None:
    """`bad_arguments` ends them in the middle: they are a beginning of the right ones and no JSON."""
    (choice,) = (await ask(f"m?bad_arguments&call=f:{arguments}")).json["choices"]
    said = choice["message"]["tool_calls"][0]["function"]["arguments"]
    assert arguments.startswith(said)
    with pytest.raises(json.JSONDecodeError):
        json.loads(said)


async def test_an_answer_repeats_itself() -> None:
    """`loop` says the same again and again up to so many tokens; padding of the same length does not."""
    looped = (await ask("m?answer=I am here.&loop=200")).json
    text = looped["choices"][0]["message"]["content"]
    assert text.startswith("I am here. I am here. I am here. ")
    assert looped["usage"]["completion_tokens"] == 200
    padded = (await ask("m?tokens=200")).json["choices"][0]["message"]["content"].split()
    windows = [tuple(padded[i : i + 4]) for i in range(len(padded) - 3)]
    assert len(set(windows)) == len(windows)


async def test_faults_strike_only_where_they_should() -> None:
    """A list is played call by call and its last entry stays; a rate strikes some calls and spares others."""
    async with simulators({"m": [{"status": 429, "retry_after": 2}, "reset", {"answer": "ok"}]}) as (sim,):
        answers = [await exchange(sim, chat("m")) for _ in range(4)]
        assert [answer.raw[9:12] for answer in answers] == [b"429", b"", b"200", b"200"]
        statuses = [(await exchange(sim, chat("x?status=500&rate=0.5"))).status for _ in range(40)]
        assert 8 <= statuses.count(500) <= 32
        assert set(statuses) == {200, 500}


async def test_a_client_that_is_gone_does_not_disturb_the_server() -> None:
    """A client that resets its connection in the middle of a large answer leaves the server serving."""
    async with simulators() as (sim,):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        body = json.dumps(chat("m?size=50000000")).encode()
        writer.write(b"POST /chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readexactly(100)
        hang_up(writer)
        assert (await exchange(sim, chat("m"))).status == 200
        assert [entry.outcome for entry in sim.journal] == ["disconnected", "completed"]
