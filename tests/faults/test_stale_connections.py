"""Connections that are kept for the next request, and closed by the upstream in the moment in which it comes."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET

import pytest

from gateway.providers import upstream
from tests.support.gateways import Reply, Running, gateways

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "17 * 23?"}]
ANSWER = json.dumps({"choices": [{"index": 0, "message": {"content": "391"}, "finish_reason": "stop"}]}).encode()
ENDS: dict[str, Callable[[asyncio.StreamWriter], None]] = {
    "closed": lambda writer: writer.close(),
    "reset": lambda writer: (
        writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0)),
        writer.transport.abort(),
    )[1],
}


@dataclass
class Forgetful:
    """A server that answers `answers` requests of a connection and ends it when one more comes, after `pause`."""

    end: Callable[[asyncio.StreamWriter], None]
    answers: int = 1
    pause: float = 0.0
    url: str = ""
    connections: int = 0
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for number in range(self.answers + 1):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            if number == self.answers:
                await asyncio.sleep(self.pause)
                break
            size = next(int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            self.bodies.append(await reader.readexactly(size))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER))
        self.end(writer)


@asynccontextmanager
async def forgetful(server: Forgetful) -> AsyncIterator[Running]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with (
        listening,
        gateways("  one: {targets: [up/m], retries: 0}", head=f"  up: {{base_url: '{url}'}}") as running,
    ):
        yield running


async def ask(running: Running, padding: int = 0) -> Reply:
    return await running.post({"model": "one", "messages": HELLO, "padding": "x" * padding})


def attempts(running: Running, outcome: str) -> float:
    return running.sample("hedgerow_attempts_total", route="one", target="up/m", outcome=outcome)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("padding", [0, 3_000_000])
async def test_a_request_that_meets_a_closed_connection_is_sent_again_at_no_cost(end: str, padding: int) -> None:
    """Without retries, ten requests are answered, the large ones whole; nothing was a failure and nothing a retry."""
    server = Forgetful(ENDS[end])
    async with forgetful(server) as running:
        assert [(await ask(running, padding)).status for _ in range(10)] == [200] * 10
        assert (attempts(running, "answered"), attempts(running, "transient")) == (10, 0)
    assert len(server.bodies) == 10
    assert {len(body) for body in server.bodies} == {len(server.bodies[0])}
    assert server.connections == 10


@pytest.mark.parametrize("end", ENDS)
async def test_a_new_connection_that_breaks_is_a_failure(end: str) -> None:
    """Nothing says that the upstream had not begun: that is for `retries` to repeat, here none."""
    server = Forgetful(ENDS[end], answers=0)
    async with forgetful(server) as running:
        assert (await ask(running)).status == 502
        assert attempts(running, "transient") == 1
    assert server.connections == 1


async def test_a_kept_connection_that_breaks_later_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream may have worked on the request for that long: it is not sent twice behind everybody's back."""
    monkeypatch.setattr(upstream, "EARLY", 0.05)
    server = Forgetful(ENDS["closed"], pause=0.3)
    async with forgetful(server) as running:
        assert [(await ask(running)).status for _ in range(2)] == [200, 502]
        assert attempts(running, "transient") == 1
    assert server.connections == 1


async def test_many_kept_connections_that_are_all_closed_cost_one_more_try_each() -> None:
    """The second try never meets another closed one: it is made on a new connection."""
    server = Forgetful(ENDS["reset"])
    async with forgetful(server) as running:
        for _ in range(2):
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(ask(running)) for _ in range(20)]
            assert [task.result().status for task in asked] == [200] * 20
