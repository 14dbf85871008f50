"""The environments of the clients: made from their locks into `.clients/`, kept until a lock changes."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / ".clients"


class CannotPrepare(Exception):
    """An environment cannot be made; the message says which and why."""


class NotAtHand(CannotPrepare):
    """It cannot be made here, through no fault of its lock: no registry answers, or Node.js is not installed."""


_OUT_OF_REACH = re.compile(
    r"""could\ not\ (?:fetch|connect|find\ a\ version) | no\ matching\ distribution | failed\ to\ (?:fetch|lookup)
    | connection\ (?:refused|reset|aborted|timed) | timed?\ ?out | max\ retries | name\ resolution | dns\ error
    | error\ sending\ request | ENOTFOUND | ECONNREFUSED | ECONNRESET | EAI_AGAIN | ETIMEDOUT
    | network\ is\ unreachable""",
    re.IGNORECASE | re.VERBOSE,
)
"""What uv, pip and npm say when there is no registry; a hash that does not fit is none of these."""


_P = ParamSpec("_P")


def _asked_once(prepare: Callable[_P, Path]) -> Callable[_P, Path]:
    """Let a registry that is out of reach cost its timeouts once, not once for each suite."""
    known: dict[object, NotAtHand] = {}

    @functools.wraps(prepare)
    def prepared(*args: _P.args, **kwargs: _P.kwargs) -> Path:
        if args in known:
            raise known[args]
        try:
            return prepare(*args, **kwargs)
        except NotAtHand as fault:
            known[args] = fault
            raise

    return prepared


def locked(lock: str, package: str) -> str:
    """Return the version of a package in a lock."""
    found = re.search(rf"^{re.escape(package)}==([^ ;\\]+)", (HERE / f"{lock}.txt").read_text(), re.MULTILINE)
    if found is None:
        raise CannotPrepare(f"{lock}.txt has no {package}")
    return found[1]


@_asked_once
def python(lock: str) -> Path:
    """Return the interpreter of an environment that holds exactly what `<lock>.txt` names."""
    folder, names = KEPT / lock, HERE / f"{lock}.txt"
    interpreter = folder / "bin" / "python"
    if _made(folder, names):
        return interpreter
    uv = shutil.which("uv")
    if uv:
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(interpreter), "--require-hashes", "-r", str(names)])
    else:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(interpreter), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "--no-deps", "-r", str(names)])
    return _keep(folder, names) / "bin" / "python"


@_asked_once
def node() -> Path:
    """Return the folder whose `node_modules` holds exactly what `package-lock.json` names, with the tests beside it."""
    folder, lock = KEPT / "node", HERE / "node" / "package-lock.json"
    if not shutil.which("npm"):
        raise NotAtHand("npm is not installed: the clients for Node.js need Node.js 20 or newer")
    if not _made(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "node" / name, folder)
        _run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], folder)
        _keep(folder, lock)
    for test in (HERE / "node").glob("*.test.mjs"):
        shutil.copy(test, folder)  # Node.js looks for packages beside the file that imports them
    return folder


@_asked_once
def openai_suite() -> Path:
    """Return openai-python's source distribution, of the version in the lock, unpacked: it brings its own tests."""
    lock = HERE / "openai-suite.txt"
    folder = KEPT / "openai-source"
    if not _made(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        text = lock.read_text()
        entry = text[text.index("openai==") :]
        version = locked("openai-suite", "openai")
        only = folder / "only.txt"
        hashes = [line.strip(" \\") for line in entry[: entry.index("# via")].split("\n") if "--hash" in line]
        only.write_text(f"openai=={version} {' '.join(hashes)}\n")
        pip = [str(python("openai-suite")), "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
        _run([*pip, "--no-binary", "openai", "--require-hashes", "-r", str(only), "-d", str(folder)])
        (archive,) = folder.glob("openai-*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        _keep(folder, lock)
    (source,) = (path for path in folder.glob("openai-*") if path.is_dir())
    return source


def _made(folder: Path, lock: Path) -> bool:
    stamp = folder / ".lock"
    return stamp.exists() and stamp.read_text() == _digest(lock)


def _keep(folder: Path, lock: Path) -> Path:
    (folder / ".lock").write_text(_digest(lock))
    return folder


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _run(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout)[-2000:].strip()
        if _OUT_OF_REACH.search(said):
            raise NotAtHand(f"{command[0]} reaches no registry: {said.splitlines()[-1][:200]}")
        raise CannotPrepare(f"{' '.join(command[:6])} … failed:\n{said}")
