"""Selectors that bring all answers together: side by side, or as one number."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from statistics import median
from typing import Annotated, Any, Literal

from fanin.ballot import Ballot, Candidate, Selection, rank
from fanin.keys import KeySpec, as_key
from fanin.keys.canonical_json import document
from fanin.keys.json_field import at
from fanin.rule import Rule
from fanin.spec import Range


def collect() -> Rule:
    """All answers side by side, in ranked order; the first of them is the winner. It waits for all.

    A stream of them need not wait: each is passed on as it comes, told apart by its number. For comparing what several
    targets say, or for several samples from different models. Do not use it where one answer is wanted: nothing is
    decided.
    """

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.closed or not ballot.candidates:
            return None
        ranked = ballot.ranked()
        return Selection(ranked[0], f"all {len(ranked)} answers side by side", together=ranked)

    return Rule("collect", decide, gathers=True)


def concat(*, separator: str = "\n\n") -> Rule:
    """The texts of all answers, one behind the other in ranked order, as one answer. It waits for all.

    For the parts of a long text that were asked one by one (`launch: {map: …}`). Do not use it where targets answer the
    same question: the client would read it several times.
    """

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.closed or not ballot.candidates:
            return None
        ranked = ballot.ranked()
        text = separator.join(candidate.text for candidate in ranked)
        return Selection(ranked[0], f"{len(ranked)} answers, one behind the other", together=ranked, text=text)

    return Rule("concat", decide)


def score_aggregate(
    *,
    field: str = "score",
    how: Literal["mean", "min", "median", "borda"] = "mean",
    weights: Mapping[str, Annotated[float, Range(0)]] | None = None,
) -> Rule:
    """One number from the numbers that several perspectives give in a field of their JSON; the nearest answer wins.

    `mean` is weighted (`weights` by target, else those that the targets have), `min` is the most critical one,
    `median` bears an outlier. For `borda` the field maps options to numbers: each target ranks the options, an option
    gets a point for every one that it beats (half a point for a tie), and the first target whose own best option that
    is wins. It abstains when nobody gives such a field. Do not use it where targets score on scales of their own:
    then take `borda`, which compares ranks only.
    """
    given = dict(weights or {})

    def weigh(candidate: Candidate) -> float:
        weight = given.get(candidate.target, candidate.weight)
        return weight if 0 <= weight < math.inf else 0.0

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.closed:
            return None
        if how == "borda":
            return _borda(ballot, field, weigh)
        scored = [(c, value) for c in ballot.ranked() if (value := _number(_field(c, field))) is not None]
        if not scored:
            return None
        score = _aggregated(scored, how, weigh)
        winner, _ = min(scored, key=lambda pair: (abs(pair[1] - score), rank(pair[0])))
        reason = f"the {how} of {len(scored)} scores is {score:.4g}; the nearest answer"
        return Selection(winner, reason, together=tuple(c for c, _ in scored), score=score)

    return Rule("score_aggregate", decide, abstains=True)


def reduce(how: Literal["max", "min", "sum"] | Callable[[Any, Any], Any] = "max", *, key: KeySpec = "number") -> Rule:
    """The keys of all answers reduced to one value by a function of two, such as `operator.add` or your own.

    The values come in ranked order. The winner is the first answer whose key is the value; where none is (a sum), the
    first that has a key, and `score` carries the value if it is a number. It abstains when no answer has a key. A
    function of yours must not raise on any two keys. Do not use `max` where one wild answer must not win.
    """
    find_key = as_key(key)
    named: dict[Any, Callable[[Any, Any], Any]] = {"max": max, "min": min, "sum": _add}
    function = how if callable(how) else named[how]
    word = how if isinstance(how, str) else getattr(how, "__name__", "reduction")

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.closed:
            return None
        keyed = [(c, found) for c in ballot.ranked() if (found := find_key(c)) is not None]
        if not keyed:
            return None
        value = functools.reduce(function, [found for _, found in keyed])
        winner = next((c for c, found in keyed if found == value), keyed[0][0])
        together = tuple(c for c, _ in keyed)
        return Selection(winner, f"the {word} of {len(keyed)} answers", together=together, score=_number(value))

    return Rule("reduce", decide, abstains=True)


def _add(one: Any, other: Any) -> Any:
    return one + other


def _field(candidate: Candidate, path: str) -> Any:
    try:
        return at(document(candidate.text), path)
    except RecursionError:
        return None


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float, Fraction)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _aggregated(scored: list[tuple[Candidate, float]], how: str, weigh: Callable[[Candidate], float]) -> float:
    values = [value for _, value in scored]
    if how == "min":
        return min(values)
    if how == "median":
        return median(values)
    total = math.fsum(weigh(c) for c, _ in scored)
    if not total:
        return math.fsum(value / len(values) for value in values)
    return math.fsum(weigh(c) / total * value for c, value in scored)


def _borda(ballot: Ballot, field: str, weigh: Callable[[Candidate], float]) -> Selection | None:
    ranked: list[tuple[Candidate, dict[str, float]]] = []
    for candidate in ballot.ranked():
        options = _field(candidate, field)
        scores = {name: _number(value) for name, value in options.items()} if isinstance(options, dict) else {}
        numbers = {name: value for name, value in scores.items() if value is not None}
        if numbers:
            ranked.append((candidate, numbers))
    if not ranked:
        return None
    points: dict[str, list[float]] = {}
    for candidate, scores_of in ranked:
        for name, mine in scores_of.items():
            beaten = sum((mine > other) + (mine == other) / 2 for other in scores_of.values()) - 0.5
            points.setdefault(name, []).append(weigh(candidate) * beaten)
    tally = {name: math.fsum(each) for name, each in points.items()}
    best = max(tally, key=tally.__getitem__)
    own = [c for c, scores_of in ranked if scores_of.get(best) == max(scores_of.values())]
    winner = own[0] if own else ranked[0][0]
    total = math.fsum(tally.values())
    share = tally[best] / total if total else None
    reason = f"most Borda points of {len(tally)} options from {len(ranked)} rankings"
    return Selection(winner, reason, share, tally, answer=best, together=tuple(c for c, _ in ranked), score=tally[best])
