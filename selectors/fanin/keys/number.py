"""The key for numeric answers: a number as an exact fraction."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable
from fractions import Fraction
from functools import lru_cache

from fanin.ballot import Candidate
from fanin.keys.cleaning import REMEMBERED, plain, recall
from fanin.keys.conclusion import conclusions, followed_by

LARGEST = 300
"""Digits, and powers of ten: what is longer or larger is taken for no answer, not computed."""

_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)])[-+])?[$€£¥]?(?<![\w.])"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})++(?![0-9])|[0-9]++)?(?P<part>\.[0-9]++)?(?(whole)|(?(part)|(?!)))"
    r"(?:[eE](?P<power>[-+]?[0-9]++))?(?:/(?P<under>[0-9]++)(?!/))?"
)
_concluding = followed_by(r"[ \t\n*:=(]*+([0-9]{1,18}+)(?![\deE/]|[.,]\d)")
"""Finds what most answers end in: a mark and a whole number, of which no other rule here would make anything else."""
_DIGIT = re.compile(r"[0-9]")
_LONGEST_TOKEN = 4 * LARGEST
_TOKEN_BACKWARDS = re.compile(rf"[0-9.,/eE+$€£¥-]{{1,{_LONGEST_TOKEN}}}")
_FRAC = re.compile(r"\\[dt]?frac\s*\{\s*(-?[0-9]{1,300})\s*\}\s*\{\s*([0-9]{1,300})\s*\}")


def number(candidate: Candidate) -> Hashable | None:
    """The number that the answer comes to: the one after its last conclusion mark, else the last one in it.

    `1,000` is `1000.0`, `1/2` is `0.5`, `$5` and `5 km` are `5`. Do not use it where the unit is part of the answer,
    nor for text that merely has numbers in it.
    """
    return recall(_number, candidate.text)


@lru_cache(maxsize=REMEMBERED)
def _number(text: str) -> Fraction | int | None:
    text = plain(text)
    if "\\" not in text and (found := _concluding(text)):
        return int(found[1])
    text = _in_ascii_digits(text)
    for span in conclusions(text):
        if found := _NUMBER.search(span):
            return _value(found)
    return _last(text)


def _in_ascii_digits(text: str) -> str:
    if "\\" in text:
        text = _FRAC.sub(r"\1/\2", text).replace("{,}", ",").replace("\\!", "")
    if text.isascii():
        return text
    return re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text.replace("\N{MINUS SIGN}", "-"))


def _last(text: str) -> Fraction | int | None:
    """Find the last number by searching the reversed text, so that a long answer is not parsed from its beginning."""
    backwards, at = text[::-1], 0
    while digit := _DIGIT.search(backwards, at):
        token = _TOKEN_BACKWARDS.match(backwards, digit.start())
        at = token.end() if token else digit.end()
        found = list(_NUMBER.finditer(text, len(text) - at, len(text) - digit.start()))
        if found:
            return _value(found[-1])
        if at - digit.start() == _LONGEST_TOKEN:
            return None
    return None


def _value(found: re.Match[str]) -> Fraction | int | None:
    """Return the number, a whole one as an int: it equals the fraction, and is hashed in a tenth of the time."""
    if found[0].isdecimal() and len(found[0]) <= LARGEST:
        return int(found[0])
    whole, part = (found["whole"] or "0").replace(",", ""), (found["part"] or ".")[1:]
    power, under = found["power"] or "0", found["under"] or "1"
    if max(map(len, (whole, part, under))) > LARGEST or len(power) > 5 or abs(int(power)) > LARGEST or not int(under):
        return None
    over, divisor, shift = int(whole + part), int(under), int(power) - len(part)
    if shift >= 0:
        over *= 10**shift
    else:
        divisor *= 10**-shift
    size = over // divisor if over % divisor == 0 else Fraction(over, divisor)
    return -size if found["sign"] == "-" else size
