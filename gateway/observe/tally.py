"""Counting now and telling prometheus-client later: an addition costs a tenth of an increment under its lock.

One thread counts, the event loop's; whoever tells reads what was counted and remembers how much of it is told. So a
killed worker loses what it counted since it last told, half a second at most.
"""

from __future__ import annotations

from bisect import bisect_left
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
    """A histogram; `child` is prometheus-client's, whose buckets are not cumulative until they are scraped."""

    __slots__ = ("_child", "_counts", "_edges", "_sum", "_told", "_told_sum")

    def __init__(self, child: Any) -> None:
        self._child, self._edges = child, tuple(child._upper_bounds)  # noqa: SLF001 -- there is no other way to add many
        self._counts, self._told = [0] * len(self._edges), [0] * len(self._edges)
        self._sum = self._told_sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._edges, value)] += 1
        self._sum += value

    def tell(self) -> None:
        """Pass on what was counted since the last time."""
        counts, total = self._counts.copy(), self._sum
        if counts == self._told:
            return
        for bucket, count, told in zip(self._child._buckets, counts, self._told, strict=True):  # noqa: SLF001
            if count != told:
                bucket.inc(count - told)
        self._child._sum.inc(total - self._told_sum)  # noqa: SLF001
        self._told, self._told_sum = counts, total


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
