"""Checks that a candidate must pass before it may enter a ballot, by their names in a configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias

from fanin.ballot import Candidate
from fanin.keys.canonical_json import json
from fanin.keys.cleaning import plain
from fanin.spec import Catalogue, Range

Check: TypeAlias = Callable[[Candidate], bool]


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


CHECKS: Catalogue[Check] = Catalogue(
    "check", {"json": parses_as_json, "length": length, "regex": matches}, on="candidate"
)
CheckSpec: TypeAlias = Annotated[str | Mapping[str, Any] | Check, CHECKS]


def as_check(spec: CheckSpec) -> Check:
    """Return the check that a configuration value names; a function is taken as it is."""
    return CHECKS.read(spec, "check")
