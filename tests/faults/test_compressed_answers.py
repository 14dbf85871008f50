"""Compressed upstreams: what they say is read as it comes, and a bomb costs one branch, not the memory."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from collections.abc import Callable

import aiohttp
import brotli
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tests.support.gateways import gateways
from tests.support.wire_server import Reply, WireServer

pytestmark = pytest.mark.anyio

MEGABYTE = 2**20
UNPACKED = 64 * MEGABYTE
BOUND = 40 * MEGABYTE
"""What a bomb may cost at most: the 16 MB of one branch twice, where its parts are put together, and some air."""
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: zlib.compress(data, 1, wbits=31),
    "br": lambda data: bytes(brotli.compress(data, quality=1)),
    "zstd": lambda data: zstd.compress(data, 1),
}
BODY = {"messages": [{"role": "user", "content": "Say something."}]}


def bomb(encoding: str, *, stream: bool) -> Reply:
    """A small answer that is 64 MB when it is unpacked."""
    packed = PACK[encoding](b'data: {"x":"' + b" " * UNPACKED)
    assert len(packed) < MEGABYTE
    media = "text/event-stream" if stream else "application/json"
    return Reply(headers={"content-encoding": encoding, "content-type": media}, body=packed)


async def peak_of_a_naive_client(url: str) -> int:
    """What it costs to read an answer as one writes it in an afternoon."""
    async with aiohttp.ClientSession() as session, session.post(url, json={}) as response:
        tracemalloc.reset_peak()
        await response.read()
        return tracemalloc.get_traced_memory()[1]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("encoding", PACK)
async def test_a_bomb_costs_its_branch_and_no_more_memory_than_a_branch_may_have(encoding: str, stream: bool) -> None:
    """Decoding ends at 16 MB, the next target answers; a client that just reads holds all of it."""
    reply = bomb(encoding, stream=stream)
    async with WireServer(lambda _: reply) as server:
        head = f"  raw: {{api: openai, base_url: '{server.url}'}}"
        routes = "  one: {targets: [raw/m, sim/a], launch: fallback, retries: 0}"
        async with gateways(routes, {"a": {"answer": "Paris"}}, head=head) as running:
            tracemalloc.start()
            try:
                answer = await running.post({"model": "one", "stream": stream, **BODY})
                peak = tracemalloc.get_traced_memory()[1]
                naive = await peak_of_a_naive_client(server.url)
            finally:
                tracemalloc.stop()
        assert answer.headers["x-hedgerow-target"] == "sim/a"
        assert b"Paris" in answer.body
        assert running.sample("hedgerow_attempts_total", route="one", target="raw/m", outcome="malformed") == 1
    assert peak < BOUND < naive


async def test_what_a_client_accepts_is_not_what_the_upstream_is_told() -> None:
    """The upstream may send what the gateway can decode; the client gets plain bytes."""
    async with gateways("  one: {targets: ['sim/a?encoding=zstd']}", {"a": {"answer": "Paris"}}) as running:
        answer = await running.post({"model": "one", **BODY}, headers={"accept-encoding": "identity"})
        [entry] = running.sim.journal
    assert entry.headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert "content-encoding" not in answer.headers
    assert answer.json["choices"][0]["message"]["content"] == "Paris"
