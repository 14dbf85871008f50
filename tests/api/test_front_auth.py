"""Who is let in: by what the request line and the headers really say, never by what a trick makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.gateways import Running, gateways

pytestmark = pytest.mark.anyio

KEY = "9fb1c4d07e62a85330c7f1be84ad6055"
OTHER = "47e0d9a3b5c21f68f0a7e3d2b991cc04"


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    head = f"keys: {{web: {KEY}, app: {OTHER}}}"
    async with gateways("  one: {targets: [sim/a]}", head=head) as running:
        yield running


async def status(gateway: Running, *lines: str) -> int:
    """Send a request as it is written, and return the status of what comes back."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/V1/models",
        "//v1/models",
        "//healthz/v1/models",
        "/healthz/../v1/models",
        "/healthz/%2e%2e/v1/models",
        "/v1/models/healthz",
        "/v1/models?/healthz",
        "/v1/models%3f/healthz",
        "/healthz;/v1/models",
        "/readyz%00/v1/models",
        "/openapi.json",
        "/docs",
        "/metrics",
        "/nothing",
        "http://x/v1/models",
    ],
)
async def test_no_spelling_of_a_path_gets_by_without_a_key(gateway: Running, path: str) -> None:
    """Only the two probes are open; everything else asks first and says afterwards whether it exists."""
    assert await status(gateway, f"GET {path} HTTP/1.1", "host: x") == 401
    assert await status(gateway, "GET /healthz HTTP/1.1", "host: x") == 200


@pytest.mark.parametrize("host", ["a/../healthz?", "healthz", "x:80/healthz#", "[::1]/healthz"])
async def test_the_host_header_decides_nothing(gateway: Running, host: str) -> None:
    """CVE-2026-48710: a Host with a path in it poisoned the URL that Starlette's users authorised on."""
    assert await status(gateway, "GET /v1/models HTTP/1.1", f"host: {host}") == 401
    assert await status(gateway, "GET /v1/models HTTP/1.1", f"host: {host}", f"authorization: Bearer {KEY}") == 200


@pytest.mark.parametrize("name", ["authorization: Bearer ", "Authorization: bearer ", "x-api-key: ", "api-key: "])
async def test_a_key_counts_in_each_header_that_clients_use(gateway: Running, name: str) -> None:
    """One parser for all of them: what is wrong in one is wrong in each."""
    assert await status(gateway, "GET /v1/models HTTP/1.1", "host: x", f"{name}{KEY}") == 200
    assert await status(gateway, "GET /v1/models HTTP/1.1", "host: x", f"{name}{KEY[:-1]}") == 401
    assert await status(gateway, "GET /v1/models HTTP/1.1", "host: x", f"{name}{KEY}{KEY}") == 401


@pytest.mark.parametrize("name", ["authorization: Bearer ", "x-api-key: ", "api-key: "])
@pytest.mark.parametrize("second", [KEY, OTHER, "nonsense"])
async def test_a_key_that_is_sent_twice_is_refused(gateway: Running, name: str, second: str) -> None:
    """A proxy in front may have looked at the other one (GHSA-57q6-fvp4-pqmm)."""
    lines = ("host: x", f"{name}{second}", f"{name}{KEY}")
    assert await status(gateway, "GET /v1/models HTTP/1.1", *lines) == 401
