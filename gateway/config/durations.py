"""Durations as an operator writes them: `800ms`, `2s`, `1m30s`, `1h`."""

from __future__ import annotations

import re

PATTERN = r"^(?=.*[1-9])(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+(?:\.[0-9]+)?s)?(?:[0-9]+ms)?$"
"""What a duration looks like, in the dialect of regular expressions that Python and JSON Schema share. Zero is none."""

_PART = re.compile(r"([0-9.]+)(ms|[hms])")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(text: str) -> float:
    """Return how many seconds a duration lasts.

    Raises:
        ValueError: when it is not a duration; a bare number is none, for it might mean milliseconds.
    """
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"not a duration: {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def written(duration: float) -> str:
    """Return a number of seconds as an operator would write it, to the millisecond: 90.0 gives `1m30s`."""
    milliseconds = round(duration * 1000)
    parts = []
    for unit in ("h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, round(_SECONDS[unit] * 1000))
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"
