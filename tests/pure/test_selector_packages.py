"""A wheel of fanin stands alone, and a selector of another package works beside it: built and installed for real."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Return what a command prints; its own words are the failure."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def wheel(project: Path, to: Path) -> Path:
    """Return the wheel that the project builds."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", to, cwd=project)
    (built,) = to.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a new environment that holds fanin and the example, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    wheels = [
        wheel(ROOT / "selectors", folder / "fanin"),
        wheel(ROOT / "examples" / "selector-shortest", folder / "shortest"),
    ]
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", *wheels)
    return python


def test_fanin_alone_decides_in_a_fresh_environment(fresh: Path, tmp_path: Path) -> None:
    """No dependency is declared and none is needed; every built-in selector is there; types are shipped."""
    code = (
        "import fanin, importlib.metadata as m, pathlib;"
        "assert not [r for r in m.requires('fanin') or [] if 'extra' not in r];"
        "assert pathlib.Path(fanin.__file__).with_name('py.typed').exists();"
        "b = fanin.Ballot(2, (fanin.Candidate('a', '1'), fanin.Candidate('b', '1.0')), closed=True);"
        "print(fanin.__file__, fanin.build({'majority': {'key': 'number'}})(b).reason, sep='|')"
    )
    place, reason = run(fresh, "-I", "-c", code, cwd=tmp_path).split("|")
    assert Path(place).is_relative_to(fresh.parents[1])
    assert reason == "2 of 2 agree"


def test_a_selector_of_another_package_is_found_by_its_name_and_keeps_the_laws(fresh: Path, tmp_path: Path) -> None:
    """The entry point is read from the installed package, and `check_laws` passes there."""
    laws = tmp_path / "laws"
    laws.mkdir()
    hypothesis = Path(str(distribution("hypothesis").locate_file("")))
    for part in hypothesis.iterdir():
        if part.name.lstrip("_").startswith(("hypothesis", "sortedcontainers")):
            (laws / part.name).symlink_to(part)
    code = (
        f"import sys; sys.path.append({str(laws)!r});"
        "import fanin, shortest; from fanin.testing import check_laws;"
        "rule = fanin.build({'shortest': {'at_least': 2}}); check_laws(rule); check_laws(shortest.shortest);"
        "b = fanin.Ballot(3, tuple(fanin.Candidate(t, t * n) for n, t in ((3, 'x'), (2, 'y'), (1, 'z'))), closed=True);"
        "print(rule(b).winner.target, rule.name, shortest.__file__, sep='|')"
    )
    winner, name, place = run(fresh, "-I", "-c", code, cwd=tmp_path).split("|")
    assert (winner, name) == ("y", "shortest")
    assert Path(place).is_relative_to(fresh.parents[1])
