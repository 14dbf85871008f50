"""The legal but unusual ways in which the simulator writes an answer: line ends, pieces, compression, headers."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tests.support.simulators import Exchange, ask, chat, simulators

pytestmark = pytest.mark.anyio


async def stream(model: str, *, quiet: float = 1.0, **fields: Any) -> Exchange:
    return await ask(model, quiet=quiet, stream=True, **fields)


async def test_a_stream_is_dressed_in_every_legal_way() -> None:
    """Line ends, byte order mark, comments, data over two lines, no space, a chunk without choices."""
    plain = (await stream("m?answer=Paris.")).body
    data = [event for event in plain.split(b"\n\n") if event]
    for newline, name in ((b"\r\n", "crlf"), (b"\r", "cr")):
        body = (await stream(f"m?answer=Paris.&newline={name}")).body
        assert b"\n" not in body.replace(newline, b"")
        assert body.count(newline * 2) == len(data)
    assert (await stream("m?bom")).body.startswith(b"\xef\xbb\xbfdata: {")
    assert (await stream("m?answer=Paris.&comments")).body.count(b": simulated comment\n\n") == len(data)
    assert (await stream("m?tight")).body.startswith(b'data:{"id"')
    lined = (await stream("m?answer=Paris.&multiline")).body.decode().split("\n\n")[0]
    first, second = lined.split("\n")
    assert (
        json.loads(first.removeprefix("data: ") + "\n" + second.removeprefix("data: "))["object"]
        == "chat.completion.chunk"
    )
    metadata = (await stream("m?metadata_chunk")).chunks[0]
    assert metadata["choices"] == []
    assert "prompt_filter_results" in metadata


async def test_separators_of_other_alphabets_come_unescaped() -> None:
    """U+2028, U+2029 and U+0085 are in the bytes as they are: a client that splits lines at them breaks."""
    answer = await stream("m?separators")
    assert all(separator in answer.text for separator in "\u2028\u2029\u0085")
    assert "\u2028".encode() in answer.body


async def test_a_body_comes_byte_by_byte() -> None:
    """`split` sends the same bytes in small pieces, which take their time; UTF-8 is cut wherever it falls."""
    async with simulators() as (sim,):
        reader, writer = await asyncio.open_connection("127.0.0.1", sim.port)
        body = json.dumps(chat("m?answer=é\u2603\U0001f600&split=1&split_gap=0.001")).encode()
        writer.write(b"POST /chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b"\r\n\r\n")
        pieces = [await reader.read(65536) for _ in range(20)]
        writer.close()
    assert sum(map(len, pieces)) < 60
    whole, streamed = await ask("m?answer=é\u2603&split=1"), await stream("m?answer=é\u2603&split=1")
    assert whole.json["choices"][0]["message"]["content"] == streamed.text == "é\u2603"


UNPACKERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "br": brotli.Decompressor,
    "zstd": zstd.ZstdDecompressor,
}


def unpacked(encoding: str, body: bytes) -> bytes:
    """What a compressed body says as far as it came."""
    unpacker = UNPACKERS[encoding]()
    read: bytes = unpacker.process(body) if encoding == "br" else unpacker.decompress(body)
    return read


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("encoding", UNPACKERS)
async def test_a_body_is_compressed(encoding: str, streamed: bool) -> None:
    """`encoding` compresses body and stream alike; an unpacked stream says the same and was flushed at each event."""
    answer = await ask(f"m?answer=Paris.&encoding={encoding}", stream=streamed)
    assert answer.headers["content-encoding"] == encoding
    said = unpacked(encoding, answer.body).decode()
    assert "Paris" in said
    assert said.endswith("data: [DONE]\n\n" if streamed else "}")
    stalled = await ask(f"m?encoding={encoding}&stall&stall_at=1&tokens=5", stream=True, quiet=0.1)
    assert stalled.ended == "open"
    assert b"This" in unpacked(encoding, stalled.body)


@pytest.mark.parametrize("encoding", UNPACKERS)
async def test_a_small_body_may_be_huge_when_unpacked(encoding: str) -> None:
    """`size` with `encoding` is a decompression bomb of as many bytes as the script says."""
    answer = await ask(f"m?size=5000000&encoding={encoding}")
    assert len(answer.body) < 20_000
    assert len(unpacked(encoding, answer.body)) > 5_000_000


@pytest.mark.parametrize(("status", "expected"), [("", 302), ("&status=307", 307)])
async def test_a_provider_redirects_to_another_host(status: str, expected: int) -> None:
    """`redirect` names any address, as a redirect of any kind."""
    answer = await ask(f"m?redirect=http://other.invalid/v1{status}")
    assert (answer.status, answer.headers["location"]) == (expected, "http://other.invalid/v1")


async def test_vendors_send_cookies_and_server_names() -> None:
    """`vendor_headers` adds what real providers send, `headers` whatever a script wants, in place of the usual."""
    answer = await ask("m?vendor_headers&headers=content-type:text/plain|x-a:b")
    assert answer.head.count(b"__cf_bm=") == answer.head.count(b"_cfuvid=") == 1
    assert (answer.headers["server"], answer.headers["content-type"], answer.headers["x-a"]) == (
        "cloudflare",
        "text/plain",
        "b",
    )
    assert answer.head.lower().count(b"content-type") == answer.head.lower().count(b"\nserver") == 1
