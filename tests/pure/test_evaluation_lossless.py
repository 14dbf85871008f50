"""An early decision is lossless on every row of the recordings of real models; skipped where these are not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fanin import Candidate, Failure, Rule
from gateway.evaluation import ballots, calibrating, recordings
from gateway.evaluation.recordings import Recording
from gateway.evaluation.replay import in_turn

FOLDER = Path(os.environ.get("HEDGEROW_RECORDINGS", Path(__file__).resolve().parents[3] / "shared" / "data"))
MOST_TARGETS = 7


def recording(name: str) -> Recording:
    """Return a recording of its most accurate targets, or skip."""
    path = FOLDER / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no recordings in {FOLDER}: name their folder in HEDGEROW_RECORDINGS")
    found = recordings.read(path)
    return found.only(calibrating.best_single(found).targets[:MOST_TARGETS])


def orders(given: Sequence[Candidate | Failure]) -> list[list[Candidate | Failure]]:
    """Return arrivals by priority, the other way round, and as they came in where that was recorded."""
    told = [list(given), list(given)[::-1]]
    latencies = {each.target: each.payload.latency for each in given if isinstance(each, Candidate)}
    if len(latencies) == len(given) and None not in latencies.values():
        told.append(sorted(given, key=lambda each: latencies[each.target]))
    return told


def rules(found: Recording) -> dict[str, Rule]:
    """Return every voting rule that claims to decide early without loss, some with what is fitted to the recording."""
    specs: list[Any] = ["majority", calibrating.guarded(found).select, calibrating.weighted(found).select, "priority"]
    made = {str(spec)[:40]: ballots.rule_of(spec) for spec in specs}
    assert not any("final" in rule.exempt for rule in made.values())
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mmlupro_conf", "gsm8k_answers", "math_l5_answers", "crux_answers", "bfcl_tools"])
def test_an_early_decision_is_the_one_that_waiting_for_all_gives(name: str) -> None:
    """On every row, in each order of arrival, the answer of each rule is the same; and calls are saved by it."""
    found = recording(name)
    opening = ballots.opening(found.targets)
    for told, rule in rules(found).items():
        saved = 0
        for row in found.rows:
            given = ballots.outcomes(row, found.targets)
            last = rule(ballots.closed(given, found.targets))
            for arrivals in orders(given):
                early, asked = in_turn(opening, arrivals, rule)
                assert (early and early.answer) == (last and last.answer), f"{told} on row {row.id}"
                assert told != "priority" or (early and early.winner) == (last and last.winner)
                saved += len(given) - asked
        assert saved > 0, told
