"""Counting now and telling prometheus-client later: an addition costs a tenth of an increment under its lock.

One thread counts, the event loop's; whoever tells reads what was counted and remembers how much of it is told. So a
killed worker loses what it counted since it last told, half a second at most.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar


class Tally(Protocol):
    """Something that counts and can tell."""

    def tell(self) -> None:
        """Pass on what was counted since the last time."""
        ...


class Sum:
    """A counter."""

    __slots__ = ("_child", "_told", "_value")

    def __init__(self, child: Any) -> None:
        self._child, self._value, self._told = child, 0.0, 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count."""
        self._value += amount

    def tell(self) -> None:
        """Pass on what was counted since the last time."""
        value = self._value
        if value != self._told:
            self._child.inc(value - self._told)
            self._told = value


class Spread:
    """A histogram; `child` is prometheus-client's, whose buckets are not cumulative until they are scraped.

    `observe` takes a value down, in a quarter of the time in which its bucket is found: that is done for all at once.
    """

    __slots__ = ("_child", "_values", "observe")

    def __init__(self, child: Any) -> None:
        self._child = child
        self._values: list[float] = []
        self.observe: Callable[[float], None] = self._values.append

    def tell(self) -> None:
        """Pass on what was counted since the last time; what is counted meanwhile stays for the next."""
        told = self._values[:]
        if not told:
            return
        del self._values[: len(told)]
        self._child._sum.inc(math.fsum(told))  # noqa: SLF001 -- there is no other way to add many
        told.sort()
        before = 0
        for edge, bucket in zip(self._child._upper_bounds, self._child._buckets, strict=True):  # noqa: SLF001
            below = bisect_right(told, edge, before)
            if below != before:
                bucket.inc(below - before)
                before = below


T = TypeVar("T", bound=Tally)


class Family(Generic[T]):
    """A metric with labels whose children are tallies."""

    def __init__(self, metric: Any, tally: Callable[[Any], T]) -> None:
        self._metric, self._tally = metric, tally
        self._children: dict[tuple[str, ...], T] = {}

    def labels(self, *values: str) -> T:
        """Return the one tally of these label values."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._tally(self._metric.labels(*values))
        return child

    def tell(self) -> None:
        """Let all tell."""
        for child in tuple(self._children.values()):
            child.tell()
