"""`hedgerow calibrate`: fit every selector on labelled rows, hold it to rows it has not seen, recommend what holds.

Each figure is of 5-fold cross-validation: a fifth of the rows is decided by what was fitted on the other four. Targets
stand in the order of their accuracy on the rows that were fitted on. Only the best single target is the one that is
best on all rows: a vote has to beat what hindsight would have chosen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from gateway.evaluation import ballots, fitting, recordings
from gateway.evaluation.evaluating import singles
from gateway.evaluation.faults import CannotEvaluate
from gateway.evaluation.intervals import paired_difference, wilson
from gateway.evaluation.recordings import CONFIDENCES, Recording
from gateway.evaluation.replay import replay
from gateway.evaluation.tables import percent, table

FOLDS = 5
FEWEST_ROWS = 50
BEST_SINGLE = "best single target"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A selector made on some rows: a value of `select`, the targets by accuracy, and what was learned for it."""

    select: Any
    targets: tuple[str, ...]
    learned: Mapping[str, Any] = field(default_factory=dict)
    confidences: Sequence[str] = ()


Fit: TypeAlias = Callable[[Recording], Fitted]


@dataclass(frozen=True, slots=True)
class Contender:
    """A selector's decisions on rows it was not fitted on, and the difference to the best single target on them."""

    name: str
    right: tuple[bool, ...]
    difference: tuple[float, float]

    @property
    def accuracy(self) -> float:
        """The share of rows it got right."""
        return sum(self.right) / len(self.right)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted on all rows, what cross-validation says of each selector, and which one is recommended."""

    source: str
    contenders: tuple[Contender, ...]
    best_target: str
    fitted: Mapping[str, Fitted]

    @property
    def recommended(self) -> Contender:
        """The selector that is right most often on unseen rows, of those whose gain is certain if there are any.

        The best single target is one of them, so a vote that loses to it is never recommended.
        """
        return max(self.contenders, key=lambda contender: (contender.difference[0] > 0, contender.accuracy))

    def document(self) -> dict[str, Any]:
        """Return what a selector's option `calibration` takes (`fanin.calibration`), and where it comes from."""
        found: dict[str, Any] = {
            "data": self.source,
            "questions": len(self.contenders[0].right),
            "recommended": "priority" if self.recommended.name == BEST_SINGLE else self.recommended.name,
            "targets": list(self.fitted[BEST_SINGLE].targets),
            "accuracy": {each.name: round(100 * each.accuracy, 2) for each in self.contenders},
        }
        for made in self.fitted.values():
            found.update(made.learned)
        return found

    def lines(self) -> Iterator[str]:
        """Give the figures for people, line by line."""
        yield f"{len(self.contenders[0].right)} questions of {self.source}, {FOLDS}-fold cross-validation"
        yield ""
        yield from table(
            ["selector", "accuracy %", "95 % interval", "against the best single"],
            [
                [each.name, percent(each.accuracy), _interval(each.right), _signed(each.difference)]
                for each in self.contenders
            ],
        )
        yield ""
        if self.recommended.name == BEST_SINGLE:
            yield f"No vote beats {self.best_target} alone on unseen questions: ask it first, with select: priority."
        else:
            sure = "" if self.recommended.difference[0] > 0 else " (but the gain is not certain: its interval holds 0)"
            yield f"Recommended: {self.recommended.name}{sure}."


def calibrate(data: Path, targets: Sequence[str]) -> Calibration:
    """Return what can be fitted to the recorded answers of these targets.

    Raises:
        CannotEvaluate: when the file or a target cannot be used, or the rows are too few or without labels.
    """
    recording = recordings.read(data).only(targets)
    return calibration(recording, fits(recording))


def write(calibrated: Calibration, out: Path) -> None:
    """Write the file that a configuration loads: JSON if its name ends so, else YAML.

    Raises:
        CannotEvaluate: when it cannot be written.
    """
    save(calibrated.document(), out, "Written by `hedgerow calibrate`.")


def save(document: dict[str, Any], out: Path, title: str) -> None:
    """Write a document: JSON if the file's name ends so, else YAML under a comment; raises CannotEvaluate."""
    if out.suffix == ".json":
        text = json.dumps(document, indent=2) + "\n"
    else:
        text = f"# {title}\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotEvaluate(
            f"{out} cannot be written ({error.strerror}): name a file in a folder that exists"
        ) from None


def calibration(recording: Recording, fits: Mapping[str, Fit]) -> Calibration:
    """Return the cross-validated figures of these selectors on a recording, and each fitted on all of it."""
    alone = singles(recording)
    if len(recording.rows) < FEWEST_ROWS or len(recording.targets) < 2:
        held = f"{len(recording.rows)} questions and {len(recording.targets)} targets"
        raise CannotEvaluate(f"{recording.source} gives {held}, calibration needs {FEWEST_ROWS} and 2")
    best = max(alone, key=lambda target: alone[target][0])
    right = {name: _cross_validated(recording, fit) for name, fit in fits.items() if name != BEST_SINGLE}
    alone_right = (best in row.answers and bool(row.answers[best].correct) for row in fitting.shuffled(recording.rows))
    right = {BEST_SINGLE: tuple(alone_right), **right}
    contenders = tuple(
        Contender(name, marks, paired_difference(marks, right[BEST_SINGLE])) for name, marks in right.items()
    )
    return Calibration(recording.source, contenders, best, {name: fit(recording) for name, fit in fits.items()})


