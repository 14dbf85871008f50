"""Clients that take their answers slowly or not at all, over real sockets: they hold back the upstream, not the memory.

The gateway is a process of its own; an upstream writes megabytes as fast as it is let.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.running import Served, served
from tests.support.simulators import eventually
from tests.support.wire_server import Received, Reply, WireServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SIZE = 16 * 1024
EVENTS = 4_000
"""64 MB in all: many times what the sockets of the system hold."""
CLIENTS = 10
OF_ONE = 2 * 2**20
"""What one client that does not read may cost: buffers of 64 kB on its way out, what the system reads at once on the
way in, and the text so far; a share of 64 MB without limits."""
SOCKETS = 16 * 2**20
"""What the upstream's own socket and the gateway's end of it may hold."""


def event(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode() + b"\n\n"


STREAM = [event(f"{number} " + "x" * SIZE) for number in range(EVENTS)]
END = [event("", "stop"), b"data: [DONE]\n\n"]
WHOLE = {"choices": [{"index": 0, "message": {"content": "x" * 8 * 2**20}, "finish_reason": "stop"}]}


def much(asked: Received) -> Reply:
    """A stream of 64 MB, each event with another text (of `some`: 1 MB), or a whole answer of 8 MB."""
    if not asked.json.get("stream"):
        return Reply(headers={"content-type": "application/json"}, body=json.dumps(WHOLE).encode())
    frames = STREAM[:64] if asked.json["model"] == "some" else STREAM
    return Reply(headers={"content-type": "text/event-stream"}, frames=[*frames, *END])


@asynccontextmanager
async def gateways(folder: Path, limits: str = "{}") -> AsyncIterator[tuple[Served, WireServer]]:
    async with WireServer(much) as upstream:
        text = f"providers: {{up: {{api: openai, base_url: '{upstream.url}'}}}}\nlimits: {limits}\nroutes:\n"
        text += "  one: {targets: [up/m]}\n  some: {targets: [up/some]}\n"
        text += "  race: {targets: [up/a, up/b], standby: warm}\n"
        running = served(folder, text)
        gateway = await asyncio.to_thread(running.__enter__)
        try:
            yield gateway, upstream
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


@contextmanager
def asking(gateway: Served, model: str = "one", *, stream: bool = True) -> Iterator[socket.socket]:
    """A client that has asked and reads nothing, with as small a window as the system allows."""
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "?"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", gateway.port))
        client.sendall((head + body).encode())
        client.setblocking(False)
        yield client


def memory(gateway: Served) -> int:
    return int(psutil.Process(gateway.process.pid).memory_info().rss)


def sent(upstream: WireServer) -> int:
    return SIZE * sum(each.sent for each in upstream.received)


async def stands_still(upstream: WireServer, calls: int) -> None:
    """Wait until so many calls have come and the upstream writes nothing more."""
    await eventually(lambda: len(upstream.received) == calls and all(each.sent for each in upstream.received))
    before = -1
    while (now := sent(upstream)) != before:
        before = now
        await asyncio.sleep(0.5)


async def taken(client: socket.socket, pause: float = 0.0) -> bytes:
    """Read to the end of the stream, in small pieces with pauses."""
    loop, got = asyncio.get_running_loop(), bytearray()
    while not got.endswith(b"0\r\n\r\n"):
        piece = await loop.sock_recv(client, SIZE)
        if not piece:
            raise EOFError("the gateway has closed the connection")
        got += piece
        await asyncio.sleep(pause)
    return bytes(got)


async def answered(gateway: Served, route: str, status: int) -> float:
    name = f'hedgerow_requests_total{{route="{route}",status="{status}"}}'
    return await asyncio.to_thread(gateway.metric, name)


async def test_clients_that_do_not_read_hold_the_upstream_back_and_not_the_memory(tmp_path: Path) -> None:
    """The upstream stands still after what its socket holds; the gateway holds some buffers for each client."""
    async with gateways(tmp_path) as (gateway, upstream), AsyncExitStack() as stack:
        stack.enter_context(asking(gateway))
        await stands_still(upstream, 1)
        before, already = memory(gateway), sent(upstream)
        for _ in range(CLIENTS):
            stack.enter_context(asking(gateway))
        await stands_still(upstream, 1 + CLIENTS)
        grown, more = (memory(gateway) - before) / CLIENTS, (sent(upstream) - already) / CLIENTS
        print(f"a client that does not read: upstream sent {more / 2**20:.1f} MB, gateway {grown / 2**20:.2f} MB")  # noqa: T201
        assert more < SOCKETS
        assert grown < OF_ONE
        # The others do not notice.
        with asking(gateway, "some") as quick:
            assert (await taken(quick)).count(b"data: ") == 64 + 2


async def test_a_client_that_takes_nothing_is_cut_off_and_its_branches_with_it(tmp_path: Path) -> None:
    """Both calls of the race end at the upstream; the request is one that its client left, not one that failed."""
    async with gateways(tmp_path, "{write_timeout: 1s}") as (gateway, upstream):
        with asking(gateway, "race") as client:
            await eventually(lambda: len(upstream.received) == 2)
            await eventually(lambda: all(each.gone.is_set() for each in upstream.received), within=30)
            with pytest.raises((EOFError, ConnectionResetError)):
                await taken(client)
        assert await answered(gateway, "race", 499) == 1
        assert await answered(gateway, "race", 200) == 0


async def test_an_answer_that_nobody_takes_is_given_up_even_when_the_gateway_is_done_with_it(tmp_path: Path) -> None:
    """A whole answer lies in the connection's buffer: its memory and its descriptor come back."""
    async with gateways(tmp_path, "{write_timeout: 1s}") as (gateway, _):
        process = psutil.Process(gateway.process.pid)
        with asking(gateway, stream=False) as client:
            await eventually(lambda: len(process.net_connections()) > 3)
            await eventually(lambda: not clients_of(process, gateway.port), within=30)
            with pytest.raises((EOFError, ConnectionResetError)):
                await taken(client)


def clients_of(process: psutil.Process, port: int) -> int:
    return sum(each.status == "ESTABLISHED" and each.laddr.port == port for each in process.net_connections())


async def test_a_slow_client_that_reads_gets_all_of_it(tmp_path: Path) -> None:
    """It takes several times the limit for its megabyte, but never nothing for so long."""
    async with gateways(tmp_path, "{write_timeout: 1s}") as (gateway, _):
        with asking(gateway, "some") as client:
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert (await taken(client, pause=0.02)).count(b"data: ") == 64 + 2
            assert loop.time() - began > 2
        assert await answered(gateway, "some", 200) == 1
