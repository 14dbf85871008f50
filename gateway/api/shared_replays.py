"""Responses by `Idempotency-Key` for all workers and replicas, in a Redis that they share.

No request waits for Redis longer than `PATIENCE`, and after `MOST_FAULTS` failures in a row none asks it for `PAUSE`:
meanwhile each process knows the responses that it made itself, as without Redis.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import msgspec

PATIENCE = 0.1
"""Seconds that one question to Redis may take."""
MOST_FAULTS = 3
PAUSE = 30.0
"""Seconds without Redis after so many failures in a row."""
CLAIMED_FOR = 15.0
"""Seconds after which the request of a process that has died may be carried out by another."""
_ASK_AGAIN = 0.1
"""Seconds between two looks whether another process has finished a request."""
_PREFIX = b"hedgerow:replay:"
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
"""Lua: delete a claim unless it is another's by now."""
_SILENCE = object()


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What Redis holds: a whole response, or, without a status, the claim of who is making it.

    `digest` is that of the request.
    """

    digest: bytes
    owner: bytes
    status: int | None = None
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""


_decode = msgspec.msgpack.Decoder(Kept).decode
_encode = msgspec.msgpack.Encoder().encode


def lacking(is_wanted: bool) -> str | None:
    """Say what has to be installed for the Redis that is configured; None when nothing has."""
    if not is_wanted or find_spec("redis") is not None:
        return None
    return "A Redis is configured, but its client is not installed: pip install 'hedgerow[redis]'."


class SharedReplays:
    """The responses that all processes keep together. It never raises: without Redis every request is one's own.

    Args:
        url: `redis://[user:password@]host:port/database`, or `rediss://` for TLS.
        kept_for: seconds after its end that a response is given again.
        tell: called with False when Redis is given up for a while, with True when it answers again.
    """

    def __init__(self, url: str, kept_for: float, tell: Callable[[bool], None]) -> None:
        from redis.asyncio import Redis  # noqa: PLC0415 -- only where one is configured
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import RedisError  # noqa: PLC0415

        self.url = url
        self._kept_for, self._tell = kept_for, tell
        self._redis = Redis.from_url(
            url,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,  # for each connection it would look its own version up on the disk
        )
        self._raised = (RedisError, OSError, TimeoutError)
        self._owner = os.urandom(16)
        self._faults, self._resume_at = 0, 0.0

    async def find(self, name: bytes, digest: bytes) -> Kept | None:
        """Return the response that another process has made for `name`, or None: it is claimed for this process.

        Waits while another process is making it. A response whose digest is another one belongs to another request.
        """
        claim, milliseconds = self._claim(digest), int(CLAIMED_FOR * 1000)
        while True:
            claimed = await self._ask(lambda: self._redis.set(_PREFIX + name, claim, nx=True, px=milliseconds))
            if claimed or claimed is _SILENCE:
                return None
            found = await self._ask(lambda: self._redis.get(_PREFIX + name))
            kept = _decode(found) if isinstance(found, bytes) else None
            if kept is not None and (kept.status is not None or kept.digest != digest):
                return kept
            await asyncio.sleep(_ASK_AGAIN)

    @asynccontextmanager
    async def holding(self, name: bytes) -> AsyncIterator[None]:
        """Keep the claim alive while the block makes the response."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(CLAIMED_FOR / 3)
                await self._ask(lambda: self._redis.pexpire(_PREFIX + name, int(CLAIMED_FOR * 1000)))

        renewing = asyncio.get_running_loop().create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})

    async def keep(self, name: bytes, digest: bytes, status: int, headers: Any, body: bytes) -> None:
        """Give this response to whoever asks from now on."""
        kept = _encode(Kept(digest, self._owner, status, headers, body))
        await self._ask(lambda: self._redis.set(_PREFIX + name, kept, px=int(self._kept_for * 1000)))

    async def release(self, name: bytes, digest: bytes) -> None:
        """Let another try: what came of it is not worth keeping."""
        await self._ask(lambda: self._redis.eval(_RELEASE, 1, _PREFIX + name, self._claim(digest)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _claim(self, digest: bytes) -> bytes:
        return _encode(Kept(digest, self._owner))

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Return Redis's answer, or `_SILENCE` when there is none."""
        if time.monotonic() < self._resume_at:
            return _SILENCE
        try:
            async with asyncio.timeout(PATIENCE):  # redis's own are for one read each
                answer = await question()
        except self._raised:
            self._faults += 1
            if self._faults == MOST_FAULTS:
                self._resume_at = time.monotonic() + PAUSE
                self._faults = MOST_FAULTS - 1  # the first failure afterwards is enough
                self._tell(False)
            return _SILENCE
        if self._resume_at:
            self._resume_at = 0.0
            self._tell(True)
        self._faults = 0
        return answer
