"""What is wrong with a configuration: every fault is collected here and told in one sentence of the same form."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config.node import Node


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, what was found, what is expected and, where we know it, the cure.

    It reads ``routes.reliable.launch: found "hegde", expected all, hedge or fallback; did you mean `hedge`?``
    """

    path: str
    fault: str
    expected: str = ""
    cure: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        expected = f", expected {self.expected}" if self.expected else ""
        cure = f"; {self.cure}" if self.cure else ""
        return f"{path}{self.fault}{expected}{cure}"


class ConfigError(Exception):
    """The configuration cannot be used; `str()` tells every fault, one per line, each as `file:line: path: fault`."""

    def __init__(self, faults: Iterable[Fault], source: str) -> None:
        self.faults = tuple(sorted(dict.fromkeys(faults), key=lambda fault: (fault.line or 0, fault.column or 0)))
        self.source = source
        super().__init__("\n".join(f"{_position(source, fault)}: {fault}" for fault in self.faults))


class Faults:
    """The faults found so far in one document."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._faults: list[Fault] = []

    def add(self, node: Node, fault: str, expected: str = "", cure: str = "") -> None:
        """Remember a fault of this value, and that nothing may be built on it."""
        node.faulty = True
        self._faults.append(Fault(node.path, fault, expected, cure, node.line))

    def found(self, node: Node, expected: str, cure: str = "") -> None:
        """Remember that the value is not what is expected, and show it where that is safe."""
        self.add(node, f"found {node.shown()}", expected, cure)

    def add_below(self, node: Node, path: str, fault: str, expected: str) -> None:
        """Remember what another reader says is wrong below this value, at a path relative to it.

        Such a sentence may quote values, so it is withheld when any of them must not be shown.
        """
        path = f"{node.path}{'' if not path or path.startswith('[') else '.'}{path}"
        fault, cured, near = fault.partition("; did you mean ")
        below = list(node.walk())
        at = next((inner for inner in below if inner.path == path), node)
        if any(inner.hidden for inner in below):
            path, fault, cured = at.path, "does not fit (not shown: a variable or a key stands in it)", ""
        at.faulty = True
        self._faults.append(Fault(path, fault, expected, f"did you mean {near}" if cured else "", at.line))

    def missing(self, path: str, parent: Node, expected: str, cure: str = "") -> None:
        """Remember that a key is not there; the line is the one of the mapping it should stand in."""
        self._faults.append(Fault(path, "missing", expected, cure, parent.line))

    def stop(
        self, fault: str, expected: str = "", cure: str = "", *, line: int | None = None, column: int | None = None
    ) -> ConfigError:
        """Return the error to raise at once, for what makes the rest of the document unreadable."""
        return ConfigError([*self._faults, Fault("", fault, expected, cure, line, column)], self.source)

    def raise_any(self) -> None:
        """Raise all that was found, if anything was.

        Raises:
            ConfigError: with every fault.
        """
        if self._faults:
            raise ConfigError(self._faults, self.source)


def did_you_mean(node: Node, word: str, choices: Iterable[str]) -> str:
    """Return ``did you mean `x`?`` for the nearest choice; nothing when none is near or the value must not be shown."""
    near = [] if node.hidden else difflib.get_close_matches(word, list(choices), n=1)
    return f"did you mean `{near[0]}`?" if near else ""


def one_of(words: Iterable[str]) -> str:
    """Return `one of a, b, c`."""
    return f"one of {', '.join(words)}"


def _position(source: str, fault: Fault) -> str:
    return ":".join(str(part) for part in (source, fault.line, fault.column) if part is not None)
