"""The key for multiple choice: the letter that the answer settles on."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from functools import lru_cache

from fanin.ballot import Candidate
from fanin.keys.cleaning import REMEMBERED, plain, recall
from fanin.keys.conclusion import conclusions, followed_by

_LETTER = (
    r"[^\w\\]*+(?:\\text\w*\{\W*+)?(?:(?:[Oo]ption|[Cc]hoice)\W++)?"
    r"(?:([A-Z])(?![\w'\u2019])|([a-z])[)\]])"
)
_CONCLUDED, _concluding = re.compile(_LETTER), followed_by(_LETTER)
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
    for match in _matches(plain(text)):
        if match and (letter := match[match.lastindex or 0].upper()) in letters:
            return letter
    return None


def _matches(text: str) -> Iterator[re.Match[str] | None]:
    """Give what could be the chosen letter, the surest place first."""
    yield _concluding(text)
    for span in conclusions(text):
        yield _CONCLUDED.match(span)
    yield _ALONE.fullmatch(text)
    lines = [line for line in text.split("\n") if line.strip()]
    if lines:
        yield from (_ALONE.fullmatch(lines[-1]), _LEADING.match(lines[-1]), _LEADING.match(lines[0]))
    if "(" in text or "[" in text:
        yield from reversed(list(_BRACKETED.finditer(text)))
