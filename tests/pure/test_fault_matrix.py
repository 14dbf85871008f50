"""The fault matrix of docs/faults.md: every row is there, and every test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"\| (\d+) \| ([^|]+) \| ([^|]+) \|([^|]*)\|")
DEFINED = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)


def rows() -> dict[int, list[str]]:
    """The tests of each row."""
    lines = (ROOT / "docs/faults.md").read_text().split("\n")
    found = [row for line in lines if (row := ROW.fullmatch(line))]
    assert [int(row[1]) for row in found] == list(range(1, len(found) + 1))
    return {int(row[1]): re.findall(r"`(test_\w+)`", row[4]) for row in found}


def test_every_row_of_the_fault_matrix_is_played_by_a_test_that_exists() -> None:
    """66 faults; a test that is renamed or taken away leaves a row without proof, which shows here."""
    matrix = rows()
    assert len(matrix) == 66
    assert [number for number, tests in matrix.items() if not tests] == []
    defined = {name for file in (ROOT / "tests").rglob("test_*.py") for name in DEFINED.findall(file.read_text())}
    named = {name for tests in matrix.values() for name in tests}
    assert named - defined == set()
