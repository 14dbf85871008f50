"""Selectors for free text that has no key: the answer that the others resemble most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Annotated, Literal, TypeAlias

from fanin.ballot import Ballot, Candidate, Failure, Selection, rank
from fanin.flaws import sound_first
from fanin.keys.cleaning import plain
from fanin.rule import Rule
from fanin.similarity import chrf, jaccard, tfidf, token_f1, words
from fanin.spec import Range
from fanin.tally import Tally
from fanin.votes import Share

Measure: TypeAlias = Literal["tfidf", "jaccard"]
Cap: TypeAlias = Annotated[int, Range(1)]
Matrix: TypeAlias = Callable[[Sequence[str]], list[list[float]]]
Priors: TypeAlias = Mapping[str, Share]

CAP = 1_200
"""Characters of each answer that are compared."""
_MEASURES: Mapping[str, Matrix] = {"tfidf": tfidf, "jaccard": jaccard}


def cluster_vote(*, threshold: Share = 0.6, cap: Cap = CAP) -> Rule:
    """The answer of the largest cluster of alike answers, carried by its member of the highest priority.

    Answers join the first cluster whose representative shares enough words with them (token F1 of at least
    `threshold`, without case, punctuation and articles). For short free answers; do not use it where one word changes
    the meaning ("not"), nor for long answers, which are all alike. It waits for all answers.
    """

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.closed:
            return None
        found = {c.target: words(plain(c.text)[:cap]) for c in ballot.candidates}
        clusters: dict[str, list[str]] = {}
        for candidate in ballot.ranked():
            said = found[candidate.target]
            near = (name for name, first in clusters.items() if token_f1(first, said) >= threshold)
            name = next(near, candidate.target)
            clusters.setdefault(name, said)
            found[candidate.target] = clusters[name]
        tally = Tally.of(ballot, lambda c: " ".join(found[c.target]) or None)
        if not tally.groups:
            return None
        votes = tally.weights[tally.leader]
        return tally.selection(tally.leader, f"{votes:g} of {tally.total:g} say much the same")

    return Rule("cluster_vote", sound_first(decide), abstains=True)


def mbr(*, priors: Priors | None = None, cap: Cap = CAP) -> Rule:
    """The answer with the least expected loss: the one that is on average most similar to all answers, by chrF.

    Minimum Bayes risk decoding (Eikema and Aziz, arXiv 2108.04718; Mueller and Sennrich, arXiv 2105.08504) with
    sentence chrF. Only the better half by `priors` (else by priority) can win; all are references; of two answers the
    better target's wins. For translation and other text whose answers vary in wording. Do not use it where facts are
    short and right or wrong: take a key and vote. It takes milliseconds of CPU (`heavy`), and waits for all answers.
    """

    def matrix(texts: Sequence[str]) -> list[list[float]]:
        return [[chrf(hypothesis, reference) for reference in texts] for hypothesis in texts]

    return Rule("mbr", sound_first(_most_central(matrix, priors or {}, cap, "chrF")), heavy=True)


def medoid(*, by: Measure = "tfidf", priors: Priors | None = None, cap: Cap = CAP) -> Rule:
    """The answer in the middle: the one that is on average most similar to all, by the words that they use.

    Cheaper than `mbr` and blinder. Only the better half by `priors` (else by priority) can win. Do not use it where
    several targets may fail alike, for example refuse: the refusal is then in the middle. It waits for all answers.
    """
    return Rule("medoid", sound_first(_most_central(_MEASURES[by], priors or {}, cap, by)))


def drop_outliers(of: Rule, *, by: Measure = "tfidf", cap: Cap = CAP) -> Rule:
    """Decide by `of` without the answers whose mean similarity to the others is under half of the median.

    Dropping whoever disagrees hurts where the disagreement is the point: use it against garbage, and do not use it
    against minorities. It needs three answers to drop one, and waits for all of them.
    """

    def decide(ballot: Ballot) -> Selection | None:
        return of(_without_outliers(ballot, _MEASURES[by], cap)) if ballot.closed else None

    return replace(
        of, name=f"drop_outliers({of.name})", decide=decide, live=False, gathers=False, exempt=of.exempt - {"final"}
    )


def _most_central(matrix: Matrix, priors: Priors, cap: int, measure: str) -> Callable[[Ballot], Selection | None]:
    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.closed or not ballot.candidates:
            return None
        best_first = sorted(ballot.candidates, key=lambda c: (-priors.get(c.target, 0.0), rank(c)))
        if len(best_first) < 3:
            return Selection(best_first[0], f"too few answers to compare by {measure}: the best target's")
        rows = matrix([plain(c.text)[:cap] for c in best_first])
        half = math.ceil(len(best_first) / 2)
        means = [math.fsum(row) / len(row) for row in rows[:half]]
        place = max(range(half), key=lambda index: (round(means[index], 9), -index))
        reason = f"most similar to all {len(best_first)} by {measure}, {means[place]:.3g} on average"
        return Selection(best_first[place], reason, score=means[place])

    return decide


def _without_outliers(ballot: Ballot, matrix: Matrix, cap: int) -> Ballot:
    ranked = ballot.ranked()
    if len(ranked) < 3:
        return ballot
    rows = matrix([plain(c.text)[:cap] for c in ranked])
    means = [fmean(row[:place] + row[place + 1 :]) for place, row in enumerate(rows)]
    least = median(means) / 2
    dropped: list[Candidate] = [c for c, mean in zip(ranked, means, strict=True) if mean < least]
    return replace(
        ballot,
        candidates=tuple(c for c in ballot.candidates if c not in dropped),
        failures=(*ballot.failures, *(Failure(c.target, "invalid", "the answer is like no other") for c in dropped)),
    )
