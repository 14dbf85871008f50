"""`hedgerow evaluate` as a user runs it: figures for programs, a table for people, one sentence for a mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.simulators import ROOT


def hedgerow(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """Twenty questions: `steady` is right on 16, the other two on 12 each, seldom wrong in the same way."""
    path = tmp_path / "recorded.jsonl"
    with path.open("w") as file:
        for number in range(20):
            answers = {
                "openai/steady": "right" if number % 5 else "wrong",
                "groq/fast": "right" if number % 5 < 3 else f"wrong {number}",
                "mistral/small": "right" if number % 5 not in {1, 2} else "off",
            }
            timed = {
                name: {"answer": key, "latency_s": 0.1 * (1 + place)}
                for place, (name, key) in enumerate(answers.items())
            }
            file.write(json.dumps({"id": str(number), "gold": "right", "answers": timed}) + "\n")
    return str(path)


def test_evaluate_prints_json_for_programs(recorded: str) -> None:
    """The figures that a script reads are there under their documented names."""
    targets = "openai/steady,groq/fast,mistral/small"
    done = hedgerow("evaluate", "--data", recorded, "--targets", targets, "--select", "majority", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(done.stdout)
    assert figures["n"] == 20
    assert figures["accuracy"] == 100.0
    assert figures["best_single"] == "openai/steady"
    assert figures["singles"]["openai/steady"] == 80.0
    assert 0 < figures["agreement"] < 100
    assert 0 < figures["calls_saved"] < 50
    assert figures["latency"]["race"]["p99"] == 0.1


def test_evaluate_prints_a_table_for_people(recorded: str) -> None:
    """Accuracy with its interval, every target alone, agreement, savings and latencies."""
    done = hedgerow("evaluate", "--data", recorded, "--targets", "openai/steady, groq/fast")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("95 % interval", "openai/steady alone", "agreement: the winner had", "calls saved", "p99 s", "race"):
        assert words in done.stdout


def test_evaluate_tells_an_unknown_target_in_one_sentence(recorded: str) -> None:
    """Exit 2, nothing on stdout, the known targets and the nearest one."""
    done = hedgerow("evaluate", "--data", recorded, "--targets", "openai/stedy", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        "'openai/stedy', only of openai/steady, groq/fast, mistral/small; did you mean 'openai/steady'?" in done.stderr
    )
    assert done.stderr.count("\n") == 1


def test_calibrate_writes_a_file_and_recommends(recorded: str, tmp_path: Path) -> None:
    """Twenty questions are too few, which is said; three times as many give a recommendation and the file."""
    targets = "openai/steady,groq/fast,mistral/small"
    out = tmp_path / "calibration.yaml"
    few = hedgerow("calibrate", "--data", recorded, "--targets", targets, "--out", str(out))
    assert (few.returncode, few.stdout) == (2, "")
    assert "gives 20 questions and 3 targets, calibration needs 50 and 2" in few.stderr
    more = tmp_path / "more.jsonl"
    rows = [json.loads(line) for line in Path(recorded).read_text().split("\n") if line] * 3
    more.write_text("".join(json.dumps({**row, "id": number}) + "\n" for number, row in enumerate(rows)))
    done = hedgerow("calibrate", "--data", str(more), "--targets", targets, "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Recommended: majority." in done.stdout
    assert "recommended: majority" in out.read_text()


def test_the_table_of_selectors_says_in_one_line_that_there_are_no_recordings(tmp_path: Path) -> None:
    """Without the recordings, which are not part of the repository, the benchmark is skipped, not failed."""
    script = [sys.executable, "-m", "bench.selectors", "--data", str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"skipped: no recordings in {tmp_path} (name their folder with --data)\n"
