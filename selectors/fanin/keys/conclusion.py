"""Where a model says what its answer is: the marks that precede it, the last one first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

SPAN = 256
"""How many characters after a mark may belong to the answer."""

_ANSWER = re.compile(r"nswer[\"'*_\s]*(?:\bis\b|\bwas\b|would be|[:=])", re.IGNORECASE)
_LIMIT = 16
_UP_TO_THE_LAST = r"(?>(?s:.*)(?:(?:nswer|NSWER)(?i:[\"'*_\s]*+(?:\bis\b|\bwas\b|would be|[:=]))|boxed\{|####))"
"""What ends behind the last mark, by one search backwards."""
_LAST = re.compile(_UP_TO_THE_LAST)
_FIELD = re.compile(r'"answer"\s*:\s*"((?:[^"\\]|\\.){0,1000})"')


def answer_field(text: str) -> str | None:
    """Return the string in the last `"answer"` field as it is written, but for escaped quotes.

    The document need not be valid JSON: models write formulas into strings without escaping them.
    """
    at = text.rfind('"answer"') if '"' in text else -1
    found = _FIELD.match(text, at) if at >= 0 else None
    return found[1].replace(r"\"", '"').replace(r"\\", "\\") if found else None


def followed_by(answer: str) -> Callable[[str], re.Match[str] | None]:
    """Return a search for this pattern right behind the last mark of a text that concludes at its end.

    It is the short way for what most answers are; a text in which it finds nothing may still have `conclusions`.
    """
    match = re.compile(_UP_TO_THE_LAST + answer).match
    return lambda text: match(text, max(0, len(text) - SPAN))


def conclusions(text: str) -> Iterator[str]:
    r"""Give what follows each mark, the last mark first: `\boxed{...}`, `####`, `answer is`, `Answer:`, `"answer":`."""
    last = _LAST.match(text, max(0, len(text) - SPAN))  # most answers conclude at their end: that is all they ask for
    if last:
        yield text[last.end() : last.end() + SPAN]
    elif len(text) <= SPAN:
        return
    starts = _after_answer(text)
    for mark in ("boxed{", "####"):
        if mark[-1] in text:  # one character is searched for in a fiftieth of the time
            starts += _after(text, mark)
    for start in sorted(starts, reverse=True):
        if last is None or start < last.end():
            yield text[start : start + SPAN]


def _after(text: str, mark: str) -> list[int]:
    """Return where the last marks end, at most 16 of them."""
    ends: list[int] = []
    at = text.rfind(mark)
    while at >= 0 and len(ends) < _LIMIT:
        ends.append(at + len(mark))
        at = text.rfind(mark, 0, at)
    return ends


def _after_answer(text: str) -> list[int]:
    starts: list[int] = []
    for word in ("nswer", "NSWER"):
        if word[-1] in text:
            starts += [mark.end() for end in _after(text, word) if (mark := _ANSWER.match(text, end - len(word)))]
    return starts
