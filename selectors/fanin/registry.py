"""The selectors by name: the built-in ones, and those that installed packages offer under an entry-point group."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fanin.aggregate import collect, concat, reduce, score_aggregate
from fanin.central import cluster_vote, drop_outliers, mbr, medoid
from fanin.compose import chain, defer, quorum, valid
from fanin.confidence import confidence_vote, max_confidence
from fanin.faults import Fault, SpecError, listed, quote, unknown
from fanin.fields import json_fields, tool_calls
from fanin.guard import guarded
from fanin.order import first, priority
from fanin.rule import Factory, Rule
from fanin.spec import Catalogue
from fanin.stop import stop
from fanin.votes import majority, weighted

GROUP = "fanin.selectors"

BUILTINS: Mapping[str, Factory] = {
    "first": first,
    "priority": priority,
    "majority": majority,
    "weighted": weighted,
    "guarded": guarded,
    "max_confidence": max_confidence,
    "confidence_vote": confidence_vote,
    "cluster_vote": cluster_vote,
    "mbr": mbr,
    "medoid": medoid,
    "tool_calls": tool_calls,
    "json_fields": json_fields,
    "score_aggregate": score_aggregate,
    "collect": collect,
    "concat": concat,
    "reduce": reduce,
    "defer": defer,
    "quorum": quorum,
    "stop": stop,
    "valid": valid,
    "drop_outliers": drop_outliers,
}


@functools.lru_cache(maxsize=1)
def _offered() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points by name, each object once: a package found twice on the path is no collision."""
    offered: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        offered.setdefault(entry.name, {}).setdefault(entry.value, entry)
    return {name: tuple(entries.values()) for name, entries in offered.items()}


class Selectors(Catalogue[Rule]):
    """The catalogue of selectors: a list is a chain, and an option annotated `Rule` is read as a selector."""

    def names(self) -> tuple[str, ...]:
        """Return the built-in names and those of installed packages, in alphabetical order, without loading any."""
        return tuple(sorted({*self.entries, *_offered()}))

    def find(self, name: str, path: str) -> Callable[..., Any]:
        """Return the factory of this name; an entry point is loaded at its first use."""
        entries = _offered().get(name, ())
        builtin = self.entries.get(name)
        if builtin is None and not entries:
            raise SpecError(Fault(path, unknown("selector", name, self.names()), listed(self.names())))
        objects = {id(found): (found, entry) for entry in entries for found in [_load(entry, path)]}
        if builtin is not None:
            objects.pop(id(builtin), None)
            for _, entry in objects.values():
                raise SpecError(
                    Fault(path, f"selector {name!r} of {_origin(entry)} collides with the built-in one", _CURE)
                )
            return builtin
        if len(objects) > 1:
            owners = listed((_origin(entry) for _, entry in objects.values()), "and")
            raise SpecError(Fault(path, f"selector {name!r} is offered by {owners}", _CURE))
        ((found, entry),) = objects.values()
        if not callable(found):
            raise SpecError(
                Fault(
                    path,
                    f"selector {name!r} of {_origin(entry)} is {quote(found)}",
                    "a function that makes a fanin.Rule",
                )
            )
        return found  # type: ignore[no-any-return]

    def read(self, value: Any, path: str = "") -> Rule:
        """Return the rule that the value describes; a list becomes a chain."""
        if isinstance(value, (list, tuple)):
            return self._chain(value, path)
        rule = super().read(value, path)
        if not isinstance(rule, Rule):
            raise SpecError(Fault(path, f"{quote(value)} gives {quote(rule)}", "a fanin.Rule"))
        return rule

    def expected(self) -> str:
        """Return what a value may be, for messages."""
        return "the name of a selector, one name with its options, or a list of these"

    def convert(self, value: Any, annotation: Any, path: str) -> Any:
        """Read an option annotated `Rule` as a selector, any other as usual."""
        return self.read(value, path) if annotation is Rule else super().convert(value, annotation, path)

    def _chain(self, values: list[Any] | tuple[Any, ...], path: str) -> Rule:
        rules: list[Rule] = []
        faults: list[Fault] = []
        for index, value in enumerate(values):
            try:
                rules.append(self.read(value, f"{path}[{index}]"))
            except SpecError as error:
                faults.extend(error.faults)
        if not values:
            faults.append(Fault(path, "is an empty list", "at least one selector"))
        if faults:
            raise SpecError(*faults)
        return rules[0] if len(rules) == 1 else chain(*rules)


_CURE = "every name once: uninstall a package, or rename the selector in it"


def _load(entry: EntryPoint, path: str) -> Any:
    try:
        return entry.load()
    except Exception as error:  # whatever a foreign module raises at import becomes one clear fault
        why = f"{type(error).__name__}: {error}"
        fault = f"selector {entry.name!r} of {_origin(entry)} cannot be loaded ({why})"
        raise SpecError(Fault(path, fault, f"{entry.value} to be importable")) from error


def _origin(entry: EntryPoint) -> str:
    return f"package {entry.dist.name}" if entry.dist else entry.value


SELECTORS = Selectors("selector", BUILTINS)


def build(spec: Any) -> Rule:
    """Turn a configuration value into a rule.

    A value is a name (`majority`), a name with options (`{majority: {agree: 2}}`), a list, which is a chain, or a
    wrapper (`{defer: majority}`, `{quorum: {k: 2, of: majority}}`). Raises SpecError with every fault in it.
    """
    return SELECTORS.read(spec)
