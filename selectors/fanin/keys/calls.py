"""The key for tool calls: which functions with which arguments, whatever the order and the spelling."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, TypeAlias

from fanin.ballot import Candidate, ToolCall
from fanin.keys.canonical_json import parsed, spelled
from fanin.keys.cleaning import REMEMBERED, recall

NO_CALL = "no call"
"""The key of an answer that calls nothing: it is a decision too."""

Call: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""A function's name and its arguments in alphabetical order, each value in canonical JSON."""


def tool_calls(candidate: Candidate) -> Hashable | None:
    """The calls as a multiset: names with `.` as `_`, JSON arguments sorted, `2.0` as `2`, strings without case.

    An answer without calls has the key "no call". Gateways rewrite dots because the OpenAI API does not allow them in
    names; the case of strings differs between models without a meaning far more often than with one. Do not use it
    where an argument is prose (a search query, a message), in which no two agree: the selector `tool_calls` then finds
    the calls whose other arguments are most common.
    """
    calls = candidate.tool_calls
    if not calls:
        return NO_CALL
    if len(calls) == 1:
        return f"[{_read(calls[0])[1]}]"
    return f"[{','.join([spelling for _, spelling in sorted(map(_read, calls))])}]"


def canonical(calls: tuple[ToolCall, ...]) -> tuple[Call, ...]:
    """Return the calls in an order and a spelling that depend on their meaning only."""
    return tuple(call for call, _ in sorted(map(_read, calls)))


def _read(call: ToolCall) -> tuple[Call, str]:
    return recall(_understood, call.arguments, call.name)


@lru_cache(maxsize=REMEMBERED)
def _understood(arguments: str, name: str) -> tuple[Call, str]:
    """Return what a call means, and how that is spelled."""
    name, given = name.strip().replace(".", "_"), _given(arguments)
    inner = ",".join([f"{spelled(argument)}:{value}" for argument, value in given])
    return (name, given), f"[{spelled(name)},{{{inner}}}]"


def _given(arguments: str) -> tuple[tuple[str, str], ...]:
    """Return the arguments; what is no JSON object is one nameless argument, so that equal nonsense is equal."""
    try:
        found = parsed(arguments) if arguments.strip() else {}
        if isinstance(found, dict):
            return tuple(sorted([(name, spelled(_folded(value))) for name, value in found.items()]))
        return (("", spelled(_folded(found))),)
    except (ValueError, RecursionError):
        return (("", spelled(arguments.strip())),)


def _folded(value: Any) -> Any:
    """Return the value with every string in it stripped and casefolded."""
    if isinstance(value, str):
        return value.strip().casefold()
    if isinstance(value, list):
        return [_folded(item) for item in value]
    if isinstance(value, dict):
        return {name: _folded(item) for name, item in value.items()}
    return value
