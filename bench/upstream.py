"""An upstream whose answers are bytes made beforehand, so that two cores measure the gateway and not its upstream.

The simulator makes every answer anew and takes ten times the CPU. Here the model in the request decides what comes:
`paced` streams events at an even pace, `held` begins a stream and falls silent, `late` and `soon` race for first words,
all others answer at once and whole.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import msgspec
import uvloop

EVENTS = 100
"""Events with content in a paced stream."""
INTERVAL = 0.02
"""Seconds between two of them."""
RACE = {b'"late"': 3.0, b'"soon"': 0.1}
"""Seconds until the first words of the two that race, whose headers and role come at once."""
RACE_EVENTS, RACE_INTERVAL = 60, 1 / 150
"""What they say, and how fast."""
_GOLDEN = 0.618
_SHARED = {"id": "chatcmpl-7f1c0a52b8e94d3a", "created": 1_700_000_000, "model": "bench-2024-01-01"}
_ANSWER = "The answer follows from the three steps above, as was asked. " * 8
_DONE = b"data: [DONE]\n\n"


def _whole(fields: dict[str, object]) -> bytes:
    body = msgspec.json.encode(fields)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _completion() -> bytes:
    message: dict[str, object] = {"role": "assistant", "content": _ANSWER, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 210, "completion_tokens": 112, "total_tokens": 322}
    return _whole({**_SHARED, "object": "chat.completion", "choices": [choice], "usage": usage})


def _message() -> bytes:
    shared = {"id": "msg_7f1c0a52b8e94d3a", "type": "message", "role": "assistant", "model": "bench-2024-01-01"}
    usage = {"input_tokens": 210, "cache_read_input_tokens": 0, "output_tokens": 112}
    content = [{"type": "text", "text": _ANSWER}]
    return _whole({**shared, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage})


def _response() -> bytes:
    part = {"type": "output_text", "text": _ANSWER, "annotations": [], "logprobs": []}
    item = {"id": "msg_0", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    usage = {"input_tokens": 210, "output_tokens": 112, "total_tokens": 322}
    shared = {"id": "resp_7f1c0a52b8e94d3a", "object": "response", "status": "completed", "error": None}
    return _whole({**shared, "model": "bench-2024-01-01", "output": [item], "usage": usage})


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {**_SHARED, "object": "chat.completion.chunk", "choices": [choice]}
    return _chunk(b"data: %b\n\n" % msgspec.json.encode(chunk))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_ANSWERS = {b"/v1/messages": _message(), b"/v1/responses": _response()}
_COMPLETION = _completion()
_BEGINNING = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    + _event({"role": "assistant", "content": ""})
)
_WORDS = _event({"content": " and so on"})
_END = _event({}, "stop") + _chunk(_DONE) + _chunk(b"")


class _Answering(asyncio.Protocol):
    """One client's connection."""

    streams = 0

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._body = self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        if b'"held"' in self._body:
            self._transport.write(_BEGINNING + _WORDS)
        elif b'"paced"' in self._body:
            # The streams' events are spread over the interval: all at once would be cheaper than they really are.
            _Answering.streams += 1
            offset = INTERVAL * (_Answering.streams * _GOLDEN % 1)
            self._transport.write(_BEGINNING)
            first = self._loop.time() + offset
            self._loop.call_at(first, self._say, first, EVENTS, INTERVAL)
        elif racer := next((wait for name, wait in RACE.items() if name in self._body), 0.0):
            self._transport.write(_BEGINNING)
            first = self._loop.time() + racer
            self._loop.call_at(first, self._say, first, RACE_EVENTS, RACE_INTERVAL)
        else:
            self._transport.write(_ANSWERS.get(self._path, _COMPLETION))

    def _say(self, due: float, left: int, interval: float) -> None:
        if self._transport.is_closing():
            return
        if left:
            self._transport.write(_WORDS)
            self._loop.call_at(due + interval, self._say, due + interval, left - 1, interval)
        else:
            self._transport.write(_END)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
