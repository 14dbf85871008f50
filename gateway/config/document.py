"""YAML text → a tree of nodes that know their lines; finds broken syntax, duplicate keys and missing variables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from gateway.config.faults import Faults
from gateway.config.interpolation import interpolate
from gateway.config.node import Node, step

_MOST_NODES = 20_000  # far above any real file, far below what aliases of aliases of aliases can grow to
_DEEPEST = 60
_PREFIX = "tag:yaml.org,2002:"
_MERGE = f"{_PREFIX}merge"


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("beyond what a float holds")
    return number


_SCALARS: dict[str, Callable[[str], Any]] = {
    f"{_PREFIX}str": str,
    f"{_PREFIX}null": lambda _: None,
    f"{_PREFIX}bool": lambda text: text == "true",
    f"{_PREFIX}int": int,
    f"{_PREFIX}float": _finite,
}


class _Loader(yaml.SafeLoader):
    """The scalars of YAML 1.2's core schema: `no`, `on`, `12:30` and `2024-10-21` are text, as people mean them."""


_Loader.yaml_implicit_resolvers = {}

for _name, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?[0-9]+(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)$", "-+0123456789"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"{_PREFIX}{_name}", re.compile(_pattern), list(_first))


def read(text: str, environ: Mapping[str, str], faults: Faults) -> Node:
    """Return the document as a tree, with the environment's values in place of variables.

    Anchors, aliases and merge keys (`<<`) work.

    Raises:
        ConfigError: when the text is not one YAML document; it also carries the faults found before.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise faults.stop(*_syntax_fault(error), line=line, column=column) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise faults.stop(f"the character U+{error.character:04X}", "printable text", line=line) from None
    except RecursionError:
        raise faults.stop(f"lists and mappings more than {_DEEPEST} deep") from None
    return Node(None, line=1) if root is None else _Reader(environ, faults).node(root, "", 0)


def number_or_truth(text: str) -> Any:
    """Return what an unquoted scalar of this text would be: a number, true or false, else the text itself."""
    tag = _Loader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    try:
        return text if tag == _MERGE else _SCALARS[tag](text)
    except ValueError:  # too many digits
        return text


class _Reader:
    def __init__(self, environ: Mapping[str, str], faults: Faults) -> None:
        self._environ = environ
        self._faults = faults
        self._count = 0

    def node(self, raw: yaml.Node, path: str, depth: int) -> Node:
        self._count += 1
        line = raw.start_mark.line + 1
        if depth > _DEEPEST or self._count > _MOST_NODES:
            size = f"{_DEEPEST} levels" if depth > _DEEPEST else f"{_MOST_NODES:,} values"
            raise self._faults.stop(f"more than {size}", "a smaller document; an alias may repeat itself", line=line)
        if isinstance(raw, yaml.MappingNode):
            return self._mapping(raw, Node({}, path, line), depth)
        if isinstance(raw, yaml.SequenceNode):
            return Node([self.node(item, step(path, i), depth + 1) for i, item in enumerate(raw.value)], path, line)
        return self._scalar(raw, Node(raw.value, path, line))

    def _mapping(self, raw: yaml.MappingNode, mapping: Node, depth: int) -> Node:
        inherited: dict[str, Node] = {}
        for key, value in raw.value:
            line = key.start_mark.line + 1
            if key.tag == _MERGE:
                for source in self._merged(value, mapping, depth):
                    inherited = source | inherited
            elif not isinstance(key, yaml.ScalarNode):
                outer, cure = Node(None, mapping.path, line), 'put a value such as "${NAME}" or "{{ name }}" in quotes'
                self._faults.add(outer, "a key that is itself a mapping or a list", "text", cure)
            elif key.value in mapping.value:
                first = mapping.value[key.value].line
                duplicate = Node(None, step(mapping.path, key.value), line)
                self._faults.add(duplicate, f"written twice (first in line {first})", "each key once")
            else:
                mapping.value[key.value] = child = self.node(value, step(mapping.path, key.value), depth + 1)
                child.line = line
        mapping.value = inherited | mapping.value
        return mapping

    def _merged(self, raw: yaml.Node, mapping: Node, depth: int) -> Iterator[dict[str, Node]]:
        for source in raw.value if isinstance(raw, yaml.SequenceNode) else [raw]:
            node = self.node(source, mapping.path, depth + 1)
            if isinstance(node.value, dict):
                yield node.value
            else:
                self._faults.found(node, "a mapping to merge, such as *defaults")

    def _scalar(self, raw: yaml.Node, node: Node) -> Node:
        try:
            node.value = _SCALARS[raw.tag](raw.value)
        except KeyError:
            self._faults.add(node, "a YAML tag that is not known here", "a plain value", "put the value in quotes")
        except ValueError:
            self._faults.add(node, "not a number that can be used", "a finite decimal one")
        if isinstance(node.value, str) and "${" in node.value and not node.faulty:
            interpolate(node, self._environ, self._faults)
        return node


_SYNTAX = (
    ("mapping values are not allowed", "a `:` where no key can stand", "quotes around a value that holds `: `"),
    (r"character '\\t'", "a tab", "spaces for indentation"),
    (r"character '[@`]'", "an `@` or a backquote at the start of a value", "quotes around it"),
    ("character '%'", "a `%` at the start of a value", "quotes around it"),
    (r"expected ',' or '}'", "a `{` that is not closed, or an unquoted ${…} inside { }", 'a `}`, or quotes: "${NAME}"'),
    (r"expected ',' or '\]'", "a `[` that is not closed", "a `]`"),
    ("expected <block end>", "a line that does not fit the indentation above it", "the indentation of its neighbours"),
    ("unexpected end of stream", "a quote that is never closed", "a closing quote"),
    ("could not find expected ':'", "a line that is neither a key nor a value", "`key: value`"),
    ("undefined alias", "an alias (`*…`) that no anchor (`&…`) defines", "an anchor before it, or quotes around it"),
    ("expected a single document", "a second document (`---`)", "one document in a file"),
    ("unknown escape character", "an unknown escape (`\\…`) in double quotes", "single quotes, or `\\\\`"),
)
"""What PyYAML says → what we say. Its own sentences can carry words of the file, and those can be secrets."""


def _syntax_fault(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    said = f"{error.context} {error.problem}"
    for pattern, fault, expected in _SYNTAX:
        if re.search(pattern, said):
            return f"not valid YAML: {fault}", expected
    return "not valid YAML", ""
