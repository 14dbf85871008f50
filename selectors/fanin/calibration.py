"""What was fitted on labelled answers, as plain data in a rule: priors, weights, the guard's m, confidence tables."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Table: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""The inner edges of the bins in ascending order, and how often an answer in each bin is right: one more than edges."""

LEAST, MOST = 0.02, 0.98
"""Between these a probability is held before its logarithm is taken, so that no target outvotes all others."""

_FORM = "a list of shares, {edges: [...], right: [...]} or {percentile: [...]}"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted numbers by target: `priors` (how often it is right), `weights`, `bins`; and `m`, the guard's threshold."""

    priors: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    bins: Mapping[str, Table] = field(default_factory=dict)
    m: int | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any] | None) -> Calibration:
        """Return the calibration that plain data describe, such as a loaded file; what else is in them stays unread.

        Each of `bins` is a list of shares (equal bins from 0 to 1), `{edges: [...], right: [...]}`, or
        `{percentile: [...]}`, the target's own confidences in ascending order. Raises ValueError for what is no such
        thing.
        """
        given = given or {}
        m = given.get("m")
        if m is not None and (not isinstance(m, int) or isinstance(m, bool) or m < 1):
            raise ValueError(f"calibration.m is {m!r}, not an integer >= 1")
        return cls(
            priors=_numbers(given, "priors", most=1.0),
            weights=_numbers(given, "weights"),
            bins={target: _table(target, value) for target, value in _mapping(given, "bins").items()},
            m=m,
        )

    def chance(self, target: str, confidence: float) -> float | None:
        """Return how often this target is right when it states this confidence; None without a table for it."""
        table = self.bins.get(target)
        if table is None:
            return None
        edges, right = table
        return right[bisect.bisect_right(edges, confidence)]


def log_odds(chance: float, choices: int = 2) -> float:
    """Return log(p(C-1)/(1-p)), the weight of an independent voter among C choices; p is held in [.02, .98]."""
    held = min(MOST, max(LEAST, chance))
    return math.log(held * (choices - 1) / (1 - held))


def _mapping(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = given.get(name) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f"calibration.{name} is no mapping of targets")  # noqa: TRY004 -- a value of a configuration
    return value


def _numbers(given: Mapping[str, Any], name: str, most: float = math.inf) -> dict[str, float]:
    values = _mapping(given, name)
    for target, value in values.items():
        if not _is_number(value) or not 0 <= value <= most:
            raise ValueError(f"calibration.{name}.{target} is {value!r}, not a number from 0 to {most:g}")
    return dict(values)


def _table(target: str, value: Any) -> Table:
    if isinstance(value, Mapping) and "percentile" in value:
        edges = _ascending(target, value["percentile"])
        return edges, tuple(place / len(edges) for place in range(len(edges) + 1))
    if isinstance(value, Mapping):
        edges, right = _ascending(target, value.get("edges")), _list(target, value.get("right"))
    else:
        right = _list(target, value)
        edges = tuple(place / len(right) for place in range(1, len(right)))
    if len(right) != len(edges) + 1 or not all(0 <= share <= 1 for share in right):
        raise ValueError(f"calibration.bins.{target} needs one share from 0 to 1 more than edges, expected {_FORM}")
    return edges, right


def _ascending(target: str, value: Any) -> tuple[float, ...]:
    edges = _list(target, value)
    if list(edges) != sorted(edges):
        raise ValueError(f"calibration.bins.{target} has edges that do not ascend")
    return edges


def _list(target: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value or not all(map(_is_number, value)):
        raise ValueError(f"calibration.bins.{target} holds no numbers, expected {_FORM}")
    return tuple(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
