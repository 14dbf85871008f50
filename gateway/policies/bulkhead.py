"""The bulkhead: a bounded number of calls in flight per provider, so that a slow one cannot take the others' room.

The bound adapts by additive increase and multiplicative decrease, as TCP's does: a provider that limits or times out
gets fewer calls at once, and one more after each full round of successes (Netflix's concurrency-limits, AIMDLimit).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping

from fanin import Candidate
from gateway.domain import Answer, Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target

DECREASE = 0.9
"""What remains of the limit after a loss."""
KNEE = 16
"""The first loss of an idle provider does not bring the limit below nine tenths of this."""
LEAST = 1.0
"""Calls that may be in flight whatever happens."""
OVERLOADED = 529
"""Anthropic's status for "overloaded"."""


class Limit:
    """How many calls may be in flight: `most` as long as all is well. Pure: the time is always handed in.

    It begins at the top, as a limit that must first be earned would refuse the first burst of slow calls.
    """

    __slots__ = ("_cut_at", "most", "now")

    def __init__(self, most: int) -> None:
        self.most, self.now = most, float(most)
        self._cut_at = -math.inf

    def succeeded(self) -> None:
        """Grow by one after as many successes as the limit."""
        if self.now < self.most:
            self.now = min(float(self.most), self.now + 1 / self.now)

    def lost(self, began: float, now: float, in_flight: int) -> None:
        """Shrink, once for all calls that were under way together: a burst of refusals is one piece of news."""
        if began >= self._cut_at:
            self.now = max(LEAST, DECREASE * min(self.now, max(in_flight, KNEE)))
            self._cut_at = now


class _Room:
    """The places at one provider, and who waits for one."""

    def __init__(self, most: int) -> None:
        self.limit = Limit(most)
        self.taken = 0
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return sum(not waiter.done() for waiter in self._waiters)

    def enter(self) -> bool:
        """Take a place if one is free and nobody was here before."""
        if self._waiters or self.taken >= int(self.limit.now):
            return False
        self.taken += 1
        return True

    async def wait(self, until: float) -> bool:
        """Wait for a place; False when none became free in time."""
        place = asyncio.get_running_loop().create_future()
        self._waiters.append(place)
        try:
            async with asyncio.timeout_at(until):
                await place
        except TimeoutError:
            self._withdraw(place)
            return False
        except BaseException:
            self._withdraw(place)
            raise
        return True

    def _withdraw(self, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self.release()  # it was given to us just as we left
        elif place in self._waiters:
            self._waiters.remove(place)

    def release(self) -> None:
        """Give a place back, to whoever waits longest."""
        self.taken -= 1
        while self._waiters and self.taken < int(self.limit.now):
            place = self._waiters.popleft()
            if not place.done():
                self.taken += 1
                place.set_result(None)


class Bulkhead:
    """At most `limits[provider]` calls in flight per provider; who finds no room waits up to `patience` seconds.

    A live stream keeps its place until it is closed: what is limited is the connections, not the decisions.
    """

    def __init__(self, limits: Mapping[str, int], patience: float = 1.0) -> None:
        self._rooms = {provider: _Room(limit) for provider, limit in limits.items()}
        self._patience = patience

    @property
    def in_flight(self) -> dict[str, int]:
        """The calls under way, by provider."""
        return {provider: room.taken for provider, room in self._rooms.items()}

    @property
    def waiting(self) -> dict[str, int]:
        """The calls that wait for a place, by provider."""
        return {provider: room.waiting for provider, room in self._rooms.items()}

    @property
    def limits(self) -> dict[str, int]:
        """How many calls may be under way at present, by provider."""
        return {provider: int(room.limit.now) for provider, room in self._rooms.items()}

    def __call__(self, call: Caller) -> Caller:
        """Wrap a caller."""

        async def within_bulkhead(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
            loop, room = asyncio.get_running_loop(), self._rooms[target.provider]
            began = loop.time()
            if not room.enter():
                if not await room.wait(min(deadline, began + self._patience)):
                    detail = f"{int(room.limit.now)} calls are already in flight"
                    return Failure(target.name, FailureKind.BULKHEAD_FULL, detail)
                began = loop.time()
            try:
                outcome = await call(target, request, deadline)
            except BaseException:
                room.release()
                raise
            if isinstance(outcome, Failure):
                if _overload(outcome):
                    room.limit.lost(began, loop.time(), room.taken)
            else:
                room.limit.succeeded()
            if isinstance(outcome, Candidate) and not isinstance(outcome.payload, Answer):
                outcome.payload.on_close(room.release)
            else:
                room.release()
            return outcome

        return within_bulkhead


def _overload(failure: Failure) -> bool:
    return failure.kind in {FailureKind.RATE_LIMITED, FailureKind.TIMEOUT} or failure.status == OVERLOADED
