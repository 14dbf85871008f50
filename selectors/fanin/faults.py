"""What is wrong with a configuration value, said so that the reader can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: where (a path like `majority.agree`, relative to the value read), what, and what was expected."""

    path: str
    fault: str
    expected: str

    def under(self, prefix: str) -> Fault:
        """Return the fault seen from further out: under `select`, the path `[0].majority` is `select[0].majority`."""
        return replace(self, path=join(prefix, self.path))

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.fault}, expected {self.expected}"


class SpecError(ValueError):
    """A configuration value that cannot become a rule; `faults` holds all that is wrong with it, in order."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def join(prefix: str, path: str) -> str:
    """Join two parts of a path; a part that begins with a bracket needs no dot before it."""
    return f"{prefix}.{path}" if prefix and path and not path.startswith("[") else prefix + path


def quote(value: object) -> str:
    """Return the value as it is quoted in a message: one line, not longer than 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(words: Iterable[str], last: str = "or") -> str:
    """Return the words as a list in a sentence: `a, b or c`."""
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end


def unknown(kind: str, name: str, known: Sequence[str]) -> str:
    """Return the sentence for a name that nobody knows, with the nearest known one if any is near."""
    near = difflib.get_close_matches(name.casefold(), known, n=1)
    return f"unknown {kind} {quote(name)}" + (f"; did you mean {near[0]!r}?" if near else "")
