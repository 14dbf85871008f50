"""Print what the selectors make of recorded answers of real models, beside the figures they are held to.

`python -m bench.selectors [--data FOLDER]`, from the root of the repository. Every figure comes out of the rules that
the gateway runs. How a row has to be read so that it matches to the decimal:

* Targets stand in the order of their accuracy (the pool of three: gpt-4.1, deepseek-chat, claude, which is their order
  on the other half of the data; on this half the last two are 0.1 points apart the other way round). Only the table
  of accuracy by agreement has them as they are listed, which decides the ties of two against two.
* A null answer abstains. It is neither a vote nor an empty candidate that others could agree with.
* A tie goes to the answer whose first supporter has the highest priority.
* `guarded` guards an answer that was given: where the best target abstains, the majority of the others decides.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.selectors import learning
from fanin.registry import SELECTORS
from gateway.evaluation import ballots, calibrating, latency, recordings
from gateway.evaluation.intervals import quantile
from gateway.evaluation.recordings import Recording
from gateway.evaluation.replay import Replayed, replay
from gateway.evaluation.tables import table

ROOT = Path(__file__).resolve().parents[2]

MMLU_STRONG_WEAK = (
    "gpt-4.1",
    "gpt-4o-mini-2024-07-18",
    "gemini-1.5-flash-8b",
    "claude-3-haiku-20240307",
    "Meta-Llama-3.1-8B-Instruct-Turbo",
)
MMLU_THREE = ("gpt-4.1", "deepseek-chat", "claude-3-7-sonnet-20250219")
MMLU_FRONTIER = (*MMLU_THREE, "Llama-4-Maverick-17B-128E-Instruct-FP8", "grok-3-beta")
MMLU_FRONTIER_AS_LISTED = ("gpt-4.1", MMLU_THREE[2], MMLU_THREE[1], *MMLU_FRONTIER[3:])
MMLU_CHEAP = (
    "gpt-4o-mini-2024-07-18",
    "claude-3-5-haiku-20241022",
    "gemini-1.5-flash",
    "Mistral-Small-24B-Instruct-2501",
    "Meta-Llama-3.1-70B-Instruct-Turbo",
)
MID_PRICE = (
    "gpt-4o-mini-2024-07-18",
    "claude-3-5-haiku-20241022",
    "gemini-1.5-flash",
    "Mistral-Large-2",
    "Meta-Llama-3.1-70B-Instruct",
    "Qwen2-72B-Instruct",
    "deepseek-v2.5-0908",
)
TOOLS_TOP = (
    "gpt-4o-2024-08-06-FC",
    "gemini-1.5-pro-preview-0514",
    "yi-large-fc",
    "claude-3-5-sonnet-20240620-FC",
    "mistral-large-2407-FC-Any",
)
TOOLS_CHEAP = (
    "gpt-4o-mini-2024-07-18-FC",
    "gemini-1.5-flash-preview-0514",
    "firefunction-v2-FC",
    "open-mistral-nemo-2407-FC-Any",
    "claude-3-haiku-20240307-FC",
)
HEDGE_AFTER = 2.54
"""Seconds: gpt-4o's 90th percentile on the other half of the data."""

EXACT = 0.005
"""Percentage points that rounding to two decimals hides."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: what it is held to, within which tolerance, what was measured; `at_least` makes it a lower limit."""

    name: str
    published: float
    measured: float | None
    tolerance: float = EXACT
    limit: str = ""

    def verdict(self) -> str:
        """Say whether the figure is where it belongs."""
        if self.measured is None:
            return "skipped: no such selector"
        gap = self.measured - self.published
        kept = {"": abs(gap) <= self.tolerance + 1e-9, ">=": gap >= -1e-9, "<=": gap <= self.tolerance + 1e-9}[
            self.limit
        ]
        return "ok" if kept else f"OFF by {gap:+.2f}"

    def cells(self) -> list[str]:
        """Return the line of the table."""
        measured = "-" if self.measured is None else f"{self.measured:.2f}"
        tolerance = self.limit or f"+-{self.tolerance:g}"
        return [self.name, f"{self.published:.2f}", measured, tolerance, self.verdict()]


