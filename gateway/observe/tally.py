"""Counting now and telling prometheus-client later: an addition costs a tenth of an increment under its lock.

One thread counts, the event loop's; whoever tells reads what was counted and remembers how much of it is told. So a
killed worker loses what it counted since it last told, half a second at most.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar


class Tally(Protocol):
    """Something that counts and can tell."""

    def tell(self) -> None:
        """Pass on what was counted since the last time."""
        ...


class Sum:
    """A counter: who counts adds to its `value`."""

    __slots__ = ("_told", "child", "value")

    def __init__(self, child: Any) -> None:
        self.child = child
        self.value: float = 0
        self._told: float = 0

    def tell(self) -> None:
        """Pass on what was counted since the last time."""
        value = self.value
        if value != self._told:
            self.child.inc(value - self._told)
            self._told = value


class Spread:
    """A histogram: who counts appends to its `values`, and the buckets are found for all at once.

    `child` is prometheus-client's, whose buckets are not cumulative until they are scraped. `each` are counters that go
    up by one with every value, `total` is one that goes up by the value: what is counted at one moment is noted once.
    """

    __slots__ = ("_child", "_each", "_joined", "_total", "values")

    def __init__(self, child: Any, each: Iterable[Sum] = (), total: Sum | None = None) -> None:
        self._child, self._each, self._total = child, tuple(each), total
        self._joined: dict[tuple[Sum | None, ...], Spread] = {}
        self.values: list[float] = []

    def joined(self, *each: Sum, total: Sum | None = None) -> Spread:
        """Return the one tally of this histogram whose values these counters count, too."""
        tally = self._joined.get((total, *each))
        if tally is None:
            tally = self._joined[total, *each] = Spread(self._child, each, total)
        return tally

    def tell(self) -> None:
        """Pass on what was counted since the last time; what is counted meanwhile stays for the next."""
        for tally in tuple(self._joined.values()):
            tally.tell()
        told = self.values[:]
        if not told:
            return
        del self.values[: len(told)]
        total = math.fsum(told)
        for counter in self._each:
            counter.child.inc(len(told))
        if self._total is not None:
            self._total.child.inc(total)
        self._child._sum.inc(total)  # noqa: SLF001 -- there is no other way to add many
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


class Bound(dict[Any, Any]):
    """Children by label values, each bound at its first use. A key must come from a closed set."""

    def __init__(self, bind: Callable[[Any], Any]) -> None:
        super().__init__()
        self._bind = bind

    def __missing__(self, key: Any) -> Any:
        child = self[key] = self._bind(key)
        return child
