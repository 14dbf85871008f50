"""What every key does first: take away a model's thinking and its code fences, and remember what it found."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import _lru_cache_wrapper
from typing import Any, TypeVar

_T = TypeVar("_T", bound=Hashable | None)

REMEMBERED = 256
"""How many texts each key remembers, so that a ballot that is asked after every arrival reads each answer once."""

LONGEST_REMEMBERED = 16_384
"""Characters; longer texts are read anew each time, which bounds what is kept to a few megabytes."""

_THINKING = re.compile(r"<(/?)(?:think|thinking|reasoning)>", re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*+`{3,}+(?:[\w+.-]*[ \t]*$)?|`{3,}+[ \t]*$", re.MULTILINE)


def recall(extract: _lru_cache_wrapper[_T], text: str, *options: Any) -> _T:
    """Return what a cached extractor finds in the text, without letting long texts fill the cache."""
    if len(text) > LONGEST_REMEMBERED:
        return extract.__wrapped__(text, *options)
    return extract(text, *options) if options else extract(text)


def plain(text: str) -> str:
    """Return the answer alone: no `<think>` block, also an unclosed one, no code fence, no white space around it."""
    if "<" in text:
        text = _without_thinking(text)
    if "`" in text and "```" in text:  # one character is searched for in a fiftieth of the time
        text = _FENCE.sub("", text)
    return text.strip()


def _without_thinking(text: str) -> str:
    """Cut the thinking out; a lone closing tag ends a block whose opening tag the chat template has swallowed."""
    kept: list[str] = []
    start, thinking = 0, False
    for tag in _THINKING.finditer(text):
        if tag[1]:
            if not thinking:
                kept.clear()
            start, thinking = tag.end(), False
        elif not thinking:
            kept.append(text[start : tag.start()])
            thinking = True
    if not thinking:
        kept.append(text[start:])
    return "".join(kept)
