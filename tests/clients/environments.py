"""The environments of the clients: made from their locks into `.clients/`, kept until a lock changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / ".clients"


class CannotPrepare(Exception):
    """An environment cannot be made; the message says which and why."""


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


def node() -> Path:
    """Return the folder whose `node_modules` holds exactly what `package-lock.json` names, with the tests beside it."""
    folder, lock = KEPT / "node", HERE / "node" / "package-lock.json"
    if not shutil.which("npm"):
        raise CannotPrepare("npm is not installed: the clients for Node.js need Node.js 20 or newer")
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


def openai_suite() -> Path:
    """Return openai-python's source distribution, of the version in the lock, unpacked: it brings its own tests."""
    lock = HERE / "openai-suite.txt"
    folder = KEPT / "openai-source"
    if not _made(folder, lock):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        text = lock.read_text()
        entry = text[text.index("openai==") :]
        version = entry[len("openai==") : entry.index(" ")]
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
        raise CannotPrepare(f"{' '.join(command[:6])} … failed:\n{(done.stderr or done.stdout)[-2000:]}")
