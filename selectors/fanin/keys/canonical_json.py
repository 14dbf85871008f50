"""The key for JSON answers: the document in one canonical spelling."""

from __future__ import annotations

import re
from collections.abc import Hashable
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from json import JSONDecoder, JSONEncoder
from typing import Any, NoReturn

from fanin.ballot import Candidate
from fanin.keys.cleaning import REMEMBERED, plain, recall

_BRACKET = re.compile(r"[{\[]")
_OPENINGS = frozenset('{["-0123456789tfn')
"""How a document can begin: most prose is told from it without reading it."""
_ATTEMPTS = 8
"""How many brackets in the words before a document are tried as its beginning."""


def json(candidate: Candidate) -> Hashable | None:
    """The JSON document in the answer, keys sorted, `2.0` as `2`; None where there is none.

    The spelling is much that of RFC 8785. Do not use it for documents with a field of prose, in which no two agree:
    compare the field that matters (`json_field`), or vote field by field (`json_fields`).
    """
    return recall(_canonical, candidate.text)


@lru_cache(maxsize=REMEMBERED)
def _canonical(text: str) -> str | None:
    try:
        found = document(text)
        return None if found is None else spelled(found)
    except RecursionError:
        return None


def spelled(value: Any) -> str:
    """Return a JSON value in its one canonical spelling; raise RecursionError where it is nested too deeply."""
    return str(value) if type(value) is int else _ENCODER.encode(value)


def parsed(text: str) -> Any:
    """Return the JSON document that a text is, equal numbers as equal; raise ValueError where it is none."""
    text = text.strip()
    value, end = _DECODER.raw_decode(text)  # `decode` would look for white space at both ends with a pattern
    if end != len(text):
        raise ValueError(f"something follows the document at {end}")
    return value


def document(text: str) -> Any:
    """Return the JSON document that the text is, or else the first one in the plain answer that opens with a bracket.

    The text is tried as it came, as fences and tags may stand inside a string of the document. Numbers that are equal
    are returned as equal: `2.0` and `2e0` as 2. None where there is no document (or it is `null`). Raises
    RecursionError where it is nested too deeply.
    """
    answer = plain(text)
    for whole in (text, answer):
        if whole.lstrip()[:1] in _OPENINGS:
            with suppress(ValueError):
                return _DECODER.decode(whole)
    if "{" not in answer and "[" not in answer:
        return None
    for bracket in islice(_BRACKET.finditer(answer), _ATTEMPTS):
        with suppress(ValueError):
            return _DECODER.raw_decode(answer, bracket.start())[0]
    return None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 300 else float(digits)


def _real(digits: str) -> int | float:
    value = float(digits)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _refused(word: str) -> NoReturn:
    raise ValueError(word)


_DECODER = JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=_refused)
_ENCODER = JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
