"""What really came over the wire of a call that a library makes for us.

A library that speaks many protocols turns errors into exceptions of its own, connects again behind our back, follows
redirects and completes streams that broke off. So it gets its HTTP session from here, and while it translates we keep
what the upstream itself said: status, headers, the body of an error, errors inside a stream, how the connection ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar, Token
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp.tracing import Trace
from msgspec import Raw, Struct

from gateway.domain import Failure, FailureKind
from gateway.providers import classify
from gateway.providers.sse import SSEParser
from gateway.providers.upstream import CONNECT_TIMEOUT, MAX_ANSWER

_KEPT = 64 * 1024
"""Bytes of a body that are kept to explain a failure."""

_current: ContextVar[Wiretap | None] = ContextVar("wiretap", default=None)
_object: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


class _Part(Struct):
    finish_reason: str | None = None
    finishReason: str | None = None  # noqa: N815 -- Gemini's spelling
    stop_reason: str | None = None
    blockReason: str | None = None  # noqa: N815

    def __bool__(self) -> bool:
        return bool(self.finish_reason or self.finishReason or self.stop_reason or self.blockReason)


class _Event(_Part):
    """The places where the known dialects say how an answer ended."""

    choices: list[_Part] | None = None  # OpenAI and its kin
    candidates: list[_Part] | None = None  # Gemini
    promptFeedback: _Part | None = None  # noqa: N815
    delta: _Part | None = None  # Anthropic, Cohere
    error: Any = None

    def __bool__(self) -> bool:
        parts = [*(self.choices or ()), *(self.candidates or ()), self.promptFeedback, self.delta]
        return super().__bool__() or any(parts)


_events = msgspec.json.Decoder(_Event)


class Refused(aiohttp.ClientError):
    """The wiretap ended a call. No subclass that a library would answer with another connection."""


class Wiretap:
    """The record of one call; requests made inside `with tap:` are the call's.

    `extra` are fields that are added to the JSON body of the request as it leaves, in the client's own bytes.
    """

    def __init__(self, target: str, extra: Mapping[str, Raw]) -> None:
        self.target = target
        self.status: int | None = None
        self.finished = False
        """Whether the upstream itself has said how its streamed answer ended, and nothing had gone wrong before."""
        self.on_finish: Callable[[], None] = lambda: None
        self._extra = extra
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._failure: Failure | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._events: SSEParser | None = None
        self._token: Token[Wiretap | None] | None = None

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)

    @property
    def failure(self) -> Failure | None:
        """What the wire says went wrong; None when it carried a success, or nothing at all."""
        if self._failure is not None or self.status is None:
            return self._failure
        if self.status >= 300:
            return classify.from_response(self.target, self.status, self._headers, bytes(self._body))
        return self._error_in(_read(bytes(self._body)))

    def close(self) -> None:
        """Close the connection unless its answer was read to the end."""
        if self._response is not None:
            self._response.close()

    def fail(self, failure: Failure) -> Refused:
        """Record why the call is over, close it, and return what to raise. The first failure is the one that counts."""
        self._failure = self._failure or failure
        self.close()
        return Refused(failure.detail)

    async def departs(self, request: aiohttp.ClientRequest) -> None:
        """Prepare a request for the wire."""
        self.status, self._headers, self._failure, self.finished = None, {}, None, False
        self._body.clear()
        # What is not compressed needs no bomb disposal, and an event is readable the moment it arrives.
        request.headers["Accept-Encoding"] = "identity"
        if self._extra:
            body = request.body
            fields = _object.decode(body if isinstance(body, bytes) else await body.as_bytes())
            await request.update_body(msgspec.json.encode({**self._extra, **fields}))

    def arrives(self, response: aiohttp.ClientResponse) -> None:
        """Listen to an answer's body."""
        self._response = response
        self.status = response.status
        self._headers = {name.lower(): value for name, value in response.headers.items()}
        if 300 <= response.status < 400 or self._headers.get("content-encoding", "identity") != "identity":
            detail = f"the provider answered {response.status} in a form that was not asked for"
            raise self.fail(Failure(self.target, FailureKind.MALFORMED, detail, status=response.status))
        streamed = response.status == 200 and response.content_type == "text/event-stream"
        self._events = SSEParser() if streamed else None
        response.content = _Tapped(response.content, self)  # type: ignore[assignment]

    def hears(self, chunk: bytes) -> bytes:
        """Note a piece of a body (the last one is empty) and return what the library is to read instead."""
        if self._events is None:
            self._body += chunk[: _KEPT - len(self._body)]
            return chunk
        events = list(self._events.feed(chunk) if chunk else self._events.close())
        for data in events:
            self._note(data)
        return b"".join(b"data: " + _on_one_line(data) + b"\n\n" for data in events)

    def _note(self, data: bytes) -> None:
        if self.finished or self._failure is not None:
            return
        event = _read(data)
        self._failure = self._error_in(event)
        if event is None and data.startswith(b"{") and not _is_json(data):
            self._failure = Failure(self.target, FailureKind.MALFORMED, "an event of the stream is not valid JSON")
        elif event:
            self.finished = True
            self.on_finish()

    def _error_in(self, event: _Event | None) -> Failure | None:
        if event is None or not event.error:
            return None
        return classify.from_error_object(self.target, event.error, None)


