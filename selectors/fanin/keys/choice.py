"""The key for multiple choice: the letter that the answer settles on."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from functools import lru_cache

from fanin.ballot import Candidate
from fanin.keys.cleaning import REMEMBERED, plain, recall
from fanin.keys.conclusion import conclusions

_CONCLUDED = re.compile(
    r"[^\w\\]*+(?:\\text\w*\{\W*+)?(?:(?:[Oo]ption|[Cc]hoice)\W++)?"
    r"(?:([A-Z])(?![\w'\u2019])|([a-z])[)\]])"
)
_ALONE = re.compile(r"\W*+(?:(?:option|choice)\W++)?([A-Za-z])\W*+", re.IGNORECASE)
_LEADING = re.compile(r"\W*+(?:[Oo]ption |[Cc]hoice )?([A-Z])\s*[).:\]*]")
_BRACKETED = re.compile(r"[(\[]([A-Za-z])[)\]]")


def choice(candidate: Candidate, *, letters: str = "ABCDEFGHIJ") -> Hashable | None:
    """The letter of the chosen option: `B`, `(b)`, `B) Paris`, `The answer is **B**.`; upper case, one of `letters`.

    Do not use it where targets see the options in different orders, or may answer without the letter.
    """
    return recall(_choice, candidate.text, letters.upper())


@lru_cache(maxsize=REMEMBERED)
def _choice(text: str, letters: str) -> str | None:
    return next((letter for letter in _letters(plain(text)) if letter in letters), None)


def _letters(text: str) -> Iterator[str]:
    """Give what could be the chosen letter, the surest place first."""
    for match in _matches(text):
        if match:
            yield next(filter(None, match.groups())).upper()


def _matches(text: str) -> Iterator[re.Match[str] | None]:
    for span in conclusions(text):
        yield _CONCLUDED.match(span)
    yield _ALONE.fullmatch(text)
    lines = [line for line in text.split("\n") if line.strip()]
    if lines:
        yield from (_ALONE.fullmatch(lines[-1]), _LEADING.match(lines[-1]), _LEADING.match(lines[0]))
    if "(" in text or "[" in text:
        yield from reversed(list(_BRACKETED.finditer(text)))
