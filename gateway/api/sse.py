"""Framing of outgoing server-sent events."""

from __future__ import annotations

COMMENT = b": keep-alive\n\n"
"""An event that no client sees: it keeps a waiting connection alive."""


def frame(data: bytes) -> bytes:
    """Frame one event. JSON that an upstream wrote over several lines becomes several data lines."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"data: %b\n\n" % data


def named(kind: str, data: bytes) -> bytes:
    """Frame one event that has a name."""
    return b"event: %b\n%b" % (kind.encode(), frame(data))
