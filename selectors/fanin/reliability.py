"""How often each target is right, learned from the votes themselves: no labels, one update a vote, bounded memory."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from fanin.calibration import LEAST, MOST, log_odds
from fanin.spec import Range

BELIEF = 4.0
"""How many votes the belief that a target starts with is worth."""
MARGIN = 0.15
"""What a difference between two targets may be worth nothing: estimates are off by so much on recorded answers."""
START = 0.7
"""How often a target is right of which nothing is known."""


class Estimate(NamedTuple):
    """What is known of one target: of `seen` votes, older ones counting less, it was probably right in `right`."""

    right: float = 0.0
    seen: float = 0.0

    @property
    def reliability(self) -> float:
        """How often it is right."""
        held = (self.right + BELIEF * START) / (self.seen + BELIEF)
        return min(MOST, max(LEAST, held))


@dataclass(frozen=True, slots=True)
class Reliability:
    """What is known of the targets of one route, and how much they agree; `learned` returns it with one more vote.

    Each target is a voter who is right with a probability of his own, and else gives one of the `choices` - 1 wrong
    answers: the model of Dawid and Skene (1979, Applied Statistics 28) with one number a voter, as of Li and Yu
    (arXiv 1411.4086). Instead of going over all votes again and again, expectation and maximisation take one step a
    vote on running sums (Cappé and Moulines, arXiv 0711.4273) which forget: after `half_life` votes one counts half,
    so that a model that was changed shows.

    Of the wrong answers of two models that are both wrong some 60 % are the same one (arXiv 2506.07962; 61 % on our
    recordings): that is what 3 `choices` say, however many there seem to be. Nobody's answer counts for less than
    nothing, however wrong he was: else the votes are explained as well by all being liars.

    What this cannot see is that errors are shared: models that are wrong together look right. It tells who has gone
    wrong, not who is a little better; do not use it where targets are near copies of each other, nor instead of
    `hedgerow calibrate` where there are labels.
    """

    targets: Mapping[str, Estimate] = field(default_factory=dict)
    choices: Annotated[int, Range(2)] = 3
    half_life: Annotated[float, Range(1)] = 500.0
    votes: float = 0.0
    agreed: float = 0.0

    @classmethod
    def of(cls, targets: Iterable[str], **options: Any) -> Reliability:
        """Begin with these targets; of others nothing is ever kept. `options` are `choices` and `half_life`."""
        return cls(dict.fromkeys(targets, Estimate()), **options)

    @property
    def agreement(self) -> float | None:
        """The share of the voters that gave the answer which is probably right; None before the first vote."""
        return self.agreed / self.votes if self.votes else None

    def learned(self, answers: Mapping[str, Hashable]) -> Reliability:
        """Return what is known after one more vote: what each target answered, by its key.

        A target that gave nothing to compare is left out. Who answers alone is neither confirmed nor contradicted:
        with fewer than two nothing changes.
        """
        given = {target: key for target, key in answers.items() if target in self.targets and key is not None}
        if len(given) < 2:
            return self
        chances = self.chances(given)
        keep = 0.5 ** (1 / self.half_life)
        targets = dict(self.targets)
        for target, key in given.items():
            known = targets[target]
            targets[target] = Estimate(known.right * keep + chances[key], known.seen * keep + 1)
        best = max(chances, key=chances.__getitem__)
        share = sum(key == best for key in given.values()) / len(given)
        return Reliability(targets, self.choices, self.half_life, self.votes * keep + 1, self.agreed * keep + share)

    def chances(self, answers: Mapping[str, Hashable]) -> dict[Hashable, float]:
        """Return how probable it is that each answer is the right one; what nobody gave has the rest."""
        scores: dict[Hashable, float] = {}
        for target, key in answers.items():
            scores[key] = scores.get(key, 0.0) + self._weight(target)
        highest = max(scores.values(), default=0.0)
        parts = {key: math.exp(score - highest) for key, score in scores.items()}
        others = max(0, self.choices - len(scores)) * math.exp(-highest)
        total = math.fsum([*parts.values(), others])
        return {key: part / total for key, part in parts.items()}

    def calibration(self) -> dict[str, Any]:
        """Return it in the form of a calibration (`fanin.calibration`): priors, and weights for `weighted`.

        Whoever comes within MARGIN of the best counts as the best, so that targets of about the same worth keep the
        order and the equal votes that they were given, and only who has clearly gone wrong loses.
        """
        told = {target: known.reliability for target, known in self.targets.items()}
        best = max(told.values(), default=START)
        priors = {target: round(best if best - each < MARGIN else each, 4) for target, each in told.items()}
        weights = {target: round(max(0.0, log_odds(prior, self.choices)), 4) for target, prior in priors.items()}
        return {"priors": priors, "weights": weights}

    def _weight(self, target: str) -> float:
        return max(0.0, log_odds(self.targets[target].reliability, self.choices))
