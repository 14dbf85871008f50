"""The gate before the endpoints: a bounded number of requests at once, a few that wait a moment, a quick no to others.

Work that nobody waits for any more is what an overloaded server drowns in: answering 503 costs a fraction of a request.
"""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.errors import Overloaded
from gateway.settings import Limits


class Admission:
    """Counts the requests that are `inside`; the probes and small questions do not pass through it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.inside = 0
        self._late = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def crowded(self) -> bool:
        """Whether the next request has to `wait`; if not, it counts itself `inside`."""
        return self.inside >= self.limits.in_flight or self._late > 1

    @property
    def waiting(self) -> int:
        """How many requests wait for a place."""
        return len(self._waiting)

    async def wait(self) -> None:
        """Wait for a place, in the order of arrival, and take it.

        Raises:
            Overloaded: there is none soon, too many wait already, or the event loop is behind.
        """
        if self._late > 1:
            raise Overloaded(f"its event loop is more than {self.limits.loop_lag:g} s behind")
        if len(self._waiting) >= self.limits.queue:
            raise Overloaded(f"{self.inside} requests are in flight and {len(self._waiting)} wait")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self.limits.queue_timeout):
                await place
        except (TimeoutError, asyncio.CancelledError) as exc:
            if place in self._waiting:
                self._waiting.remove(place)
            elif not place.cancelled():
                self.leave()  # the place came in the same moment
            if isinstance(exc, TimeoutError):
                raise Overloaded(f"{self.inside} requests are in flight, and none ended in time") from None
            raise

    def leave(self) -> None:
        """Give a place back, to whoever has waited longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.inside -= 1

    def note_lag(self, seconds: float) -> None:
        """Hear how late the event loop's last tick was; twice in a row is more than a hiccup."""
        self._late = self._late + 1 if seconds > self.limits.loop_lag else 0
