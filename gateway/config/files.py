"""The files that a configuration is made of: read once, remembered, watched, and handed on as they were read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

_Mark: TypeAlias = tuple[int, int, int, int] | None

VARIABLE = "file:"
"""What a variable that is a file begins with: `${file:/run/secrets/openai}`."""


class Files:
    """The configuration file and what it refers to, as they were when they were read.

    With `contents`, nothing is read from the disk: a process can be given exactly what another one has found good.
    """

    def __init__(self, contents: Mapping[str, bytes] | None = None) -> None:
        self.contents: dict[str, bytes] = dict(contents or {})
        self._given = contents is not None
        self._marks: dict[str, _Mark] = {}

    def read(self, path: Path) -> bytes:
        """Return a file's content.

        Raises:
            OSError: it cannot be read.
        """
        name = str(path)
        if name not in self.contents:
            if self._given:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            self._marks[name] = _mark(name)  # before reading: what is written meanwhile is seen as a change
            self.contents[name] = path.read_bytes()
        return self.contents[name]

    def marks(self) -> dict[str, _Mark]:
        """Return by what a change of each file would be recognised now; links are followed, as in a ConfigMap."""
        return {name: _mark(name) for name in self._marks}

    def changed(self) -> bool:
        """Whether a file is no longer the one that was read, or has appeared since."""
        return self.marks() != self._marks


class Environment(Mapping[str, str]):
    """The variables that a configuration file may name: those of the process, and `file:PATH` for a file's text."""

    def __init__(self, environ: Mapping[str, str], files: Files, folder: Path) -> None:
        self._environ, self._files, self._folder = environ, files, folder

    def __getitem__(self, name: str) -> str:
        """Return a variable's value, or a file's text without the line break at its end.

        Raises:
            KeyError: there is no such variable or file.
        """
        if not name.startswith(VARIABLE):
            return self._environ[name]
        try:
            return self._files.read(self._folder / name.removeprefix(VARIABLE)).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        """Give the names of the variables; files have no end."""
        return iter(self._environ)

    def __len__(self) -> int:
        """Return how many variables there are."""
        return len(self._environ)


def _mark(name: str) -> _Mark:
    try:
        found = os.stat(name)  # noqa: PTH116 -- called four times a second
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
