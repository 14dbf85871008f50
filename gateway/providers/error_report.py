"""Read an error object, whichever of the shapes that providers invented for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.providers.retry_after import go_duration
from gateway.providers.scrub import scrub


@dataclass(frozen=True, slots=True)
class Report:
    """What an error object says.

    `words` are all its machine words (types, codes, reasons) in lower case; `status` is an HTTP status named inside;
    `retry_after` (seconds) comes from Google's RetryInfo.
    """

    message: str = ""
    type: str | None = None
    param: str = ""
    code: str | None = None
    status: int | None = None
    words: frozenset[str] = frozenset()
    retry_after: float | None = None


def report_of(error: object, depth: int = 4) -> Report:
    """Read `{"error": {...}}`, `{"error": "text"}`, `{"detail": ...}`, `{"message": ...}`, `[{"error": ...}]` and kin.

    Anything else, None included, is an empty report.
    """
    if isinstance(error, str):
        return Report(message=error)
    if isinstance(error, list) and error and depth:
        return report_of(error[0], depth - 1)
    if not isinstance(error, Mapping):
        return Report()
    for wrapper in ("error", "detail", "errors"):
        inner = error.get(wrapper)
        if isinstance(inner, str | list | Mapping) and inner and depth:
            return _within(_flat(error), report_of(inner, depth - 1))
    return _flat(error)


def _flat(error: Mapping[Any, Any]) -> Report:
    named = [error.get(name) for name in ("type", "code", "status", "reason", "__type")]
    inner = error.get("innererror")  # where Azure keeps the real code
    details = error.get("details")  # google.rpc.ErrorInfo, RetryInfo, ...
    parts = [part for part in details if isinstance(part, Mapping)] if isinstance(details, list) else []
    words = [*named, *(part.get("reason") for part in parts), inner.get("code") if isinstance(inner, Mapping) else None]
    return Report(
        message=_text(error, "message", "msg", "Message", "error_description"),
        type=_word(error.get("type")),
        param=_text(error, "param") or _place(error.get("loc")),
        code=_word(error.get("code")) or _word(error.get("status")),
        status=next(filter(None, map(_status, named)), None),
        words=frozenset(word.lower() for word in map(_word, words) if word),
        retry_after=next(
            (wait for part in parts if (wait := go_duration(_text(part, "retryDelay"))) is not None), None
        ),
    )


def _within(outer: Report, inner: Report) -> Report:
    return Report(
        message=inner.message or outer.message,
        type=inner.type or (None if outer.type == "error" else outer.type),
        param=inner.param or outer.param,
        code=inner.code or outer.code,
        status=inner.status or outer.status,
        words=inner.words | outer.words - {"error"},
        retry_after=outer.retry_after if inner.retry_after is None else inner.retry_after,
    )


def _text(error: Mapping[Any, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := error.get(name), str)), "")


def _word(value: object) -> str | None:
    """Return a machine's word such as `model_not_found`; numbers, prose and what looks like a secret are none."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]{0,63}", value, re.ASCII) and scrub(value) == value:
        return value
    return None


def _place(loc: object) -> str:
    """Return the field that pydantic's errors name as `["body", "temperature", 0]`."""
    names = [part for part in loc if isinstance(part, str) and part != "body"] if isinstance(loc, list) else []
    return names[0] if names else ""


def _status(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[345]\d\d", value, re.ASCII):
        return int(value)
    return value if isinstance(value, int) and 300 <= value < 600 else None
