"""The bulkhead: a bounded number of calls in flight per provider, so that a slow one cannot take the others' room."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fanin import Candidate
from gateway.domain import Answer, Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target


class Bulkhead:
    """At most `limits[provider]` calls in flight per provider; who finds no room waits up to `patience` seconds.

    A live stream keeps its place until it is closed: what is limited is the connections, not the decisions.
    """

    def __init__(self, limits: Mapping[str, int], patience: float = 1.0) -> None:
        self._rooms = {provider: asyncio.Semaphore(limit) for provider, limit in limits.items()}
        self._limits = dict(limits)
        self._patience = patience

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
