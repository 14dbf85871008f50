"""The key for one field of a JSON answer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from fanin.ballot import Candidate
from fanin.keys.canonical_json import document, spelled
from fanin.keys.cleaning import REMEMBERED, recall
from fanin.keys.whole_text import normal


def json_field(candidate: Candidate, *, path: str) -> Hashable | None:
    """The field at a path such as `result.items.0.name`; a string is compared as a text is, without case and form.

    None where the answer has no JSON document, the document no such field, or the field is null or empty. Do not use it
    where several fields matter together: the winner's others may be wrong (`json_fields` votes on each).
    """
    return recall(_json_field, candidate.text, path)


@lru_cache(maxsize=REMEMBERED)
def _json_field(text: str, path: str) -> str | None:
    try:
        found = at(document(text), path)
        if found is None:
            return None
        return normal(found) or None if isinstance(found, str) else spelled(found)
    except RecursionError:
        return None


def at(value: Any, path: str) -> Any:
    """Return what stands at a dotted path in a document; None where nothing does."""
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, Sequence) and not isinstance(value, str) and step.isdecimal() and len(step) < 10:
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value
