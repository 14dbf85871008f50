"""How deep a JSON text is nested, told without parsing it: what is too deep breaks the parsers of others."""

from __future__ import annotations

import re

DEEPEST = 64

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NOT_A_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")


def too_deep(text: bytes) -> bool:
    """Whether well-formed JSON is nested deeper than 64 levels; most requests do not even have so many brackets."""
    if text.count(b"[") + text.count(b"{") <= DEEPEST:
        return False
    brackets = _STRING.sub(b"", text).translate(None, _NOT_A_BRACKET)
    for _ in range(DEEPEST):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)
