"""Checks that a candidate must pass before it may enter a ballot, by their names in a configuration."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Literal, TypeAlias

from fanin.ballot import Candidate, ToolCall
from fanin.faults import Fault, SpecError, quote
from fanin.flaws import FILTERED, INVALID, REFUSED, refuses
from fanin.keys.canonical_json import json, parsed
from fanin.keys.cleaning import plain
from fanin.languages import is_in
from fanin.spec import Catalogue, Range

Check: TypeAlias = Callable[[Candidate], bool]
Language: TypeAlias = Literal[
    "ar", "de", "el", "en", "es", "fr", "he", "hi", "it", "ja", "ko", "nl", "pt", "ru", "th", "zh"
]


def parses_as_json(candidate: Candidate) -> bool:
    """Tell whether the answer is, or contains in a code fence or after some words, a JSON document."""
    return json(candidate) is not None


def matches(candidate: Candidate, *, pattern: re.Pattern[str]) -> bool:
    """Tell whether the regular expression is found anywhere in the answer."""
    return pattern.search(plain(candidate.text)) is not None


def length(
    candidate: Candidate,
    *,
    least: Annotated[int, Range(0)] = 1,
    most: Annotated[int, Range(0)] | None = None,
) -> bool:
    """Tell whether the answer, without thinking and fences, has from `least` to `most` characters."""
    size = len(plain(candidate.text))
    return least <= size and (most is None or size <= most)


def refusal(candidate: Candidate) -> bool:
    """Tell whether the answer is none that refuses: no refusal, no filtered one, no short text with a stock phrase.

    Selectors that vote set refusals aside without this. Do not use it where a refusal is the right answer.
    """
    return candidate.flaw not in _REFUSALS and not refuses(plain(candidate.text))


def language(candidate: Candidate, *, code: Language) -> bool:
    """Tell whether the answer may be in this language; what is too short or too mixed to tell passes.

    It counts letters and common words. Do not use it for code, nor to tell dialects or close languages apart.
    """
    return is_in(plain(candidate.text), code)


def tool_arguments() -> Check:
    """Let in tool calls whose arguments are JSON objects that fit the schemas of the request's tools.

    The gateway compares them (`Rule.needs`), as the schemas are the request's. What is `strict` it checks in any case.
    """
    return _ToolArguments()


class _ToolArguments:
    needs = frozenset({"tool_arguments"})

    def __call__(self, candidate: Candidate) -> bool:
        return candidate.flaw != INVALID and all(map(_is_object, candidate.tool_calls))


def _is_object(call: ToolCall) -> bool:
    try:
        return isinstance(parsed(call.arguments or "{}"), dict)
    except (ValueError, RecursionError):
        return False


_REFUSALS = {REFUSED, FILTERED}
GROUP = "fanin.checks"


class Checks(Catalogue[Check]):
    """The catalogue of checks: the built-in ones, and those that packages offer under the entry-point group.

    An entry point names a function of a candidate and keyword options, or a factory that makes one of its options.
    """

    def names(self) -> tuple[str, ...]:
        """Return all names in alphabetical order, without loading any."""
        return tuple(sorted({*self.entries, *_offered()}))

    def find(self, name: str, path: str) -> Callable[..., Any]:
        """Return the check of this name; built-in ones cannot be replaced."""
        entry = None if name in self.entries else _offered().get(name)
        return load(entry, "check", path) if entry else super().find(name, path)


@functools.cache
def _offered() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def load(entry: EntryPoint, kind: str, path: str) -> Callable[..., Any]:
    """Return what an entry point names; whatever a foreign module raises at import becomes one clear fault."""
    try:
        found = entry.load()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise SpecError(
            Fault(path, f"{kind} {entry.name!r} cannot be loaded ({why})", f"{entry.value} to work")
        ) from error
    if not callable(found):
        raise SpecError(Fault(path, f"{kind} {entry.name!r} is {quote(found)}", "a function"))
    return found  # type: ignore[no-any-return]


CHECKS: Catalogue[Check] = Checks(
    "check",
    {
        "json": parses_as_json,
        "language": language,
        "length": length,
        "refusal": refusal,
        "regex": matches,
        "tool_arguments": tool_arguments,
    },
    on="candidate",
)
CheckSpec: TypeAlias = Annotated[str | Mapping[str, Any] | Check, CHECKS]


def as_check(spec: CheckSpec) -> Check:
    """Return the check that a configuration value names; a function is taken as it is."""
    return CHECKS.read(spec, "check")
