"""Durations: what is one, what is none, and that writing and reading are each other's inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.durations import seconds, written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("800ms", 0.8),
        ("2s", 2.0),
        ("1.5s", 1.5),
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("1h2m3s4ms", 3723.004),
        ("1s500ms", 1.5),
    ],
)
def test_a_duration_is_numbers_with_units_from_large_to_small(text: str, expected: float) -> None:
    """Each unit at most once."""
    assert seconds(text) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20",
        "s",
        "0s",
        "0ms",
        "-1s",
        "1s2m",
        "1s 2ms",
        " 1s",
        "1s\n",
        "1S",
        "1d",
        "1.5m",
        ".5s",
        "1e3s",
        "٢s",
        "1s1s",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    """A bare number above all: nobody knows whether it means seconds or milliseconds."""
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text)


@given(st.integers(min_value=1, max_value=10**9))
def test_what_is_written_is_read_back(milliseconds: int) -> None:
    """To the millisecond."""
    duration = milliseconds / 1000
    assert seconds(written(duration)) == pytest.approx(duration, abs=1e-9)
