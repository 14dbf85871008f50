"""The key for answers that are a value of a programming language: a Python literal, compared by its meaning."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Any

from fanin.ballot import Candidate
from fanin.keys.cleaning import REMEMBERED, plain, recall
from fanin.keys.conclusion import answer_field, conclusions, followed_by

LONGEST = 8_192
"""Characters of one literal; what is longer is taken for no literal, not parsed."""

_TAGGED = re.compile(r"\[ANSWER\]([^\0]{0,8192}?)\[/ANSWER\]", re.IGNORECASE)
_concluding = followed_by(r"\s*+(.*)")
_LINES = 3
_OPENING = re.compile(r"""[\[({'"0-9.+-]|True|False|None|set\(|[bBrRuU]{1,2}['"]""")
"""How a literal can begin: prose is told from it without parsing it."""
_PLAIN = re.compile(r"(0|-?[1-9][0-9]{0,14})\.?")
"""A whole number that a float holds exactly, as it is spelled: most literals, told without the parser."""


def python(candidate: Candidate) -> Hashable | None:
    """The Python literal that the answer comes to.

    It stands in a JSON `"answer"`, between `[ANSWER]` tags, after the last conclusion mark, or alone; of
    `assert f(1) == [2]` it is `[2]`. Quotes, spaces, the order of sets and of mappings do not count, and `2.0` is `2`;
    a list is not a tuple, True is not 1. Nothing is evaluated (`ast.literal_eval`). Do not use it for
    programs: two that do the same are not the same text.
    """
    return recall(_python, candidate.text)


@lru_cache(maxsize=REMEMBERED)
def _python(text: str) -> str | None:
    text = plain(text)
    if '"' in text and (field := answer_field(text)):
        return _first(field) or repr(field)  # a string without quotes of its own is meant as a string
    for place in _places(text):
        if found := _first(place):
            return found
    return None


def _first(place: str) -> str | None:
    """Return the literal that a place is, or that an assertion in it is about."""
    place = place.strip(" \t\n`*$")
    if place.startswith("assert ") or ("=" in place and " == " in place):
        claimed = place.rpartition("==")[2].strip()
        if _OPENING.match(claimed) and (found := _read(claimed)):
            return found
    if not _OPENING.match(place):
        return None
    return _read(place) or (_read(place[:-1].rstrip("`*")) if place.endswith(".") else None)


def _places(text: str) -> Iterator[str]:
    """Give where the literal may stand, the surest place first."""
    if len(text) <= LONGEST:
        yield text
    start = text.lower().rfind("[answer]") if "[" in text else -1
    if start >= 0 and (found := _TAGGED.match(text, start)):
        yield found[1]
    if line := _concluding(text):
        yield line[1]
    for span in conclusions(text):
        yield span.strip().partition("\n")[0]
    lines = [line for line in text[-LONGEST:].split("\n") if line.strip()]
    yield from reversed(lines[-_LINES:])


def _read(piece: str) -> str | None:
    if len(piece) > LONGEST:
        return None
    if found := _PLAIN.fullmatch(piece):
        return found[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _spelled(ast.literal_eval(piece))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _spelled(value: Any) -> str:
    """Return one spelling of all equal literals."""
    if isinstance(value, dict):
        items = sorted(f"{_spelled(key)}: {_spelled(item)}" for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (set, frozenset)):
        return "{" + ", ".join(sorted(map(_spelled, value))) + "}" if value else "set()"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    if isinstance(value, tuple):
        return "(" + "".join(f"{_spelled(item)}, " for item in value).rstrip(" " if len(value) == 1 else ", ") + ")"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return repr(value)
