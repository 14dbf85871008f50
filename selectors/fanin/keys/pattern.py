"""The key that an operator writes as a regular expression."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import lru_cache

from fanin.ballot import Candidate
from fanin.keys.cleaning import REMEMBERED, plain, recall
from fanin.keys.whole_text import normal


def regex(candidate: Candidate, *, pattern: re.Pattern[str]) -> Hashable | None:
    """The first group of the last match (the whole match if there is no group), without case and outer punctuation.

    Do not use a pattern that backtracks, such as `(a+)+b`: answers are a stranger's text.
    """
    return recall(_regex, candidate.text, pattern)


@lru_cache(maxsize=REMEMBERED)
def _regex(text: str, pattern: re.Pattern[str]) -> str | None:
    last = None
    for found in pattern.finditer(plain(text)):
        last = found
    if last is None:
        return None
    return normal((last[1] if pattern.groups else last[0]) or "") or None
