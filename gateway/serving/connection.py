"""One client's connection: uvicorn's HTTP/1.1 protocol with the limits that it lacks, and every refusal as JSON.

uvicorn waits for ever for the rest of a header or a body, and for a client that does not read; and it keeps any number
of headers. One sweep a second over the connections holds the deadlines, so that a request pays for no timer.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, NoReturn, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.api.envelope import envelope
from gateway.api.exchange import LEAVING
from gateway.errors import HedgerowError, NotTaken, Overloaded
from gateway.settings import Limits

LONGEST_URL = 8 * 1024
LARGEST_HEAD = 32 * 1024
MOST_HEADERS = 100
SLOWEST = 64 * 1024
"""Bytes that buy a body one more second: a large one over a slow line is no attack, a byte a second is."""
LINGER = 1.0
"""Seconds in which a refused client may still send, and is not listened to: closing at once would reset the connection
before it has read why."""
SPARE = 32
"""Connections beyond the limit that are only good for the probes: an overloaded gateway is not a dead one."""
_PROBES = ("/healthz", "/readyz")

_OFFER = frozenset({b"connection", b"http2-settings", b"upgrade"})
"""The headers with which a client offers another protocol."""

_IDLE, _HEAD, _BODY = range(3)


class Connection(HttpToolsProtocol):
    """A connection that is held to the limits, and can be asked to end after its next response."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._limits: Limits = self.app.limits
        self._phase, self._since = _HEAD, self.loop.time()
        self._head = self._body = 0
        self._unread, self._stuck_since = 0, self._since
        self._due: HedgerowError | None = None
        self._refusal: HedgerowError | None = None
        self._beyond = False
        self._declined: bytes | None = None
        self._declined_at = 0
        self._leaving: set[Callable[[], None]] = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or say that there are too many."""
        super().connection_made(transport)
        self._joined = _Joined(transport, self.loop)
        beyond = len(self.connections) - self._limits.connections
        self._beyond = beyond > 0
        if beyond > SPARE:
            self._refuse(_too_many(self._limits))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever works for the client that it has left."""
        super().connection_lost(exc)
        self._leave()

    def _leave(self) -> None:
        while self._leaving:
            self._leaving.pop()()

    def _upon_leaving(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call this, once, when the client leaves, at once if it has left; return what ends that (see `LEAVING`).

        There may be two: a response is complete before all that was done for it has ended.
        """
        self._leaving.add(call)
        self.flow.resume_reading()  # who does not read does not see the end
        if self.transport.is_closing():
            self._leave()
        return partial(self._leaving.discard, call)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and stop at a head without end."""
        if self._refusal is not None:
            return
        if self._phase != _BODY:
            self._head += len(data)
        super().data_received(data)
        if self._declined is not None:
            self._go_on(data)
        if self._phase == _HEAD and self._head > LARGEST_HEAD + LONGEST_URL and self._refusal is None:
            self._refuse(_HEADERS)

    def on_message_begin(self) -> None:
        """Start the clock of a request's head."""
        super().on_message_begin()
        self._phase, self._since = _HEAD, self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path."""
        super().on_url(url)
        if len(self.url) > LONGEST_URL:
            self._stop(_URL)

    def on_headers_complete(self) -> None:
        """Hand the request on, if its head is within the limits."""
        headers = self.headers
        if len(headers) > MOST_HEADERS:
            self._stop(_HEADERS)
        if self._head > LARGEST_HEAD and sum(len(name) + len(value) for name, value in headers) > LARGEST_HEAD:
            self._stop(_HEADERS)
        if self._beyond and self.url.partition(b"?")[0].decode("latin-1") not in _PROBES:
            self._stop(_too_many(self._limits))
        if self.parser.should_upgrade() and self._get_upgrade() not in {None, b"websocket"}:
            self._declined = self._plain_head()
            return
        self._phase, self._since = _BODY, self.loop.time()
        self._head = self._body = 0
        super().on_headers_complete()
        self.cycle.transport = cast("asyncio.Transport", self._joined)
        cast("dict[str, Any]", self.scope)["extensions"] = {LEAVING: self._upon_leaving}

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock."""
        if self._declined is not None:
            return
        self._phase, self._since = _IDLE, self.loop.time()
        super().on_message_complete()

    def _plain_head(self) -> bytes:
        """Return the head that was read without the offer of another protocol."""
        line = b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)
        kept = [(name, value) for name, value in self.headers if name not in _OFFER]
        return line + b"".join([b"%s: %s\r\n" % header for header in kept]) + b"\r\n"

    def _unsupported_upgrade_warning(self) -> None:
        """Note where a head with an offer ended, which uvicorn tells while it handles the parser's exception."""
        stopped = sys.exception()
        self._declined_at = stopped.args[0] if isinstance(stopped, httptools.HttpParserUpgrade) else 0

    def _go_on(self, data: bytes) -> None:
        """Read a request whose client offers another protocol as the HTTP/1.1 that it is (RFC 9110, section 7.8).

        Java's own client offers HTTP/2 with each first request, body and all; the parser takes that body for HTTP/2.
        """
        head, self._declined, self._head = self._declined or b"", None, 0
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + data[self._declined_at :])

    def sweep(self, now: float) -> None:
        """Refuse a request that takes too long to arrive; close a connection that waits for nothing or is not read."""
        if self._is_stuck(now):
            self.transport.abort()  # `close` would wait until everything is sent
        waited = now - self._since
        if self._refusal is not None or self.transport.is_closing():
            return
        if self._phase == _HEAD:
            if waited > self._limits.header_timeout:
                self._refuse(_slow("headers", self._limits.header_timeout))
        elif self._phase == _BODY:
            if waited > self._limits.body_timeout + self._body / SLOWEST:
                self._refuse(_slow("body", self._limits.body_timeout))
        elif self._unanswered is None and self.timeout_keep_alive_task is None and waited > self.timeout_keep_alive:
            self.transport.close()

    def _is_stuck(self, now: float) -> bool:
        """Whether the client has taken nothing for too long, though there is something to take."""
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or unread != self._unread:
            self._unread, self._stuck_since = unread, now
        return now - self._stuck_since > self._limits.write_timeout

    @property
    def _unanswered(self) -> RequestResponseCycle | None:
        """The exchange that is under way."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # there is none before the first request
        return None if cycle is None or cycle.response_complete else cycle

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, or what one of the limits stopped."""
        self._refuse(self._due or NotTaken(400, f"{msg} It is not HTTP/1.1 as RFC 9112 has it.", "invalid_http"))

    def _stop(self, error: HedgerowError) -> NoReturn:
        """Stop the parser; uvicorn then calls `send_400_response`."""
        self._due = error
        raise _Stopped

    def _refuse(self, error: HedgerowError) -> None:
        """Say why and close; in the middle of a response there is nothing left to say."""
        self._refusal = error
        cycle = self._unanswered
        if cycle is not None:
            started = cycle.response_started
            cycle.disconnected = True
            cycle.message_event.set()
            self._leave()
            if started:
                self.transport.close()
                return
        body = envelope(error)
        head = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}", "content-type: application/json"]
        head += [f"{name}: {value}" for name, value in error.headers.items()]
        head += [f"content-length: {len(body)}", "connection: close", "", ""]
        self.transport.write("\r\n".join(head).encode() + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)

    def bid_farewell(self) -> None:
        """Let the response that is being made be the last one."""
        if self._unanswered is not None:
            self._unanswered.keep_alive = False


class _Joined:
    """What a response is written to: its head goes out together with the beginning of its body, in one system call.

    The transport writes at once, so that the two would be two packets, which wake the client twice. A head whose body
    is not there yet waits for the next turn of the loop and no longer.
    """

    __slots__ = ("_head", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head: bytes | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Write, or hold back what looks like a head."""
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._write_out)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection when all is written."""
        self._write_out()
        self._transport.close()

    def _write_out(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.write(head)


class _Stopped(Exception):
    """Ends the parsing of a request that is refused."""


_URL = NotTaken(414, f"The URL is longer than {LONGEST_URL} bytes; what is asked goes into the body.", "url_too_long")
_HEADERS = NotTaken(
    431, f"The headers are more than {MOST_HEADERS}, or larger than {LARGEST_HEAD} bytes.", "headers_too_large"
)


def _slow(part: str, limit: float) -> NotTaken:
    return NotTaken(408, f"The {part} of the request did not arrive within {limit:g} s.", "request_timeout")


def _too_many(limits: Limits) -> Overloaded:
    return Overloaded(f"it has {limits.connections} connections")
