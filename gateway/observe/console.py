"""Log lines for people: of a request its status, time, winner and branches, in reading order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SHOWN_APART = ("event", "level", "timestamp", "traceback")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def line(event: Mapping[str, Any]) -> bytes:
    """Return one line; a traceback follows below it, indented. Control characters of values are escaped."""
    clock = f"{event['timestamp']:%H:%M:%S}"
    level = str(event.get("level", "info")).upper()
    told = _request(event) if event.get("event") == "request.finished" else _other(event)
    below = "".join(f"\n    {_plain(row)}" for row in str(event.get("traceback", "")).splitlines())
    return f"{clock} {level:<7} {told}{below}".encode()


def _request(event: Mapping[str, Any]) -> str:
    branches = ", ".join(f"{one['target']} {one['outcome']} {one['ms']:g}" for one in event.get("branches", ()))
    parts = [f"{event.get('status')}  {event.get('route')}  {event.get('ms'):g} ms"]
    if "winner" in event:
        rescued = ", rescued" if event.get("rescued") else ""
        parts.append(f"{event['winner']} ({event.get('selector')}: {event.get('reason')}{rescued})")
    if "error" in event:
        parts.append(f"{event['error']}")
    parts += [f"[{branches}]"] * bool(branches) + [f"{event.get('request_id')}"]
    return _plain("  ".join(parts))


def _other(event: Mapping[str, Any]) -> str:
    fields = (f"{name}={_written(value)}" for name, value in event.items() if name not in _SHOWN_APART)
    return _plain("  ".join((str(event.get("event")), *fields)))


def _written(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _plain(text: str) -> str:
    """A newline or an escape in a client's value must not look like a line of ours."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