@dataclass(frozen=True, slots=True)
class Pool:
    """Some targets on one data set, with the published accuracies in percent."""

    name: str
    data: str
    targets: tuple[str, ...]
    best: float
    majority: float
    guarded: float
    override: int
    ordered: bool = False


POOLS = (
    Pool("MMLU-Pro, 3", "mmlupro_conf", MMLU_THREE, 78.95, 81.56, 81.56, 2, ordered=True),
    Pool("MMLU-Pro, 5 frontier", "mmlupro_conf", MMLU_FRONTIER, 78.95, 83.03, 83.03, 2),
    Pool("MMLU-Pro, 5 cheap", "mmlupro_conf", MMLU_CHEAP, 64.74, 69.26, 69.26, 2),
    Pool("MMLU-Pro, 1 strong + 4 weak", "mmlupro_conf", MMLU_STRONG_WEAK, 78.95, 70.40, 79.05, 5),
    Pool("MMLU-Pro, all 22", "mmlupro_conf", (), 81.72, 81.01, 83.23, 16),
    Pool("GSM8K, 7 mid-price", "gsm8k_answers", MID_PRICE, 94.56, 95.17, 95.47, 4),
    Pool("MATH level 5, 7 mid-price", "math_l5_answers", MID_PRICE, 53.11, 59.89, 59.89, 2),
    Pool("CRUX, 7 mid-price", "crux_answers", MID_PRICE, 76.17, 77.98, 77.20, 4),
)