def _read(data: bytes) -> _Event | None:
    try:
        return _events.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


_LINE_ENDS = tuple((c.encode(), b" " if c == "\n" else b"\\u%04x" % ord(c)) for c in "\n\u0085\u2028\u2029")


def _on_one_line(data: bytes) -> bytes:
    """Return an event's JSON without anything that `str.splitlines` takes for the end of a line.

    httpx cuts streams there: what stood behind a U+2028 in an answer would be lost. As an escape it means the same
    inside a string, and a line feed is never inside one.
    """
    for character, instead in _LINE_ENDS:
        data = data.replace(character, instead)
    return data


class _Tapped:
    """A response's body that is listened to while the library reads it."""

    def __init__(self, content: aiohttp.StreamReader, tap: Wiretap) -> None:
        self._content = content
        self._tap = tap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Give the body; raises Refused where it is larger than an answer may be."""
        seen = 0
        try:
            async for chunk in self._content.iter_chunked(size):
                seen += len(chunk)
                if seen > MAX_ANSWER:
                    raise ValueError  # noqa: TRY301 -- ends below, like a body that cannot be parsed
                if heard := self._tap.hears(chunk):
                    yield heard
            if heard := self._tap.hears(b""):
                yield heard
        except (aiohttp.ClientError, OSError) as exc:
            failure = Failure(self._tap.target, FailureKind.TRUNCATED, "the connection broke inside the answer")
            if isinstance(exc, TimeoutError):
                failure = classify.from_exception(self._tap.target, exc)
            raise self._tap.fail(failure) from exc
        except ValueError as exc:
            detail = f"an answer of more than {MAX_ANSWER} bytes"
            raise self._tap.fail(Failure(self._tap.target, FailureKind.MALFORMED, detail)) from exc


class _Connector(aiohttp.TCPConnector):
    """A connector whose limit for connecting no library can lift."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- the name is aiohttp's
    ) -> aiohttp.connector.Connection:
        """Connect as usual, or raise ConnectionTimeoutError."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await super().connect(req, traces, timeout)
        except TimeoutError as exc:
            raise aiohttp.ConnectionTimeoutError(f"no connection within {CONNECT_TIMEOUT:g} s") from exc


async def _tap(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    tap = _current.get()
    if tap is None:
        return await handler(request)
    await tap.departs(request)
    try:
        response = await handler(request)
    except (aiohttp.ClientError, OSError) as exc:
        raise tap.fail(classify.from_exception(tap.target, exc)) from exc
    tap.arrives(response)
    return response


def tapped_session() -> aiohttp.ClientSession:
    """Open a session whose requests are recorded by the Wiretap of the call that makes them."""
    return aiohttp.ClientSession(
        connector=_Connector(limit=0, keepalive_timeout=30, ttl_dns_cache=60),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_tap,),
    )
