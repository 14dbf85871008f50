"""One value of the configuration, with where it stands in the file and whether a message may show it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_PLAIN_KEY = re.compile(r"[\w/:#@+*-]+")
_LONGEST_QUOTE = 60
_CREDENTIAL = re.compile(
    r"""\b(?:(?:sk|pk|rk|csk|pplx|nvapi|xai|glpat)-|(?:gsk|fw|hf|r8|ghp)_|AIza|AKIA|Bearer\s)[-\w]{12,}  # known kinds
      | (?=\w*\d)(?=\w*[A-Za-z])[\w+=]{32,}  # a long random word
      | \w+://[^/\s]*@  # an address with a password
    """,
    re.VERBOSE,
)


@dataclass(slots=True, eq=False)
class Node:
    """A value of the document: a scalar, a list of nodes or a mapping from text to nodes.

    `path` is what a message calls it (`routes.reliable.targets[1]`). `variable` says that the value came out of the
    environment, `secret` that it stands where credentials stand; neither is ever shown. `faulty` is set once a fault is
    known, so that later checks build on sound values only and one mistake is reported once.
    """

    value: Any
    path: str = ""
    line: int | None = None
    variable: bool = False
    secret: bool = False
    faulty: bool = False

    def has(self, key: str) -> bool:
        """Whether the key is written, right or wrong."""
        return isinstance(self.value, dict) and key in self.value

    def child(self, key: str) -> Node | None:
        """Return the value under a key, or None when it is not written or already known to be wrong."""
        child = self.value.get(key) if isinstance(self.value, dict) else None
        return None if child is None or child.faulty else child

    def children(self) -> dict[str, Node]:
        """Return what a mapping holds by key, without what is already known to be wrong."""
        written: dict[str, Node] = self.value if isinstance(self.value, dict) else {}
        return {key: node for key, node in written.items() if not node.faulty}

    def get(self, key: str, default: Any = None) -> Any:
        """Return the plain value under a key, or the default."""
        child = self.child(key)
        return default if child is None else child.plain()

    def plain(self) -> Any:
        """Return the value as plain Python."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.children().items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value if not node.faulty]
        return self.value

    def walk(self) -> Iterator[Node]:
        """Give this node and all below it."""
        yield self
        below = self.value.values() if isinstance(self.value, dict) else self.value
        for node in below if isinstance(self.value, (dict, list)) else ():
            yield from node.walk()

    @property
    def hidden(self) -> bool:
        """Whether no message may show the value, or the keys of the mapping."""
        texts = [self.value] if isinstance(self.value, str) else self.value if isinstance(self.value, dict) else ()
        return self.secret or self.variable or any(map(looks_like_credential, texts))

    def shown(self) -> str:
        """Say in a few words what stands here: the value itself where that is safe, else only its kind."""
        kind = _kind(self.value)
        if self.value is None or isinstance(self.value, (dict, list)):
            return kind
        if self.hidden:
            return f"{kind} (not shown)"
        quoted = json.dumps(self.value, ensure_ascii=False)
        return quoted if len(quoted) <= _LONGEST_QUOTE else f'{quoted[: _LONGEST_QUOTE - 4]}…"'


def step(path: str, key: str | int) -> str:
    """Return the path of what stands below: `routes.fast` for a key, `targets[1]` for a place in a list."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    key = masked(key)
    if not _PLAIN_KEY.fullmatch(key):
        key = json.dumps(key, ensure_ascii=False)
    return f"{path}.{key}" if path else key


def masked(key: str) -> str:
    """Return the key of a mapping as it may be shown: in `{sk-…: x}` a value stands where a key belongs."""
    return "***" if looks_like_credential(key) else key


def looks_like_credential(text: str) -> bool:
    """Whether a text is better not printed, wherever it stands: a key pasted into the wrong line still is a key."""
    return _CREDENTIAL.search(text) is not None


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    for kind, name in ((dict, "a mapping"), (list, "a list"), (bool, "true or false"), (str, "text")):
        if isinstance(value, kind):
            return name
    return "a number"
