"""One provider's pooled connections: a body out, an outcome in. The wires of our own share it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import aiohttp
from msgspec import Struct
from yarl import URL

from fanin import Candidate
from gateway.domain import Failure, FailureKind, Outcome, Target
from gateway.providers import classify
from gateway.providers.buffers import LARGE, Buffer, Buffers
from gateway.providers.live import EventStream
from gateway.providers.relaying import ByteStream

CONNECT_TIMEOUT = 5.0
EARLY = 1.0
"""Seconds within which a connection that breaks without a byte of an answer has taken no work along."""
MAX_ANSWER = 16 * 1024 * 1024


class Call(Struct, frozen=True):
    """One request, and who reads its answer: `read` a whole one, `stream` one in events if they were asked for.

    `dropped` are the names of the client's fields that are not in it. `opaque` takes an answer that is no JSON.
    """

    url: URL
    body: bytes | Sequence[Buffer]
    read: Callable[[Target, bytes], Outcome]
    stream: Callable[[Target, aiohttp.ClientResponse], EventStream] | None = None
    headers: Mapping[str, str] = {}
    dropped: tuple[str, ...] = ()
    content_type: str = "application/json"
    opaque: Callable[[Target, aiohttp.ClientResponse], ByteStream] | None = None


_opened: ContextVar[bool] = ContextVar("_opened")
"""Whether the present call has opened a connection of its own; else it uses one that was kept."""


class _Connector(aiohttp.TCPConnector):
    """Connections that say when they are new."""

    async def _create_connection(self, *given: Any) -> Any:
        _opened.set(True)
        return await super()._create_connection(*given)


class Upstream:
    """The connections. Cancelling a call closes its connection, which stops the upstream's work.

    `authorities` (PEM) are those that may have signed the provider's certificate, None for the system's.
    """

    def __init__(self, headers: Mapping[str, str], authorities: str | None = None) -> None:
        self._headers = {
            "content-type": "application/json",
            "accept": "*/*",
            "accept-encoding": "gzip, deflate, br, zstd",
            "user-agent": "hedgerow",
            **headers,
        }
        self._tls = True if authorities is None else ssl.create_default_context(cadata=authorities)
        self._session: aiohttp.ClientSession | None = None
        self._plain: aiohttp.ClientSession | None = None
        self._unpooled: aiohttp.ClientSession | None = None

    def open(self) -> aiohttp.ClientSession:
        """Return the pool; connections are made when they are needed."""
        # Made inside the running loop, at the first call. The bulkhead limits calls, so the pool itself need not.
        if self._session is None:
            self._session = self._connected(_Connector(limit=0, keepalive_timeout=30, ttl_dns_cache=60, ssl=self._tls))
        return self._session

    def _connected(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            auto_decompress=True,
            read_bufsize=2**16,
        )

    def open_plain(self) -> aiohttp.ClientSession:
        """Return a session over the same pool that adds no content type of its own and decompresses nothing."""
        if self._plain is None:
            self._plain = aiohttp.ClientSession(
                connector=self.open().connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={name: value for name, value in self._headers.items() if name != "content-type"},
                auto_decompress=False,
                read_bufsize=2**16,
            )
        return self._plain

    async def aclose(self) -> None:
        """Close the pool."""
        for session in (self._plain, self._session, self._unpooled):
            if session is not None:
                await session.close()

    async def ask(self, target: Target, call: Call) -> Outcome:
        """Ask one target; never raises but CancelledError."""
        response = None
        handed_over = False
        began = asyncio.get_running_loop().time()
        try:
            response = await self._posted(call, began)
            if response.status != 200:
                return await self._refused(target, response)
            opened = _stream_of(call, response.content_type)
            if opened is not None:
                stream = opened(target, response)
                stream.headers, stream.dropped = response.raw_headers, call.dropped
                outcome = await stream.commit()
                handed_over = isinstance(outcome, Candidate)
                return outcome
            whole = await _read(response)
            if whole is None:
                return Failure(target.name, FailureKind.MALFORMED, f"an answer of more than {MAX_ANSWER} bytes")
            return _signed(call.read(target, whole), response, call)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            failure = classify.from_exception(target.name, exc)
            unheard = response is None and failure.kind is FailureKind.TRANSIENT and _early(began)
            return replace(failure, unheard=True) if unheard else failure
        finally:
            if response is not None and not handed_over:
                response.close()  # a no-op for the connection of an answer that was read to its end

    async def _posted(self, call: Call, began: float) -> aiohttp.ClientResponse:
        """Send a request; once more, on a new connection, when a kept one was closed before it could get anywhere.

        An upstream may close an idle connection in the moment in which we use it again. A POST may be repeated only
        where it cannot have been processed (RFC 9110, section 9.2.2): on a connection that was used before, without a
        byte of an answer, and so soon that no work was lost. What breaks later is a failure, and a retry its remedy.
        """
        _opened.set(False)
        try:
            return await _post(self.open(), call)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if _opened.get() or not _early(began):
                raise
        if self._unpooled is None:  # others that are kept may be closed, too
            self._unpooled = self._connected(
                aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=60, ssl=self._tls)
            )
        return await _post(self._unpooled, call)

    async def _refused(self, target: Target, response: aiohttp.ClientResponse) -> Failure:
        if 200 < response.status < 400:
            return Failure(
                target.name, FailureKind.MALFORMED, f"the provider answered {response.status}", status=response.status
            )
        headers = {name.lower(): value for name, value in response.headers.items()}
        failure = classify.from_response(target.name, response.status, headers, await _read(response) or b"")
        return replace(failure, headers=response.raw_headers)


def _early(began: float) -> bool:
    return asyncio.get_running_loop().time() - began <= EARLY


async def _post(session: aiohttp.ClientSession, call: Call) -> aiohttp.ClientResponse:
    body = call.body
    # aiohttp warns about large bodies given as bytes; buffers are sent in pieces, uncopied.
    small = isinstance(body, bytes) and len(body) < LARGE
    data: Any = body if small else Buffers([body] if isinstance(body, bytes) else body, call.content_type)
    return await session.post(call.url, data=data, headers=call.headers or None, allow_redirects=False)


_NEVER_OPAQUE = frozenset({"application/json", "text/html"})
"""A page of HTML is a proxy's or a firewall's, whatever was asked for: read as a whole it is malformed."""


def _stream_of(call: Call, media: str) -> Callable[[Target, aiohttp.ClientResponse], EventStream | ByteStream] | None:
    """Return who takes an answer of this content type while it comes; None where it is read as a whole."""
    if call.stream is not None and media == "text/event-stream":
        return call.stream
    return None if media in _NEVER_OPAQUE else call.opaque


def _signed(outcome: Outcome, response: aiohttp.ClientResponse, call: Call) -> Outcome:
    """Write into an answer what only the connection knows."""
    if isinstance(outcome, Candidate):
        outcome.payload.headers, outcome.payload.dropped = response.raw_headers, call.dropped
    return outcome


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Read a whole body; None when it is larger than one branch may be."""
    parts: list[bytes] = []
    size = 0
    while part := await response.content.readany():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER:
            return None
    return parts[0] if len(parts) == 1 else b"".join(parts)