def _cross_validated(recording: Recording, fit: Fit) -> tuple[bool, ...]:
    """Return for each row, in one order for all selectors, whether what was fitted on the other folds gets it right."""
    rows = fitting.shuffled(recording.rows)
    right = [False] * len(rows)
    for fold in range(FOLDS):
        made = fit(recording.subset(row for place, row in enumerate(rows) if place % FOLDS != fold))
        held_out = recording.subset(rows[fold::FOLDS]).only(made.targets)
        right[fold::FOLDS] = [bool(each) for each in decide(held_out, made)]
    return tuple(right)


def decide(recording: Recording, made: Fitted) -> list[bool | None]:
    """Return for each row whether a fitted selector gets it right."""
    rule = ballots.rule_of(made.select)
    replayed = replay(recording, rule, early=False, confidences=made.confidences)
    return [each.right for each in replayed.decided]


def best_single(recording: Recording) -> Fitted:
    """The target that was right most often, whatever the others say."""
    return Fitted("priority", _by_accuracy(recording))


def majority(recording: Recording) -> Fitted:
    """A plain vote; only the order that breaks ties is fitted."""
    return Fitted("majority", _by_accuracy(recording))


def guarded(recording: Recording) -> Fitted:
    """The best target, and how many others may override it: the number with which it was right most often."""
    order = _by_accuracy(recording)
    known = _priors(recording)
    ordered = recording.only(order)
    kept, ousted = (
        replay(ordered, ballots.rule_of({"guarded": {"priors": known, "override": override}}), early=False).decided
        for override in (len(order) + 1, 1)
    )
    gains = [0] * (len(order) + 2)
    for own, rival in zip(kept, ousted, strict=True):
        if own.selection and rival.selection and own.selection.answer != rival.selection.answer:
            votes = int(rival.selection.tally[rival.selection.answer or ""])
            gains[votes] += bool(rival.right) - bool(own.right)
    override = max(range(1, len(gains)), key=lambda least: (sum(gains[least:]), least))
    learned = {"priors": known, "m": override}
    return Fitted({"guarded": {"override": override, "priors": known}}, order, learned)


def weighted(recording: Recording) -> Fitted:
    """A vote with weights that were fitted together (see `fitting.weights`)."""
    order = _by_accuracy(recording)
    found = {target: fitting.Table() for target in order}
    questions = [fitting.heard(row, found, order, ()) for row in fitting.shuffled(recording.rows)]
    voices = fitting.weights(questions, [(target, 0) for target in order], least=0.0)
    learned = {"weights": {target: round(voices[target, 0], 4) for target in order}}
    return Fitted({"weighted": learned}, order, learned)


def by_confidence(*confidences: str) -> Fit:
    """Return the fit of a vote in which each bin of each target's confidence has a weight of its own.

    The weights are fitted together, as those of `weighted`, and written as the chances whose log-odds they are.
    """

    def fit(recording: Recording) -> Fitted:
        order = _by_accuracy(recording)
        found = fitting.tables(recording, confidences)
        questions = [fitting.heard(row, found, order, confidences) for row in fitting.shuffled(recording.rows)]
        every = [(target, place) for target in order for place in range(len(found[target].edges) + 2)]
        voices = fitting.weights(questions, every, least=0.0)
        bins = {
            target: {
                "edges": list(found[target].edges),
                "right": [_chance(voices[target, place + 1]) for place in range(len(found[target].edges) + 1)],
            }
            for target in order
            if found[target].edges
        }
        learned = {"priors": _priors(recording), "bins": bins}
        return Fitted({"confidence_vote": {"calibration": learned}}, order, learned, confidences)

    return fit


def fits(recording: Recording) -> Mapping[str, Fit]:
    """Return what is worth comparing on a recording: a vote by confidence only where confidences are recorded."""
    stated = any(answer.confidences for row in recording.rows for answer in row.answers.values())
    return {**FITS, "confidence_vote": by_confidence(*CONFIDENCES)} if stated else FITS


FITS: Mapping[str, Fit] = {
    BEST_SINGLE: best_single,
    "majority": majority,
    "guarded": guarded,
    "weighted": weighted,
}
"""What is compared, the simplest first: of equally good ones the first is recommended."""


def _by_accuracy(recording: Recording) -> tuple[str, ...]:
    known = fitting.priors(recording)
    return tuple(sorted(recording.targets, key=lambda target: -known[target]))


def _priors(recording: Recording) -> dict[str, float]:
    return {target: round(prior, 4) for target, prior in fitting.priors(recording).items()}


def _chance(weight: float) -> float:
    return round(1 / (1 + math.exp(-weight)), 4)


def _interval(right: Sequence[bool]) -> str:
    low, high = wilson(sum(right), len(right))
    return f"{percent(low)} - {percent(high)}"


def _signed(difference: tuple[float, float]) -> str:
    return " to ".join(f"{100 * end:+.2f}" for end in difference)
