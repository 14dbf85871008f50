"""A circuit: what is known about the health of one model of one provider. Pure: the time is always handed in.

It opens on failures in a row or on a high share of failures (as resilience4j and Envoy do, with numbers for calls that
take seconds), stays open for a pause with equal jitter that doubles (Finagle's failure accrual), and lets one call at a
time try after that. Two of them that succeed close it, and then the load comes back step by step.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from enum import Enum

from gateway.engine.events import BreakerState

CONSECUTIVE = 5
"""Failures in a row that open it."""
SHARE, LEAST = 0.5, 10
"""The share of failures that opens it, and of how many calls at least."""
WINDOW = 30.0
"""Seconds for which calls are counted."""
PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds until the first probe; each further pause is twice as long, up to the longest."""
PROMPT = 20.0
"""Seconds that a pause may always have; beyond that it is at most a third of the outage so far. Doubling alone could
come back from an outage of one minute another minute late."""
SUCCESSES = 2
"""Probes that must succeed before it closes."""
RAMP = 2, 16
"""Calls in flight that a closed circuit begins with, growing by one a success; from the second number on it is free."""
COOLDOWN = 300.0
"""Seconds of an upstream's Retry-After that are taken at their word before it is asked again."""
BUSY = 1.0
"""Seconds after which a call may be worthwhile that was refused because others are trying just now."""
_BUCKETS = 3


class Entry(Enum):
    """As what a call was let through: as any other, as the probe, or because there was nobody else to ask."""

    PLAIN = "plain"
    PROBE = "probe"
    EXTRA = "extra"


class Circuit:
    """The state machine. Every call that `refusal` lets through goes on with `enter` and ends with `leave`."""

    __slots__ = (
        "_calls", "_consecutive", "_cool_until", "_draw", "_failed_at", "_in_flight", "_opened_at", "_pause",
        "_probing", "_room", "_successes", "_until", "state",
    )  # fmt: skip

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self.state: BreakerState = "closed"
        self._draw = draw
        self._pause, self._until, self._opened_at = PAUSE, 0.0, 0.0
        self._cool_until = self._failed_at = -math.inf
        self._consecutive = self._successes = self._in_flight = 0
        self._probing = False
        self._room = math.inf
        self._calls: list[list[int]] = []

    def cooling(self, now: float) -> float:
        """Return for how many seconds more the upstream wants no calls; 0 when it takes them."""
        return max(0.0, self._cool_until - now)

    def refusal(self, now: float) -> float:
        """Return after how many seconds a call may be worthwhile; 0 when this one is let through."""
        if self.state == "open":
            if now < self._until:
                return self._until - now
            self.state, self._successes = "half_open", 0
        if self.state == "half_open":
            return BUSY if self._probing else 0.0
        return BUSY if self._in_flight >= self._room else 0.0

    def enter(self) -> Entry:
        """Let a call through."""
        if self.state == "closed":
            self._in_flight += 1
            return Entry.PLAIN
        if self.state == "open" or self._probing:
            return Entry.EXTRA
        self._probing = True
        return Entry.PROBE

    def leave(self, entry: Entry | None, healthy: bool | None, now: float) -> None:
        """Note how a call ended; `healthy` is None where that says nothing about the target.

        `entry` is None for a call that began before there was a circuit.
        """
        if entry is Entry.PLAIN:
            self._in_flight -= 1
        elif entry is Entry.PROBE:
            self._probing = False
        if healthy is None:
            return
        if entry is None or entry is Entry.PLAIN:
            if self.state == "closed":  # what began before it opened says nothing new
                self._count(now, healthy=healthy)
        elif healthy:
            self._recover()
        elif entry is Entry.PROBE and self.state == "half_open":
            self._open(now)

    def broke_off(self, now: float) -> None:
        """Note that an answer which had begun, and was counted as a success then, did not come to its end."""
        if self.state == "half_open":
            self._open(now)
        elif self.state == "closed":
            bucket = self._bucket(now)
            bucket[0] -= bucket[0] > bucket[1]  # unless that success was older than the circuit
            self._count(now, healthy=False)

    def cool(self, now: float, seconds: float) -> None:
        """Ask nothing for some seconds; a later, longer wish extends that, a shorter one does not end it."""
        self._cool_until = max(self._cool_until, now + min(seconds, COOLDOWN))

    def forgettable(self, now: float) -> bool:
        """Whether it says no more than a new one would."""
        calm = self.state == "closed" and self._in_flight == 0 and math.isinf(self._room)
        return calm and now - self._failed_at > WINDOW and now >= self._cool_until

    def _count(self, now: float, *, healthy: bool) -> None:
        bucket = self._bucket(now)
        bucket[0] += 1
        if healthy:
            self._consecutive = 0
            if self._room < RAMP[1]:
                self._room += 1
            elif self._room == RAMP[1]:
                self._room, self._pause = math.inf, PAUSE
            return
        bucket[1] += 1
        self._consecutive += 1
        self._failed_at = now
        calls, failures = (sum(column) for column in zip(*(b[:2] for b in self._calls), strict=True))
        if self._consecutive >= CONSECUTIVE or (calls >= LEAST and failures >= SHARE * calls):
            self._open(now)

    def _bucket(self, now: float) -> list[int]:
        """Return the calls and failures of the present third of the window, as a list that counts."""
        number = int(now / (WINDOW / _BUCKETS))
        if not self._calls or self._calls[-1][2] != number:
            self._calls = [bucket for bucket in self._calls if bucket[2] > number - _BUCKETS]
            self._calls.append([0, 0, number])
        return self._calls[-1]

    def _open(self, now: float) -> None:
        if self._pause == PAUSE:
            self._opened_at = now  # else it is the same outage still
        pause = min(self._pause, LONGEST_PAUSE, max(PROMPT, (now - self._opened_at) / 3))
        self._until = now + pause * (0.5 + 0.5 * self._draw())
        self._pause = 2 * pause
        self.state = "open"

    def _recover(self) -> None:
        if self.state == "closed":
            return
        if self.state == "open":
            self.state, self._successes = "half_open", 0
        self._successes += 1
        if self._successes >= SUCCESSES:
            self.state, self._room = "closed", RAMP[0]
            self._consecutive, self._calls = 0, []
