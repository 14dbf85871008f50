"""The benchmark measures: every figure has a sample, and what does more costs more."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import endurance
from tests.support.simulators import ROOT

pytestmark = pytest.mark.slow


def test_a_quick_run_measures_every_figure(tmp_path: Path) -> None:
    """One round over real processes: CPU, latency, start and memory are all there and plausible."""
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "bench", "--quick", "--rounds", "1", "--json", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = {row["figure"]: row for row in json.loads(out.read_text())["rows"]}
    assert len(rows) >= 7
    assert all(row["median"] > 0 for row in rows.values())
    one = next(row for name, row in rows.items() if "one target" in name)
    three = next(row for name, row in rows.items() if "three" in name)
    assert three["median"] > 1.2 * one["median"], "three calls cost more than one, or nothing is measured"


def test_ten_times_the_room_is_answered_or_refused_with_advice_and_costs_no_memory() -> None:
    """Nothing hangs and nothing is cut off; what comes afterwards is served."""
    during, after, watched = asyncio.run(endurance.overload(2))
    assert during.took.keys() == {"200", "503"}
    assert during.unadvised == 0
    assert "200" in after.took
    first, *later = (memory for memory, _, _ in watched.held)
    assert max(later) < 2 * first
