"""Answers that are not quite answers: what is wrong with them, and why they lose to those with which nothing is."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from fanin.ballot import Ballot, Failure, Selection
from fanin.rule import Selector

TRUNCATED, DEGENERATE, INVALID, FILTERED, REFUSED = "truncated", "degenerate", "invalid", "filtered", "refused"

RANKS: Mapping[str, int] = {"": 0, TRUNCATED: 1, DEGENERATE: 1, INVALID: 1, FILTERED: 2, REFUSED: 2}
"""Half an answer loses to a whole one, and no answer (a refusal, what a filter left over) to half a one."""

_WORST = max(RANKS.values())

LONGEST_REFUSAL = 600
"""Characters: what goes on for longer than this says something beside no."""

_OPENINGS = frozenset("IiSsUuAaEeJjLl")
"""What a refusal begins with: most answers are told from one by their first letter."""

_APOLOGY = (
    r"(?:i(?:['\u2019]m| am) (?:very |really )?(?:sorry|afraid)|i apologi[sz]e|sorry|unfortunately)"
    r"[,.;:]?(?: but)?,? (?:that )?"
)
_NOT = (
    r"(?:can(?:no|['\u2019])t|can not|won['\u2019]t|will not|must decline|(?:not able|unable) to|"
    r"not comfortable|not going to)"
)
_HELP = (
    r"(?:help|assist|comply|fulfil|fulfill|provide|create|generate|produce|write|support|engage|discuss|share|do that)"
)
_REFUSAL = re.compile(
    rf"(?:{_APOLOGY})?(?:as an ai(?: language model| assistant)?,? )?"
    rf"i(?:['\u2019]m| am)? ?{_NOT}(?: to)? ?(?:be able to )?(?:{_HELP}\b|with (?:that|this)|$|[.!])"
    r"|es tut mir leid,? aber (?:dabei|damit|das|ich)\b.{0,40}\bnicht\b"
    r"|je suis désolée?,? mais je ne peux pas\b"
    r"|lo siento,? pero no puedo\b",
    re.IGNORECASE,
)


def refuses(text: str) -> bool:
    """Tell whether a text is a refusal by its first words; it would rather miss one than suspect an answer.

    Only a short text that opens with a stock phrase counts ("I'm sorry, but I can't help with that."). It knows
    English and the commonest German, French and Spanish ones; what a provider marks as a refusal needs no guess.
    """
    opening = text.lstrip()
    return opening[:1] in _OPENINGS and len(text) <= LONGEST_REFUSAL and _REFUSAL.match(opening) is not None


_ANCHOR = 16
LONGEST_UNIT, LEAST_COVERED, LEAST_COPIES = 512, 192, 3
"""Characters, about 128 and 48 tokens; and how often the unit must stand there."""


def repeats(text: str, least: int = LEAST_COVERED) -> bool:
    """Tell whether a text ends in a loop: 3 exact copies or more of a unit of up to 512 characters, `least` in all.

    It looks back from the end for the last 16 characters: in a text that does not repeat itself that is one search.
    """
    if len(text) < least:
        return False
    window = text[-(LONGEST_UNIT + _ANCHOR) :]
    anchor, end = window[-_ANCHOR:], len(window) - 1
    while (found := window.rfind(anchor, 0, end)) >= 0:
        unit = len(window) - _ANCHOR - found
        covered = max(LEAST_COPIES * unit, least)
        # What is `unit` characters further on is the same, all along: so it repeats itself.
        if covered <= len(text) and text[-covered:-unit] == text[unit - covered :]:
            return True
        end = found + _ANCHOR - 1
    return False


def sound_first(decide: Selector) -> Selector:
    """Let a selector see only the candidates with the least flaw; while none is sound, a better one may still come.

    So a refusal, however sure and however often it is given, never wins over an answer, nor a truncated answer over a
    complete one; and where there is nothing else, they are compared among themselves.
    """

    def decide_on_the_best(ballot: Ballot) -> Selection | None:
        for candidate in ballot.candidates:
            if candidate.flaw:
                break
        else:
            return decide(ballot)
        flaws = {candidate.flaw for candidate in ballot.candidates}
        best = min(RANKS.get(flaw, _WORST) for flaw in flaws)
        if best and not ballot.closed:
            return None
        selection = decide(_without(ballot, {flaw for flaw in flaws if RANKS.get(flaw, _WORST) > best}))
        return selection and selection._replace(reason=f"{selection.reason}{_told(ballot, best)}")

    return decide_on_the_best


def _without(ballot: Ballot, flaws: Collection[str]) -> Ballot:
    if not flaws:
        return ballot
    return replace(
        ballot,
        candidates=tuple(c for c in ballot.candidates if c.flaw not in flaws),
        failures=(*ballot.failures, *(Failure(c.target, c.flaw) for c in ballot.candidates if c.flaw in flaws)),
    )


def _told(ballot: Ballot, best: int) -> str:
    lost = sorted(f"{c.target} ({c.flaw})" for c in ballot.candidates if RANKS.get(c.flaw, _WORST) > best)
    return f"; without {', '.join(lost)}" if lost else ""
