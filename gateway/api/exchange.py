"""One HTTP exchange over bare ASGI: read the body, notice a client that leaves, send a response or a stream."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import msgspec

from gateway.api.content_coding import decoded
from gateway.errors import BodyTooLarge, HedgerowError, InvalidRequest, ShuttingDown

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_OF_THE_BODY = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_NOSNIFF = (b"x-content-type-options", b"nosniff")
MAX_BODY = 20 * 1024 * 1024
_LARGE = 64 * 1024
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class ClientGone(Exception):
    """The client closed its connection before the response was complete."""


LEAVING = "hedgerow.leaving"
"""Our own server's extension of ASGI: a function that takes what to call when the client leaves, and returns what ends
that."""


class Exchange:
    """A request and its response. `id` is the client's own `x-request-id` where it sent a usable one."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self._headers_as_sent: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self._headers_as_sent)
        self.sent: bytes | None = None
        """The body as it came, once it has been read."""
        self.deployment: str | None = None
        """The model, where the path names it (Azure)."""
        self._scope, self._receive, self._send = scope, receive, send
        self._told_by_server: Callable[[Callable[[], None]], Callable[[], None]] | None
        self._told_by_server = scope.get("extensions", {}).get(LEAVING)
        self._loop = asyncio.get_running_loop()
        # The loop's clock is as coarse as a millisecond (uvloop): deadlines live by it, measurements do not.
        self.began = time.perf_counter()
        self.largest = MAX_BODY
        """The bytes that the body may have."""
        self.heard = self.began
        """When the request was complete: what the client took to send it is not the gateway's time."""
        self.started = self._ended = self.expired = False
        working = asyncio.current_task()
        assert working is not None  # noqa: S101 -- an ASGI application runs in a task
        self._working = working
        self.id_headers: tuple[bytes, ...] = ()
        self._in_band: Callable[[HedgerowError, str], bytes] | None = None
        offered = self.headers.get(b"x-request-id", b"")
        self.id = offered.decode() if _REQUEST_ID.fullmatch(offered) else f"req_{os.urandom(12).hex()}"

    @property
    def raw_path(self) -> bytes:
        """The path as the client wrote it."""
        return self._scope.get("raw_path") or self.path.encode()

    @property
    def query(self) -> bytes:
        """What stands behind the path's `?`."""
        return bytes(self._scope.get("query_string", b""))

    @property
    def elapsed(self) -> float:
        """Seconds since the request came in."""
        return time.perf_counter() - self.began

    def given(self, names: Iterable[bytes]) -> dict[str, str]:
        """Return those of the client's headers that it sent."""
        return {name.decode(): self.headers[name].decode("latin-1") for name in names if name in self.headers}

    def repeats(self, names: Collection[bytes]) -> bool:
        """Whether one of these headers came more than once."""
        sent = self._headers_as_sent
        return len(sent) != len(self.headers) and any(sum(each == name for each, _ in sent) > 1 for name in names)

    async def body(self, most: int | None = None) -> bytes:
        """Read the whole body, decompressed; a model that the path names stands in it.

        Raises:
            BodyTooLarge: it has more than `most` bytes (`largest` by default), said as soon as it is known.
            InvalidRequest: Content-Length is not a number, or the body is not in the coding it is said to be in.
            UnsupportedCoding: it is compressed in a way that we do not know.
            ClientGone: the client left while sending.
        """
        most = self.largest if most is None else most
        body = self.sent = await self._sent(most)
        coding = self.headers.get(b"content-encoding")
        if coding is not None:
            told = coding.decode("latin-1")
            # A large one takes longer to decompress than the other requests should wait.
            aside = len(body) > _LARGE
            body = await asyncio.to_thread(decoded, body, told, most) if aside else decoded(body, told, most)
        return body if self.deployment is None else _about(self.deployment, body)

    @property
    def declared(self) -> int:
        """The bytes that the body is said to have, 0 where that is not said; raises InvalidRequest."""
        declared = self.headers.get(b"content-length", b"0")
        if not declared.isdigit():
            raise InvalidRequest(f"Content-Length is {declared[:40]!r}, expected a number")
        return int(declared)

    async def _sent(self, most: int) -> bytes:
        parts: list[bytes] = []
        size, received = self.declared, 0
        while size <= most:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                self.heard = time.perf_counter()
                return parts[0] if len(parts) == 1 else b"".join(parts)
            received += len(parts[-1])
            size = max(size, received)
        raise _too_large(most)

    async def pieces(self, most: int) -> AsyncIterator[bytes]:
        """Give the body as it comes, not decompressed; raises as `body` does."""
        size, more = self.declared, True
        received = 0
        while more:
            if size > most:
                raise _too_large(most)
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part, more = message.get("body", b""), message.get("more_body", False)
            received += len(part)
            size = max(size, received)
            if part and size <= most:
                yield part
        self.heard = time.perf_counter()

    @contextmanager
    def watched(self, read: asyncio.Event | None = None) -> Iterator[None]:
        """Cancel what happens inside when the client leaves, and raise ClientGone instead.

        Where the body is still to be read, whoever reads it hears of that, until `read`.
        """
        working, gone = self._working, False

        def leave() -> None:
            nonlocal gone
            if not self._ended:  # servers also say "disconnect" after a complete response
                gone = True
                working.cancel()

        forget = self._upon_leaving(leave, read)
        try:
            yield
        except asyncio.CancelledError:
            if gone and working.uncancel() == 0:
                raise ClientGone from None
            if self.expired:
                raise self.last_error() from None
            raise
        finally:
            forget()

    def _upon_leaving(self, leave: Callable[[], None], read: asyncio.Event | None) -> Callable[[], object]:
        """Call `leave` when the client leaves; return what ends that.

        Servers do not cancel endpoints themselves. Our own tells of a client that leaves, on others somebody has to
        wait on `receive()`, which takes a task.
        """
        if self._told_by_server is not None and read is None:
            return self._told_by_server(leave)

        async def watch() -> None:
            if read is not None:
                await read.wait()
            while (await self._receive())["type"] != "http.disconnect":
                pass
            leave()

        return self._loop.create_task(watch()).cancel

    def expire(self) -> None:
        """End a request that is still in flight with an error: the gateway is being stopped."""
        if not self._ended:
            self.expired = True
            self._working.cancel()

    def last_error(self) -> ShuttingDown:
        """Return the error that the cancellation of `expire` stands for, and take the cancellation back."""
        self._working.uncancel()
        return ShuttingDown()

    async def respond(
        self, status: int, body: bytes, headers: Mapping[str, str], media: str = "application/json"
    ) -> None:
        """Send a whole response."""
        self.started = True
        pairs = [(b"content-type", media.encode()), (b"content-length", b"%d" % len(body)), *self._pairs(headers)]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})
        await self._send({"type": "http.response.body", "body": body})
        self._ended = True  # not before: a client that does not read may leave while we wait for it

    def inner(self, receive: Receive, send: Send) -> Exchange:
        """Return the same request on its way to other ears, its body as `body` returned it."""
        same = Exchange(self._scope, receive, send)
        same._told_by_server = None  # of who asked; the work may go on for others
        same.headers = {name: value for name, value in self.headers.items() if name not in _OF_THE_BODY}
        same.path, same.id, same.id_headers = self.path, self.id, self.id_headers
        return same

    async def relay(self, message: MutableMapping[str, Any], headers: Mapping[str, str]) -> None:
        """Send a part of a response that was made for another exchange, under our own id."""
        if message["type"] == "http.response.start":
            self.started = True
            ours = list(self._pairs(headers))
            named = {name for name, _ in ours}
            kept = [pair for pair in message["headers"] if pair[0] not in named]
            message = {**message, "headers": [*ours, *kept]}
        else:
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def begin_events(self, headers: Mapping[str, str], fail: Callable[[HedgerowError, str], bytes]) -> None:
        """Start a stream of server-sent events; `fail` writes the event of an error that ends it."""
        self.started, self._in_band = True, fail
        pairs = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *self._pairs(headers),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": pairs})

    async def begin_bytes(self, headers: Mapping[str, str], media: str) -> None:
        """Start a stream that has no place for an error: one that breaks off ends without its end."""
        await self.begin_plain(200, {"content-type": media, **headers})

    async def begin_plain(self, status: int, headers: Mapping[str, str]) -> None:
        """The same with any status, for what need not have a type."""
        self.started = True
        pairs = list(self._pairs(headers))
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, data: bytes) -> None:
        """Send a piece of a started stream."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """End a started stream."""
        await self._send({"type": "http.response.body", "body": b""})
        self._ended = True

    async def break_off(self, error: HedgerowError) -> None:
        """End a started stream with an error, so that no client takes the answer for complete."""
        if self._in_band is not None and not self._ended:
            await self.write(self._in_band(error, self.id))
            await self.end()

    def signed(self, send: Send) -> Send:
        """Return a `send` for another application that puts our headers on its response."""

        async def with_id(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._pairs({})]
            await send(message)

        return with_id

    def _pairs(self, headers: Mapping[str, str]) -> Iterable[tuple[bytes, bytes]]:
        yield b"x-request-id", self.id.encode()
        for other in self.id_headers:
            yield other, self.id.encode()
        yield _NOSNIFF
        for name, value in headers.items():
            yield name.encode("ascii"), value.encode("latin-1", "replace")


_fields: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body has more than {most} bytes; send a smaller one")


def _about(model: str, body: bytes) -> bytes:
    """Return a body with the model that the path names; one that is no JSON object is for others to refuse."""
    try:
        return msgspec.json.encode({**_fields.decode(body), "model": model})
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body
