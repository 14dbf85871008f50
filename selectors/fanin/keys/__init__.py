"""Keys: what makes two answers the same. A key of None abstains and counts nothing.

Each is a function of a candidate (and of options), found by its name in `KEYS`; a further key is one more entry.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Annotated, Any, TypeAlias

from fanin.ballot import Candidate
from fanin.keys.calls import tool_calls
from fanin.keys.canonical_json import json
from fanin.keys.choice import choice
from fanin.keys.json_field import json_field
from fanin.keys.latex import latex
from fanin.keys.literal import python
from fanin.keys.number import number
from fanin.keys.pattern import regex
from fanin.keys.whole_text import text
from fanin.spec import Catalogue

Key: TypeAlias = Callable[[Candidate], Hashable | None]

KEYS: Catalogue[Key] = Catalogue(
    "key",
    {
        "choice": choice,
        "json": json,
        "json_field": json_field,
        "latex": latex,
        "number": number,
        "python": python,
        "regex": regex,
        "text": text,
        "tool_calls": tool_calls,
    },
    on="candidate",
)
KeySpec: TypeAlias = Annotated[str | Mapping[str, Any] | Key, KEYS]


def as_key(spec: KeySpec) -> Key:
    """Return the key that a configuration value names; a function is taken as it is."""
    return KEYS.read(spec, "key")
