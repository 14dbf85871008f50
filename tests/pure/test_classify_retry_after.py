"""How long to leave a provider alone: every dialect, its order, and that garbage never hurts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.providers.retry_after import LONGEST, go_duration, retry_after

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def http_date(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2"}, 2),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "0"}, 0),
        ({"retry-after": http_date(30)}, 30),
        ({"retry-after": http_date(-30)}, 0),
        ({"retry-after-ms": "1500", "retry-after": "9", "x-ratelimit-reset-requests": "60"}, 1.5),
        ({"retry-after": "9", "x-ratelimit-reset-requests": "60"}, 9),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "-1", "x-ratelimit-reset-requests": "1m2s"}, 62),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-reset-tokens": "500ms"}, 360),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset-tokens": "250µs"}, 0.00025),
        ({"x-ratelimit-reset-requests": "0"}, 0),
        ({"x-ratelimit-reset-requests": "-1", "x-ratelimit-reset-tokens": "0"}, 0),
        ({"x-ratelimit-reset-requests": "-1"}, None),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() + 40))}, 40),
        ({"x-ratelimit-reset": str(int(NOW.timestamp() + 40) * 1000)}, 40),
        ({"anthropic-ratelimit-requests-reset": "2026-03-01T12:00:07Z"}, 7),
        ({"anthropic-ratelimit-tokens-reset": "2026-03-01T13:00:07+01:00"}, 7),
        ({"anthropic-ratelimit-tokens-reset": "2026-03-01T11:59:00Z"}, 0),
        ({"retry-after": "99999999999999999999999"}, None),
        ({"retry-after": "999999999"}, LONGEST),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1_0"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_read_in_every_dialect_and_in_order(headers: dict[str, str], wait: float | None) -> None:
    """Milliseconds go before seconds, before dates, before reset times; what is no time is ignored."""
    assert retry_after(headers, NOW) == pytest.approx(wait)


def test_a_dimension_that_has_something_left_is_not_why_we_were_refused() -> None:
    """The exhausted dimension's reset counts, not a longer one of another dimension."""
    headers = {
        "x-ratelimit-reset-requests": "3s",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-tokens": "6m0s",
        "x-ratelimit-remaining-tokens": "149000",
    }
    assert retry_after(headers, NOW) == 3
    assert retry_after(headers | {"x-ratelimit-remaining-requests": "5"}, NOW) == 360


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_a_date_is_read_against_the_answers_own_clock(skew: int) -> None:
    """An hour between the clocks changes nothing where the answer carries its Date."""
    headers = {"date": http_date(skew), "retry-after": http_date(skew + 12)}
    assert retry_after(headers, NOW) == 12
    headers = {
        "date": http_date(skew),
        "anthropic-ratelimit-tokens-reset": (NOW + timedelta(seconds=skew + 12)).isoformat(),
    }
    assert retry_after(headers, NOW) == 12


def test_a_naive_now_counts_as_utc() -> None:
    """A caller that forgot the zone gets an answer, not an exception."""
    assert retry_after({"retry-after": http_date(5)}, NOW.replace(tzinfo=None)) == 5


zones = st.sampled_from([None, UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12, minutes=-30))])
numbers = st.one_of(st.integers(), st.floats()).map(str)
header_text = st.one_of(
    st.text(max_size=20),
    numbers,
    st.tuples(numbers, st.sampled_from(["s", "ms", "m0s", "h", " "])).map("".join),
    st.datetimes(timezones=zones).map(datetime.isoformat),
    st.datetimes(timezones=zones).map(format_datetime),
)


refusals = st.dictionaries(
    st.sampled_from(
        [
            "retry-after-ms",
            "retry-after",
            "date",
            "x-ratelimit-reset-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-tokens",
            "anthropic-ratelimit-tokens-reset",
            "anthropic-ratelimit-tokens-remaining",
        ]
    ),
    header_text,
)
clocks = st.datetimes(timezones=zones)


@given(refusals, clocks)
def test_no_header_makes_it_raise_or_return_nonsense(headers: dict[str, str], now: datetime) -> None:
    """Whatever upstreams put into these headers, the wait is None or between nothing and a day."""
    wait = retry_after(headers, now)
    assert wait is None or 0 <= wait <= LONGEST


@pytest.mark.slow
@settings(max_examples=10_000)
@given(refusals, clocks)
def test_ten_thousand_refusals_make_it_neither_raise_nor_return_nonsense(
    headers: dict[str, str], now: datetime
) -> None:
    """The same promise, looked at for longer."""
    wait = retry_after(headers, now)
    assert wait is None or 0 <= wait <= LONGEST


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_go_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    """What Go prints is read back, leading zero parts or not."""
    total = hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
    assert go_duration(f"{hours}h{minutes}m{seconds}s{milliseconds}ms") == pytest.approx(total)


@pytest.mark.parametrize("text", ["", "s", "5", "5 s", "5s garbage", "garbage5s", "-5s", "5d"])
def test_what_go_would_not_print_is_no_duration(text: str) -> None:
    """Half a duration is none."""
    assert go_duration(text) is None
