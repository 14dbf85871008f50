"""`Idempotency-Key`: a request that comes twice is carried out once, and its response is given to everybody who asks.

As in draft-ietf-httpapi-idempotency-key-header: the same key with the same request joins the call in flight or gets the
stored response, with another request it is an error. What is kept is kept in this process, for a while, within a bound,
and where one is configured also in a Redis, for the other processes.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gateway.api.exchange import Exchange
from gateway.api.shared_replays import Kept, SharedReplays
from gateway.errors import InternalError, InvalidRequest, KeyReused

HEADER = b"idempotency-key"
KEPT_FOR = 600.0
"""Seconds after its end that a response is given again."""
LARGEST = 4 * 1024 * 1024
"""Bytes of a response that is worth keeping."""
ROOM = 64 * 1024 * 1024
"""Bytes of all responses that are kept; beyond it the oldest go."""
_MOST = 10_000
_EACH = 2048
"""Bytes that an entry costs besides its body."""
_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
_WORTH_ANOTHER_TRY = frozenset({401, 408, 409, 425, 429, 499})
"""Statuses below 500 that may be another one next time."""


class Replays:
    """The responses by key. `clock` gives seconds that only go on.

    A request with a key is carried out to its end even if its client leaves: it will come back with the same key, and
    must not pay twice.
    """

    def __init__(self, clock: Callable[[], float], *, room: int = ROOM) -> None:
        self.shared: SharedReplays | None = None
        self._clock = clock
        self._room = room
        self._used = 0
        self._entries: dict[bytes, _Entry] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def serve(
        self, exchange: Exchange, handler: Callable[[Exchange], Awaitable[None]], tenant: str
    ) -> int | None:
        """Serve one request that carries a key; `tenant` is whose it is, so that no key reaches another's response.

        Returns the status of a response that was given again, None for one that was made now.

        Raises:
            InvalidRequest: the key is empty, too long or not printable.
            KeyReused: the key belongs to another request.
        """
        key = exchange.headers[HEADER]
        if not _KEY.fullmatch(key):
            raise InvalidRequest("`Idempotency-Key` is not 1 to 255 printable ASCII characters.")
        body = await exchange.body()
        self._forget_old()
        name = hashlib.sha256(tenant.encode() + b"\0" + key).digest()
        digest = hashlib.sha256(exchange.path.encode() + b"\0" + body).digest()
        entry = self._entries.get(name)
        again = entry is not None
        if entry is None:
            entry = self._entries[name] = _Entry(digest)
            self._start(name, entry, handler, lambda: exchange.inner(_Source(body).receive, entry.send))
        elif entry.digest != digest:
            raise KeyReused
        with exchange.watched():
            await entry.follow(exchange, again=again)
        return entry.status if again or entry.borrowed else None

    def _start(
        self,
        name: bytes,
        entry: _Entry,
        handler: Callable[[Exchange], Awaitable[None]],
        inner: Callable[[], Exchange],
    ) -> None:
        async def work() -> None:
            shared = self.shared
            try:
                if shared is None:
                    await handler(inner())
                elif (kept := await shared.find(name, entry.digest)) is not None:
                    entry.borrow(kept)
                else:
                    async with shared.holding(name):
                        await handler(inner())
            except Exception as exc:  # noqa: BLE001 -- whoever follows raises it where it is logged and answered
                entry.fault = exc
            finally:
                self._finished(name, entry)
                if shared is not None and not entry.borrowed:
                    await self._share(shared, name, entry)

        task = asyncio.get_running_loop().create_task(work())
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    def _finished(self, name: bytes, entry: _Entry) -> None:
        """Keep a response that is worth it; the oldest make room for it."""
        entry.end(self._clock())
        if not entry.lasting or entry.borrowed:
            del self._entries[name]
            return
        self._entries[name] = self._entries.pop(name)  # the order is that of the ends
        self._used += entry.size
        for oldest in list(self._entries):
            if self._used <= self._room and len(self._entries) <= _MOST:
                break
            self._drop(oldest)

    @staticmethod
    async def _share(shared: SharedReplays, name: bytes, entry: _Entry) -> None:
        if entry.lasting:
            await shared.keep(name, entry.digest, *entry.whole())
        else:
            await shared.release(name, entry.digest)

    def _forget_old(self) -> None:
        now = self._clock()
        for name, entry in list(self._entries.items()):
            if entry.ended_at is not None and entry.ended_at + KEPT_FOR > now:
                break
            self._drop(name)

    def _drop(self, name: bytes) -> None:
        """Forget a response, unless it is still being made."""
        if self._entries[name].ended_at is not None:
            self._used -= self._entries.pop(name).size

    async def aclose(self) -> None:
        """Break off what is still being carried out."""
        for task in self._working:
            task.cancel()
        if self._working:
            await asyncio.wait(self._working)


class _Source:
    """What the handler receives: the body that was read already, and a client that never leaves."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def receive(self) -> MutableMapping[str, Any]:
        if self._body is None:
            await asyncio.get_running_loop().create_future()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Entry:
    """One response: what has been sent of it so far, and who waits for more."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.status = 500
        self.size = _EACH
        self.complete = self.borrowed = False
        self.ended_at: float | None = None
        self.fault: Exception | None = None
        self._messages: list[MutableMapping[str, Any]] = []
        self._more = asyncio.Event()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take what the handler sends."""
        self._messages.append(message)
        self.status = message.get("status", self.status)
        self.size += len(message.get("body", b""))
        self.complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._wake()

    @property
    def lasting(self) -> bool:
        """Whether it is whole and another try would not better it."""
        return self.complete and self.status < 500 and self.status not in _WORTH_ANOTHER_TRY and self.size <= LARGEST

    def whole(self) -> tuple[int, Any, bytes]:
        """Return the status, the headers and the body."""
        start, *parts = self._messages
        return self.status, start["headers"], b"".join(part.get("body", b"") for part in parts)

    def borrow(self, kept: Kept) -> None:
        """Take over the response that another process has made.

        Raises:
            KeyReused: it is the response to another request.
        """
        self.borrowed = True
        if kept.digest != self.digest or kept.status is None:
            raise KeyReused
        self.status, self.complete = kept.status, True
        start = {"type": "http.response.start", "status": kept.status, "headers": list(kept.headers)}
        self._messages = [start, {"type": "http.response.body", "body": kept.body}]

    def end(self, now: float) -> None:
        """Note that nothing more comes."""
        self.ended_at = now
        self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def follow(self, exchange: Exchange, *, again: bool) -> None:
        """Send the response to one client, from its beginning and as it comes."""
        position = 0
        while True:
            while position < len(self._messages):
                replayed = {"idempotent-replayed": "true"} if again or self.borrowed else {}
                await exchange.relay(self._messages[position], replayed)
                position += 1
            if self.fault is not None:
                raise self.fault
            if self.complete:
                return
            if self.ended_at is not None:
                raise InternalError(exchange.id)  # broken off, as the gateway stops
            await self._more.wait()