class Data:
    """The recordings of a folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, Recording] = {}

    def of(self, name: str, targets: Sequence[str] = (), *, ordered: bool = False) -> Recording:
        """Return a recording for these targets (all without any) by accuracy, or in the order given."""
        if name not in self._read:
            self._read[name] = recordings.read(self.folder / f"{name}.jsonl.gz")
        recording = self._read[name].only(targets or self._read[name].targets)
        return recording if ordered else recording.only(calibrating.best_single(recording).targets)


def run(recording: Recording, select: Any, *, early: bool = False) -> Replayed:
    return replay(recording, ballots.rule_of(select), early=early)


def percentage(replayed: Replayed) -> float:
    return 100 * (replayed.accuracy or 0.0)


def accuracies(data: Data) -> Iterator[Line]:
    """Give best, majority and guarded of every pool."""
    for pool in POOLS:
        recording = data.of(pool.data, pool.targets, ordered=pool.ordered)
        guard = {"guarded": {"override": pool.override}}
        yield Line(f"{pool.name}: best", pool.best, percentage(run(recording, "priority")))
        yield Line(f"{pool.name}: majority", pool.majority, percentage(run(recording, "majority")))
        yield Line(f"{pool.name}: guarded ({pool.override})", pool.guarded, percentage(run(recording, guard)))


def agreement(data: Data) -> Iterator[Line]:
    """Give the accuracy of a majority by how many agree."""
    recording = data.of("mmlupro_conf", MMLU_FRONTIER_AS_LISTED, ordered=True)
    marks: dict[int, list[bool]] = {}
    for decided in run(recording, "majority").decided:
        if decided.selection is not None:
            votes = int(decided.selection.tally[decided.selection.answer or ""])
            marks.setdefault(votes, []).append(bool(decided.right))
    for votes, published in ((5, 94.0), (4, 78.9), (3, 57.2), (2, 37.4)):
        yield Line(f"{votes} of 5 agree", published, 100 * sum(marks[votes]) / len(marks[votes]), 0.05)


def tool_calls(data: Data) -> Iterator[Line]:
    """Give the votes on tool calls; `hybrid` is the selector of that name."""
    hybrid = "tool_calls" if "tool_calls" in SELECTORS.names() else None
    pools = ((TOOLS_TOP, "5 top", 90.19, 93.25, 93.25), (TOOLS_CHEAP, "5 cheap", 86.82, 89.07, 89.23))
    for targets, name, best, exact, voted in pools:
        recording = data.of("bfcl_tools", targets, ordered=True)
        yield Line(f"{name}: best", best, percentage(run(recording, "priority")))
        yield Line(f"{name}: exact vote", exact, percentage(run(recording, "majority")))
        yield Line(f"{name}: hybrid", voted, percentage(run(recording, hybrid)) if hybrid else None)
    top = data.of("bfcl_tools", TOOLS_TOP, ordered=True)
    oracle = [any(answer.correct for answer in row.answers.values()) for row in top.rows]
    yield Line("5 top: oracle", 96.95, 100 * sum(oracle) / len(oracle))


def savings(data: Data) -> Iterator[Line]:
    """Give the calls that an early decision saves at the same answers."""
    replayed = run(data.of("gsm8k_answers", MID_PRICE), "majority", early=True)
    yield Line("GSM8K, 7 targets in turn: calls saved", 40.0, 100 * replayed.calls_saved, limit=">=")
    yield Line("GSM8K, 7 targets in turn: accuracy", 95.17, percentage(replayed))


def waiting(data: Data) -> Iterator[Line]:
    """Give p50, p95, p99 and accuracy of each policy of waiting on five tool callers, keys without case."""
    recording = data.of("bfcl_tools", TOOLS_TOP, ordered=True)
    rule = ballots.rule_of("majority", ballots.casefolded)
    published: Mapping[str, tuple[float, ...]] = {
        f"{TOOLS_TOP[0]} alone": (0.91, 3.66, 6.00, 90.2),
        "race": (0.87, 2.01, 2.57, 83.0),
        "wait for all": (4.30, 14.21, 20.63, 93.4),
        "early": (2.40, 7.67, 9.85, 93.4),
        "first 2 that agree": (1.53, 4.56, 7.72, 92.6),
        "3 agree or 5 s": (2.40, 5.00, 5.00, 92.8),
    }
    for policy in latency.policies(recording, rule, ballots.casefolded):
        waited = latency.wait(recording, policy)
        # An early decision that knows who is still out, and so who wins a tie, falls sooner than the published one.
        limit = "<=" if policy.name in {"early", "3 agree or 5 s"} else ""
        for (name, share), seconds in zip(
            (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)), published.get(policy.name, ())[:3], strict=False
        ):
            yield Line(f"{policy.name}: {name} s", seconds, waited.at(share), EXACT, limit)
        if policy.name in published:
            yield Line(f"{policy.name}: accuracy", published[policy.name][3], 100 * (waited.accuracy or 0), 0.05)


def hedging(data: Data) -> Iterator[Line]:
    """Give the tail with and without a second call to another target."""
    recording = data.of("bfcl_tools", TOOLS_TOP[:2], ordered=True)
    policy = latency.Policy("hedge", ballots.rule_of("first"), recording.targets, hedge_after=HEDGE_AFTER)
    waited = latency.wait(recording, policy)
    yield Line(f"gpt-4o, gemini-pro after {HEDGE_AFTER} s: p99 s", 4.17, waited.at(0.99), 0.01)
    yield Line(f"gpt-4o, gemini-pro after {HEDGE_AFTER} s: extra calls %", 8.7, 100 * (waited.calls - 1), 0.5)
    endpoints = msgspec.json.decode(gzip.decompress((data.folder / "latency_llmperf.json.gz").read_bytes()))
    slow, fast = ([each["e2e_s"] for each in endpoints[name]["samples"]] for name in ("together_13b", "anyscale_13b"))
    after = quantile(slow, 0.95)
    hedged = [min(first, after + second) for first, second in zip(slow, fast, strict=True)]
    yield Line("together_13b alone: p99 s", 101.5, quantile(slow, 0.99), 0.05)
    yield Line(f"together_13b, anyscale after {after:.2f} s: p99 s", 3.1, quantile(hedged, 0.99), 0.15)
    yield Line("together_13b, anyscale: extra calls %", 4.6, 100 * sum(each > after for each in slow) / len(slow), 0.1)


def fitted(data: Data) -> Iterator[list[str]]:
    """Give, cross-validated on this half, what fitting adds to a majority, and whether it beats the best single."""
    by_hand = {name: calibrating.FITS[name] for name in (calibrating.BEST_SINGLE, "majority", "weighted")}
    graded = {"confidence_vote, ling_conf": calibrating.by_confidence("ling_conf")}
    plans: Mapping[str, Mapping[str, calibrating.Fit]] = {
        "MMLU-Pro, all 22": by_hand,
        "MMLU-Pro, 5 cheap": {
            **calibrating.FITS,
            "confidence_vote, verbal_conf": calibrating.by_confidence("verbal_conf"),
            **graded,
        },
        "MMLU-Pro, 1 strong + 4 weak": {**calibrating.FITS, **graded},
        "MMLU-Pro, 5 frontier": calibrating.FITS,
        "GSM8K, 7 mid-price": calibrating.FITS,
        "MATH level 5, 7 mid-price": calibrating.FITS,
        "CRUX, 7 mid-price": calibrating.FITS,
    }
    for pool in POOLS:
        if pool.name in plans:
            recording = data.of(pool.data, pool.targets, ordered=pool.ordered)
            found = calibrating.calibration(recording, plans[pool.name])
            for each in found.contenders:
                low, high = (100 * end for end in each.difference)
                verdict = "beats the best single" if low > 0 else "loses to it" if high < 0 else "no certain difference"
                shown = "" if each.name == calibrating.BEST_SINGLE else verdict
                yield [
                    pool.name,
                    each.name,
                    f"{100 * each.accuracy:.2f}",
                    f"{100 * each.accuracy - pool.majority:+.2f}",
                    shown,
                ]


def online(data: Data) -> Iterator[list[str]]:
    """Give what reliability learned without labels is worth, and how far off it is."""
    for pool in POOLS:
        recording = data.of(pool.data, pool.targets, ordered=pool.ordered)
        yield [pool.name, f"{pool.best:.2f}", f"{pool.majority:.2f}", *learning.learned(recording)]


SECTIONS = (
    ("Accuracy %", accuracies),
    ("Majority of 5 frontier, accuracy % by agreement", agreement),
    ("Tool calls, accuracy %", tool_calls),
    ("Early stop, %", savings),
    ("Waiting, tool calls", waiting),
    ("Hedging", hedging),
)


def main() -> int:
    """Print every table; return 1 if a figure is off."""
    parser = argparse.ArgumentParser(prog="python -m bench.selectors", description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="the folder of recordings")
    folder = parser.parse_args().data
    if not (folder / "mmlupro_conf.jsonl.gz").exists():
        print(f"skipped: no recordings in {folder} (name their folder with --data)")
        return 0
    data, off = Data(folder), 0
    for title, lines_of in SECTIONS:
        lines = list(lines_of(data))
        off += sum(line.verdict().startswith("OFF") for line in lines)
        print(f"\n{title}\n")
        print("\n".join(table(["", "published", "ours", "tolerance", "verdict"], [line.cells() for line in lines])))
        sys.stdout.flush()
    print("\nFitted, 5-fold cross-validation on the same half\n")
    print("\n".join(table(["pool", "selector", "accuracy %", "over majority", "verdict"], list(fitted(data)))))
    heads = ["pool", "best single", "majority", "weighted, learned", "guarded, learned", "error of reliability, points"]
    print("\nLearned online from the votes, without labels: accuracy %\n")
    print("\n".join(table(heads, list(online(data)))))
    print(f"\n{off} figures are off." if off else "\nEvery figure is within its tolerance.")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
