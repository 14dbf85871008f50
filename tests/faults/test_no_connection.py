"""Providers that cannot be reached: refused, unknown to DNS, behind a firewall that drops packets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import pytest

from bench.faults import blackhole
from gateway.providers import upstream
from tests.support.gateways import Running, gateways
from tests.support.ports import free_port

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "17 * 23?"}]
MODES = {
    "race": "select: first",
    "vote": "select: {defer: majority}",
    "hedge": "launch: {initial: 1, stagger: 100ms}",
    "fallback": "launch: fallback",
}
KINDS = {"refused": "transient", "unknown": "transient", "blackhole": "timeout"}
HOST = "provider.test"


@asynccontextmanager
async def unreachable(kind: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """A gateway whose provider `far` cannot be reached in this way."""
    resolve = socket.getaddrinfo

    def answer(host: str, *given: object, **named: object) -> object:
        if host == HOST:  # what the system's resolver says of a name that does not exist
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(upstream, "CONNECT_TIMEOUT", 0.3)
    routes = [f"  {name}: {{targets: [far/m, sim/a, sim/b], {how}}}" for name, how in MODES.items()]
    routes += ["  alone: {targets: [far/m], retries: 1}"]
    with blackhole() if kind == "blackhole" else nullcontext(free_port()) as port:
        host = HOST if kind == "unknown" else "127.0.0.1"
        head = f"  far: {{api: openai, base_url: 'http://{host}:{port}/v1', api_key: sk-canary}}"
        script = {"a": {"answer": "391"}, "b": {"answer": "391", "latency": 0.03}}
        async with gateways("\n".join(routes), script, head=head) as running:
            yield running


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_provider_that_cannot_be_reached_costs_its_branch_only(
    kind: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every launch mode the others answer; nobody waits longer than the connection may take."""
    async with unreachable(kind, monkeypatch) as running, asyncio.timeout(20):
        for mode in MODES:
            reply = await running.post({"model": mode, "messages": HELLO, "stream": stream})
            assert (reply.status, b"391" in reply.body) == (200, True), mode
            assert reply.headers["x-hedgerow-target"] in {"sim/a", "sim/b"}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_could_not_be_reached_is_told_without_its_address(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind is right; a refused connection is tried again, a silent one is not; host and port stay private."""
    async with unreachable(kind, monkeypatch) as running:
        reply = await running.post({"model": "alone", "messages": HELLO})
        tried = running.sample("hedgerow_attempts_total", route="alone", target="far/m", outcome=KINDS[kind])
    [branch] = reply.json["error"]["hedgerow"]["branches"]
    assert branch["kind"] == KINDS[kind]
    assert tried == (1 if kind == "blackhole" else 2)
    assert b"127.0.0.1" not in reply.body
    assert HOST.encode() not in reply.body
