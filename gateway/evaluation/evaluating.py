"""`hedgerow evaluate`: one selector over one recording, as figures for programs and as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanin import Rule
from gateway.evaluation import ballots, latency, recordings
from gateway.evaluation.faults import CannotEvaluate
from gateway.evaluation.intervals import wilson
from gateway.evaluation.latency import Waited
from gateway.evaluation.recordings import Recording
from gateway.evaluation.replay import Replayed, replay
from gateway.evaluation.tables import percent, table


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A rule's figures on a recording, beside those of each target alone; shares are from 0 to 1, times in seconds."""

    recording: Recording
    select: str
    replayed: Replayed
    singles: dict[str, tuple[int, int]]
    waited: tuple[Waited, ...]

    @property
    def best_single(self) -> str | None:
        """The target that is right most often alone, of several the one of the highest priority."""
        return max(self.singles, key=lambda target: self.singles[target][0]) if self.singles else None

    def document(self) -> dict[str, Any]:
        """Return the figures for programs: percentages with two decimals, seconds with three."""
        accuracy, interval = self.replayed.accuracy, self.replayed.interval
        return {
            "data": self.recording.source,
            "targets": list(self.recording.targets),
            "select": self.select,
            "n": len(self.recording.rows),
            "accuracy": _percentage(accuracy),
            "accuracy_interval": None if interval is None else [_percentage(end) for end in interval],
            "agreement": _percentage(self.replayed.agreement),
            "calls_saved": _percentage(self.replayed.calls_saved),
            "best_single": self.best_single,
            "singles": {target: _percentage(right / n) for target, (right, n) in self.singles.items()},
            "latency": {waited.policy: _seconds(waited) for waited in self.waited},
        }

    def lines(self) -> Iterator[str]:
        """Give the figures for people, line by line."""
        replayed, rows = self.replayed, len(self.recording.rows)
        yield f"{self.select} over {len(self.recording.targets)} targets, {rows} questions of {self.recording.source}"
        yield ""
        own = [self.select, percent(replayed.accuracy), _interval(replayed.interval)]
        singles = [
            [f"{name} alone", percent(right / n), _interval(wilson(right, n))]
            for name, (right, n) in self.singles.items()
        ]
        yield from table(["", "accuracy %", "95 % interval"], [own, *singles])
        yield ""
        yield f"agreement: the winner had {percent(replayed.agreement)} % of the votes on average"
        yield f"early stop: {percent(replayed.calls_saved)} % of calls saved when targets are asked one after another"
        if self.waited:
            yield ""
            rows_of = [
                [
                    each.policy,
                    *(f"{each.at(share):.2f}" for share in (0.5, 0.95, 0.99)),
                    percent(each.accuracy),
                    f"{each.calls:.2f}",
                ]
                for each in self.waited
            ]
            yield from table(["policy", "p50 s", "p95 s", "p99 s", "accuracy %", "calls"], rows_of)


def evaluate(data: Path, targets: Sequence[str], select: str) -> Evaluation:
    """Return the figures of a selector over the recorded answers of these targets, the first of the highest priority.

    Raises:
        CannotEvaluate: when the file, a target or the selector cannot be used.
    """
    rule = ballots.rule_of(ballots.parsed(select))
    return evaluation(recordings.read(data).only(targets), rule, select)


def evaluation(recording: Recording, rule: Rule, select: str) -> Evaluation:
    """Return the figures of a rule on a recording that is read already."""
    timed = recording.timed
    return Evaluation(
        recording,
        select,
        replay(recording, rule),
        singles(recording) if recording.labelled else {},
        tuple(latency.wait(recording, policy) for policy in latency.policies(recording, rule, ballots.recorded))
        if timed
        else (),
    )


def singles(recording: Recording) -> dict[str, tuple[int, int]]:
    """Return, for each target alone, how many questions it got right and of how many."""
    if not recording.labelled:
        raise CannotEvaluate(f"{recording.source} does not say which answers are right: give `correct` or `gold`")
    found = {}
    for target in recording.targets:
        marks = [target in row.answers and bool(row.answers[target].correct) for row in recording.rows]
        found[target] = (sum(marks), len(marks))
    return found


def _percentage(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def _seconds(waited: Waited) -> dict[str, float | None]:
    times = {name: round(waited.at(share), 3) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {**times, "accuracy": _percentage(waited.accuracy), "calls": round(waited.calls, 3)}


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{percent(interval[0])} - {percent(interval[1])}"
