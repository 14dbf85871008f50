"""The bulkhead: a bounded number of calls in flight per provider, so that a slow one cannot take the others' room."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fanin import Candidate
from gateway.domain import Answer, Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target


class _Room(asyncio.Semaphore):
    """A semaphore that tells how full it is."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._limit = limit

    @property
    def taken(self) -> int:
        return self._limit - self._value

    @property
    def waiting(self) -> int:
        return len(self._waiters or ())


class Bulkhead:
    """At most `limits[provider]` calls in flight per provider; who finds no room waits up to `patience` seconds.

    A live stream keeps its place until it is closed: what is limited is the connections, not the decisions.
    """

    def __init__(self, limits: Mapping[str, int], patience: float = 1.0) -> None:
        self._rooms = {provider: _Room(limit) for provider, limit in limits.items()}
        self._limits = dict(limits)
        self._patience = patience

    @property
    def in_flight(self) -> dict[str, int]:
        """The calls under way, by provider."""
        return {provider: room.taken for provider, room in self._rooms.items()}

    @property
    def waiting(self) -> dict[str, int]:
        """The calls that wait for a place, by provider."""
        return {provider: room.waiting for provider, room in self._rooms.items()}

    def __call__(self, call: Caller) -> Caller:
        """Wrap a caller."""

        async def within_bulkhead(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
            room = self._rooms[target.provider]
            if not await self._enter(room, deadline):
                limit = self._limits[target.provider]
                return Failure(target.name, FailureKind.BULKHEAD_FULL, f"{limit} calls are already in flight")
            try:
                outcome = await call(target, request, deadline)
            except BaseException:
                room.release()
                raise
            if isinstance(outcome, Candidate) and not isinstance(outcome.payload, Answer):
                outcome.payload.on_close(room.release)
            else:
                room.release()
            return outcome

        return within_bulkhead

    async def _enter(self, room: asyncio.Semaphore, deadline: Deadline) -> bool:
        """Take a place; False when none became free in time."""
        if not room.locked():
            return await room.acquire()  # does not suspend
        patience = min(deadline, asyncio.get_running_loop().time() + self._patience)
        try:
            async with asyncio.timeout_at(patience):
                return await room.acquire()
        except TimeoutError:
            return False
