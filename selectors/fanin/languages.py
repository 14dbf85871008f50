"""Which language a text is in: by its script, and among those in Latin letters by the commonest short words."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SCRIPTS: Mapping[str, str] = {
    "ru": r"\u0400-\u04ff",
    "el": r"\u0370-\u03ff",
    "he": r"\u0590-\u05ff",
    "ar": r"\u0600-\u06ff",
    "hi": r"\u0900-\u097f",
    "th": r"\u0e00-\u0e7f",
    "ko": r"\uac00-\ud7af",
    "ja": r"\u3040-\u30ff\u4e00-\u9fff",
    "zh": r"\u4e00-\u9fff",
}
_OF_SCRIPT = {code: re.compile(f"[{letters}]") for code, letters in _SCRIPTS.items()}
_KANA = re.compile(r"[\u3040-\u30ff]")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]+")
_COMMON: Mapping[str, frozenset[str]] = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the and of to is that it for was with are this from be have not or by which you they",
        "de": "der die und das ist nicht ein eine zu den mit von sich auf für dem im auch es wird sind",
        "fr": "le la les et des est une un du que dans pour qui sur pas avec plus par ce sont il",
        "es": "el la los las y que es una un en por con para del se no como más su son lo",
        "it": "il la che di e è un una per non sono con del della le gli nel più si anche ha",
        "pt": "o a os as que e é um uma em para com não do da por mais se dos como são",
        "nl": "de het een en van is dat niet op te zijn met voor in die er aan ook als bij wordt",
    }.items()
}

_SHORTEST = 20
"""Letters; in a shorter text names and numbers weigh too much to say."""
_ENOUGH = 3
"""Common words of another language that tell."""


def is_in(text: str, code: str) -> bool:
    """Tell whether a text may be in this language (an ISO 639-1 code); what cannot be told counts as yes."""
    letters = len(_LETTER.findall(text))
    if letters < _SHORTEST:
        return True
    if code in _SCRIPTS:
        mine = len(_OF_SCRIPT[code].findall(text))
        return 2 * mine >= letters and (code != "zh" or 5 * len(_KANA.findall(text)) < mine)
    if any(2 * len(script.findall(text)) >= letters for script in _OF_SCRIPT.values()):
        return False
    said = _WORD.findall(text.casefold())
    counts = {known: sum(word in words for word in said) for known, words in _COMMON.items()}
    rival = max(count for known, count in counts.items() if known != code)
    return rival < _ENOUGH or rival <= 1.5 * counts[code]
