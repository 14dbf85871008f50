"""TLS to providers: a bad certificate costs its branch, and one of a private authority can be trusted."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from gateway.providers.simulator import Simulator
from tests.support.gateways import Running, gateways

pytestmark = pytest.mark.anyio

BODY = {"model": "r", "messages": [{"role": "user", "content": "17 * 23?"}]}
ROUTES = (
    "  r: {targets: [secure/m, sim/good], launch: fallback, retries: 2}\n  alone: {targets: [secure/m], retries: 2}"
)
SCRIPT = {"good": {"answer": "391"}, "m": {"answer": "391"}}
TRUSTED, STRANGER = trustme.CA(), trustme.CA()
PAST = datetime.now(UTC) - timedelta(days=3)
CERTIFICATES = {
    "of an unknown authority": STRANGER.issue_cert("127.0.0.1"),
    "for another host": TRUSTED.issue_cert("example.com"),
    "expired": TRUSTED.issue_cert("127.0.0.1", not_before=PAST - timedelta(days=1), not_after=PAST),
    "good": TRUSTED.issue_cert("127.0.0.1"),
}


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


@asynccontextmanager
async def secure(certificate: trustme.LeafCert, authorities: str | None) -> AsyncIterator[tuple[Running, Simulator]]:
    """A gateway whose provider `secure` shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    trusting = "" if authorities is None else ', ca_certificate: "${CA}"'
    async with Simulator(SCRIPT, tls=context) as provider:
        head = f"  secure: {{api: openai, base_url: '{provider.base_url}', api_key: sk-canary{trusting}}}"
        async with gateways(ROUTES, SCRIPT, head=head, environ={"CA": authorities or ""}) as running:
            yield running, provider


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["of an unknown authority", "for another host", "expired"])
async def test_a_certificate_that_is_not_valid_costs_its_branch_only(name: str, stream: bool) -> None:
    """The next target answers at once; alone it is an error in our words; the request and its key are never sent."""
    async with secure(CERTIFICATES[name], pem(TRUSTED)) as (running, provider):
        reply = await running.post({**BODY, "stream": stream})
        assert (reply.status, reply.headers["x-hedgerow-target"]) == (200, "sim/good")
        alone = await running.post({**BODY, "model": "alone", "stream": stream})
        assert provider.journal == []
        tried = running.sample("hedgerow_attempts_total", route="alone", target="secure/m", outcome="transient")
    assert alone.status == 502
    [branch] = alone.json["error"]["hedgerow"]["branches"]
    assert (branch["kind"], branch["detail"]) == ("transient", "the provider's TLS certificate is not valid")
    assert tried == 1  # it would not be better a moment later
    for secret in (b"canary", b"127.0.0.1", b"example.com", str(provider.port).encode()):
        assert secret not in alone.body


async def test_an_authority_of_one_s_own_is_trusted_where_it_is_configured() -> None:
    """With `ca_certificate` its provider serves, also on the second, kept connection."""
    async with secure(CERTIFICATES["good"], pem(STRANGER) + pem(TRUSTED)) as (running, provider):
        for _ in range(2):
            assert (await running.post({**BODY, "model": "alone"})).status == 200
        assert len({entry.connection for entry in provider.journal}) == 1


@pytest.mark.parametrize("authorities", [None, pem(STRANGER)])
async def test_an_authority_that_is_not_configured_is_not_trusted(authorities: str | None) -> None:
    """Neither without the key, nor with another authority in it."""
    async with secure(CERTIFICATES["good"], authorities) as (running, _):
        assert (await running.post({**BODY, "model": "alone"})).status == 502


async def test_a_provider_that_speaks_no_tls_costs_its_branch_only() -> None:
    """The address says https, the server is plain HTTP."""
    async with Simulator(SCRIPT) as plain:
        head = f"  secure: {{api: openai, base_url: 'https://127.0.0.1:{plain.port}/v1', api_key: sk-canary}}"
        async with gateways(ROUTES.replace("retries: 2", "retries: 0"), SCRIPT, head=head) as running:
            assert (await running.post(BODY)).headers["x-hedgerow-target"] == "sim/good"
            alone = await running.post({**BODY, "model": "alone"})
    assert alone.json["error"]["hedgerow"]["branches"][0]["detail"] == "no secure connection to the provider"
