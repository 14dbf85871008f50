"""How alike two texts are: token overlap, TF-IDF cosine and character n-grams."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from fanin.keys.whole_text import normal

ORDER = 6
"""The longest character n-grams of chrF."""
BETA = 2
"""How much more recall counts than precision in chrF."""

_WORD = re.compile(r"\w+")
_PUNCTUATION = re.compile(r"[^\w\s]+")
_ARTICLES = frozenset({"a", "an", "the"})


def words(text: str) -> list[str]:
    """Return the words of a text without case, punctuation and articles."""
    return [word for word in _PUNCTUATION.sub(" ", normal(text)).split() if word not in _ARTICLES]


def token_f1(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the F1 of the words that two texts share, as SQuAD scores answers (Rajpurkar et al., arXiv 1606.05250)."""
    if not one or not other:
        return float(one == other)
    shared = (Counter(one) & Counter(other)).total()
    return 2 * shared / (len(one) + len(other))


def jaccard(texts: Sequence[str]) -> list[list[float]]:
    """Return for every two texts the share of words that both have among those that either has."""
    sets = [frozenset(words(text)) for text in texts]
    return [[len(a & b) / len(a | b) if a | b else 1.0 for b in sets] for a in sets]


def tfidf(texts: Sequence[str]) -> list[list[float]]:
    """Return for every two texts the cosine of their TF-IDF vectors, with the smooth idf ln((1+n)/(1+df)) + 1."""
    counts = [Counter(_WORD.findall(normal(text))) for text in texts]
    frequency = Counter(word for count in counts for word in count)
    idf = {word: math.log((1 + len(texts)) / (1 + seen)) + 1 for word, seen in frequency.items()}
    vectors = []
    for count in counts:
        vector = {word: times * idf[word] for word, times in count.items()}
        length = math.sqrt(math.fsum(value * value for value in vector.values())) or 1.0
        vectors.append({word: value / length for word, value in vector.items()})
    return [[_dot(one, other) for other in vectors] for one in vectors]


def _dot(one: dict[str, float], other: dict[str, float]) -> float:
    return math.fsum(value * other[word] for word, value in one.items() if word in other)


def chrf(hypothesis: str, reference: str) -> float:
    """Return the sentence chrF from 0 to 100: character n-grams up to 6, beta 2, no white space (Popovic 2015).

    Precision and recall are averaged over the orders that both texts are long enough for, as sacrebleu does.
    """
    precision = recall = 0.0
    orders = 0
    for mine, theirs in zip(_grams(hypothesis), _grams(reference), strict=True):
        if mine and theirs:
            matches = (mine & theirs).total()
            precision += matches / mine.total()
            recall += matches / theirs.total()
            orders += 1
    if not precision + recall:
        return 0.0
    precision, recall, square = precision / orders, recall / orders, BETA * BETA
    return 100 * (1 + square) * precision * recall / (square * precision + recall)


@lru_cache(maxsize=64)
def _grams(text: str) -> tuple[Counter[str], ...]:
    text = "".join(text.split())
    return tuple(Counter(text[at : at + n] for at in range(len(text) - n + 1)) for n in range(1, ORDER + 1))
