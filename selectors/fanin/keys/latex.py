r"""The key for mathematics: what stands in `\boxed{}`, in one spelling of many."""

from __future__ import annotations

import re
from collections.abc import Hashable
from fractions import Fraction
from functools import lru_cache

from fanin.ballot import Candidate
from fanin.keys.cleaning import REMEMBERED, plain, recall
from fanin.keys.conclusion import answer_field, conclusions, followed_by

LONGEST = 1_000
"""Characters of one formula; what is longer is no final answer."""

_BOXES = (r"\boxed", r"\fbox")
_NOISE = re.compile(
    r"\\(?:left|right|displaystyle|bigl?|bigr?|Bigl?|Bigr?)(?![a-zA-Z])|\\[!,;:> ]|\\(?:qquad|quad)(?![a-zA-Z])"
    r"|\\[\[\]()]|\^\{?\\circ\}?|\\(?:degree|circ)(?![a-zA-Z])|\\?%|\\?\$|(?<!\\)~|`"
)
_SAME = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:leq|leqslant)(?![a-zA-Z])"), r"\\le"),
    (re.compile(r"\\(?:geq|geqslant)(?![a-zA-Z])"), r"\\ge"),
    (re.compile(r"\\neq(?![a-zA-Z])"), r"\\ne"),
    (re.compile(r"\\cdot(?![a-zA-Z])|\\times(?![a-zA-Z])"), "*"),
    (re.compile(r"\{,\}"), ","),
)
_UNIT = re.compile(r"(?<=[0-9}])\s*\\(?:text|mbox|mathrm|textrm)\s*\{[^{}]{0,60}\}(?:\s*\^\s*\{?[0-9]\}?)?\s*$")
_WORDS = re.compile(r"\\(?:text|mbox|mathrm|textrm|textbf|mathbf|emph)\s*\{([^{}]{0,200})\}")
_BARE = re.compile(r"\\frac\s*([0-9a-zA-Z]|\{[^{}]{1,200}\})\s*([0-9a-zA-Z]|\{[^{}]{1,200}\})")
_ROOT = re.compile(r"\\sqrt\s*([0-9a-zA-Z])")
_LEFT_SIDE = re.compile(r"[a-zA-Z](?:_\{?\w\}?)?(?:\([a-zA-Z]\))?\s*(?:=|\\in(?![a-zA-Z]))")
_FRACTION = re.compile(r"(-?)\\frac\{(-?[0-9]{1,100})\}\{([0-9]{1,100})\}")
_SLASH = re.compile(r"(-?[0-9]{1,100})/([0-9]{1,100})")
_SENTENCE_END = re.compile(r"\.(?:\s|$)")
_PLAIN = re.compile(r"-?[0-9]{1,18}")
"""What no rule changes: most final answers, told without trying them all."""
_concluding = followed_by(r"[ \t*:']*+(-?[0-9]{1,18}+)(?=\.?(?:\n|\Z))")
_DECIMAL = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{0,100})(?:\.[0-9]{0,100})?")


def latex(candidate: Candidate) -> Hashable | None:
    r"""The formula in a JSON `"answer"`, the last `\boxed{}`, after the last `answer is`, or an answer of one line.

    Spelling does not count: `\dfrac12`, `\frac{1}{2}`, `1/2` and `.5` are one number, `x = 3` is `3`, units, degree
    and currency signs, `\left`, `\text{}` and spaces go. The rules are those by which the MATH benchmark grades
    (Hendrycks et al., arXiv 2103.03874); nothing is computed, so `2\sqrt{3}` is not `\sqrt{12}`. Do not
    use it where all answers are plain numbers, which `number` reads in more spellings, nor where the unit counts.
    """
    return recall(_latex, candidate.text)


@lru_cache(maxsize=REMEMBERED)
def _latex(text: str) -> Hashable | None:
    text = plain(text)
    text = answer_field(text) or text
    if "\\" not in text and (whole := _concluding(text)):
        return int(whole[1])
    if "\\" in text and any(box in text for box in _BOXES):
        boxed = _boxed(text)
        # A box that does not close was cut off: what is in it may be half a number.
        return None if boxed is None else _canonical(boxed)
    for span in conclusions(text):
        found = _canonical(_first_formula(span))
        if found is not None:
            return found
    return _canonical(text.strip(" $")) if "\n" not in text else None


def _boxed(text: str) -> str | None:
    """Return the content of the last box whose braces close."""
    at = len(text)
    for _ in range(4):
        at = max(text.rfind(box, 0, at) for box in _BOXES)
        if at < 0:
            return None
        start = text.find("{", at, at + 8)
        if start < 0:
            continue
        depth = 0
        for index in range(start, min(len(text), start + LONGEST)):
            depth += (text[index] == "{") - (text[index] == "}")
            if not depth:
                return text[start + 1 : index]
    return None


def _first_formula(span: str) -> str:
    line = span.strip(" \t*:\"'").partition("\n")[0]
    for opening, closing in (("$", "$"), (r"\(", r"\)")):
        if line.startswith(opening):
            return line.removeprefix(opening).lstrip("$").partition(closing)[0]
    return _SENTENCE_END.split(line, maxsplit=1)[0]


def _canonical(formula: str) -> Hashable | None:
    if _PLAIN.fullmatch(formula):
        return int(formula)  # it equals the fraction, and is hashed in a tenth of the time
    if len(formula) > LONGEST:
        return None
    before = None
    while formula != before and len(formula) <= LONGEST:
        before, formula = formula, _rewritten(formula)
    number = _number(formula)
    return number if number is not None else formula.casefold() or None


def _rewritten(formula: str) -> str:
    """Return the formula after one pass of all rules; what one takes away may uncover work for another."""
    formula = _NOISE.sub("", formula.replace("\N{MINUS SIGN}", "-")).lstrip(" \t\n*:;,").rstrip(" \t\n*.,:;")
    for pattern, same in _SAME:
        formula = pattern.sub(same, formula)
    formula = _WORDS.sub(r"\1", _UNIT.sub("", formula))
    found = _LEFT_SIDE.match(formula)
    if found and not _LEFT_SIDE.search(formula, found.end()):
        formula = formula[found.end() :]
    formula = "".join(formula.split())
    return _BARE.sub(_braced, _ROOT.sub(r"\\sqrt{\1}", formula))


def _braced(found: re.Match[str]) -> str:
    over, under = (part if part.startswith("{") else f"{{{part}}}" for part in found.groups())
    return rf"\frac{over}{under}"


def _number(formula: str) -> Fraction | None:
    if found := _FRACTION.fullmatch(formula):
        under = int(found[3])
        return Fraction(int(found[2]), under) * (-1 if found[1] else 1) if under else None
    if found := _SLASH.fullmatch(formula):
        return Fraction(int(found[1]), int(found[2])) if int(found[2]) else None
    if any(map(str.isdigit, formula)) and formula.isascii() and _DECIMAL.fullmatch(formula):
        return Fraction(formula.replace(",", ""))
    return None
