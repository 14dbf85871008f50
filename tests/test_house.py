"""The house stays shut: the stdlib's `selectors`, the lock, known-bad releases, one home for each library."""

from __future__ import annotations

import re
import site
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def number(release: str) -> tuple[int, ...]:
    """The numeric part of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", release)[:3])


def test_selectors_is_a_folder_and_never_a_package() -> None:
    """A `selectors/__init__.py` would replace the stdlib module that asyncio imports."""
    assert not (ROOT / "selectors" / "__init__.py").exists()
    assert not (ROOT / "tests" / "selectors").exists()
    assert not list((ROOT / "bench").glob("selectors*.py")) + list((ROOT / "bench" / "selectors").glob("__init__.py"))


@pytest.mark.parametrize("module", ["asyncio", "selectors", "gateway", "fanin"])
def test_a_fresh_interpreter_at_the_root_imports(module: str) -> None:
    """Whoever works in the root gets the stdlib's selectors and our two packages."""
    code = f"import {module}, selectors; assert hasattr(selectors, 'DefaultSelector')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_module_of_ours_shadows_the_standard_library() -> None:
    """A `gateway/select.py` would break `python gateway/__main__.py`."""
    names = {path.stem for path in (ROOT / "gateway").rglob("*.py")} - {"__init__", "__main__"}
    assert names.isdisjoint(sys.stdlib_module_names - {"errors"})


@pytest.mark.parametrize(
    ("package", "floor", "refused"),
    [("litellm", "1.83.7", {"1.82.7", "1.82.8"}), ("starlette", "1.0.1", set()), ("orjson", "3.9.15", set())],
)
def test_known_bad_releases_are_not_installed(package: str, floor: str, refused: set[str]) -> None:
    """Litellm 1.82.7 and 1.82.8 were malware; older ones, starlette and orjson have published holes."""
    installed = {dist.name: dist.version for dist in distributions()}
    if package not in installed and package == "orjson":
        return  # nothing of ours needs it
    assert number(installed[package]) >= number(floor)
    assert installed[package] not in refused


def test_site_packages_holds_no_unexpected_pth_file() -> None:
    """A `.pth` file runs at every start of the interpreter: the way the litellm malware came in."""
    expected = re.compile(r"(_?hedgerow|__editable__\.hedgerow.*|distutils-precedence|_virtualenv|a1_coverage)\.pth")
    found = [path.name for folder in site.getsitepackages() for path in Path(folder).glob("*.pth")]
    assert [name for name in found if not expected.fullmatch(name)] == []


def test_the_pip_lock_says_what_the_uv_lock_says() -> None:
    """Both ways to install give the same releases, with hashes."""
    uv = {
        package["name"]: package["version"]
        for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
        if "registry" in package["source"]
    }
    text = (ROOT / "requirements.txt").read_text()
    pip = dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE))
    assert pip.items() <= uv.items()
    assert text.count("--hash=sha256:") >= len(pip) > 60


def test_what_is_installed_is_what_the_lock_says() -> None:
    """The tests speak for the locked releases."""
    pip = dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    for package in ("aiohttp", "fastapi", "litellm", "msgspec", "tenacity", "uvicorn"):
        assert version(package) == pip[package]


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("litellm", {"gateway/providers/via_litellm.py"}),
        ("tenacity", {"gateway/policies/retry.py"}),
        ("prometheus_client", {"gateway/observe/metrics.py"}),
        ("structlog", {"gateway/observe/log.py"}),
        ("opentelemetry", {"gateway/observe/tracing.py"}),
        ("httpx", set()),
    ],
)
def test_a_library_is_imported_in_one_file_only(library: str, home: set[str]) -> None:
    """What a library can do, or do wrong, is known in one place."""
    pattern = re.compile(rf"^\s*(?:import|from) {library}\b", re.MULTILINE)
    importing = {
        path.relative_to(ROOT).as_posix()
        for folder in ("gateway", "selectors/fanin")
        for path in (ROOT / folder).rglob("*.py")
        if pattern.search(path.read_text())
    }
    assert importing <= home


def test_starting_the_gateway_does_not_import_litellm_or_fastapi() -> None:
    """Both are slow and large: they come when something needs them."""
    code = (
        "import sys, gateway.serving, gateway.config\n"
        "slow = {'litellm', 'fastapi', 'openai', 'hypothesis'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_changelog_and_every_decision_are_named_as_the_house_wants() -> None:
    """Decisions are numbered without gaps, so that `0003` means one thing."""
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [name[:4] for name in names] == [f"{position:04d}" for position in range(1, len(names) + 1)]
    assert (ROOT / "CHANGELOG.md").read_text().startswith("# Changelog")
