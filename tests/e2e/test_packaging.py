"""The distribution: one wheel with both packages and their entry points, that works away from the sources."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.simulators import ROOT

pytestmark = pytest.mark.slow


def test_the_wheel_holds_both_packages_and_runs_without_the_sources(tmp_path: Path) -> None:
    """Built as a user's pip would build it, imported from a folder that is not the repository."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"gateway/app.py", "gateway/py.typed", "fanin/__init__.py", "fanin/py.typed"} <= set(names)
    version = wheel.name.split("-")[1]
    assert {name.partition("/")[0] for name in names} == {"gateway", "fanin", f"hedgerow-{version}.dist-info"}
    # A .pth file would run at every start of the interpreter; nothing but Python and its types belongs in here.
    assert {Path(name).suffix for name in names if ".dist-info/" not in name} == {".py", ".typed"}

    code = (
        "import fanin, gateway, sys; from importlib.metadata import entry_points\n"
        "assert all('.whl' in module.__file__ for module in (fanin, gateway)), (fanin, gateway)\n"
        "assert 'majority' in entry_points(group='fanin.selectors').names\n"
        "from gateway.__main__ import app; app(['schema'])"
    )
    environ = {**os.environ, "PYTHONPATH": str(wheel)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert '"routes"' in ended.stdout
