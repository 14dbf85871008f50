"""How long a provider asks to be left alone, in whichever of the known dialects it says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST = 86_400.0
"""Seconds; a longer wait is cut to this."""

_NUMBER = re.compile(r"(\d{1,15}(\.\d{0,9})?|\.\d{1,9})", re.ASCII)
_GO_PART = re.compile(r"(\d{1,15}(?:\.\d{0,9})?)(h|ms|m|s|us|µs|ns)", re.ASCII)
_GO_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds (at most a day) that the headers of a refusal ask for; None when they do not say.

    `headers` has lower-case keys. The order is openai-python's: `retry-after-ms`, `retry-after` in seconds, as an
    HTTP-date (RFC 9110, section 10.2.3); then the latest of the `*ratelimit*reset*` headers, where a dimension with
    nothing remaining goes before the others. Dates are read against the answer's own `Date`, since clocks differ; `now`
    serves where it is missing. A date in the past is 0; negative numbers and garbage are ignored. It never raises.
    """
    wait = explicit(headers, now)
    return wait if wait is not None else _reset(headers, _clock(headers, now))


def explicit(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return what `retry-after-ms` or `retry-after` say, without the rate limits that answers of any status carry."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST)
    value = headers.get("retry-after", "")
    seconds = _number(value)
    return _until(_http_date(value), _clock(headers, now)) if seconds is None else min(seconds, LONGEST)


def go_duration(text: str) -> float | None:
    """Return the seconds of a Go duration such as `6m0s` or `500ms`; None when it is not one."""
    text = text.strip()
    parts = _GO_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return min(sum(float(number) * _GO_UNIT[unit] for number, unit in parts), LONGEST)


def _clock(headers: Mapping[str, str], now: datetime) -> datetime:
    return _http_date(headers.get("date", "")) or (now if now.tzinfo else now.replace(tzinfo=UTC))


def _reset(headers: Mapping[str, str], now: datetime) -> float | None:
    used_up: list[float] = []
    others: list[float] = []
    for name, value in headers.items():
        if "ratelimit" in name and "reset" in name and (wait := _moment(value, now)) is not None:
            nothing_left = headers.get(name.replace("reset", "remaining"), "").strip() == "0"
            (used_up if nothing_left else others).append(wait)
    return max(used_up or others, default=None)


def _moment(text: str, now: datetime) -> float | None:
    """Read a Go duration, seconds, epoch seconds, epoch milliseconds (OpenRouter) or RFC 3339 (Anthropic)."""
    number = _number(text)
    if number is None:
        wait = go_duration(text)
        return _until(_rfc3339(text), now) if wait is None else wait
    if number < 1e9:
        return min(number, LONGEST)
    epoch = number if number < 1e11 else number / 1000
    return min(max(0.0, epoch - now.timestamp()), LONGEST)


def _number(text: str) -> float | None:
    """Return a plain non-negative decimal; `float` itself would also take `nan`, `1_0` and digits of other scripts."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _rfc3339(text: str) -> datetime | None:
    try:
        date = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _until(date: datetime | None, now: datetime) -> float | None:
    return None if date is None else min(max(0.0, (date - now) / timedelta(seconds=1)), LONGEST)
