"""The benchmark measures: every figure has a sample, and what does more costs more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
