"""Makes a value that satisfies a JSON Schema: what a model with structured output would return."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_FORMATS = {
    "date": "2025-01-31",
    "time": "12:00:00Z",
    "date-time": "2025-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "somebody@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_DEPTH = 24
_SHALLOW = 6


def instance(schema: Any, *, name: str = "text") -> Any:
    """Return a value of a schema; `name` is the word that free strings hold.

    It understands what structured outputs allow (types, enum, const, properties, items, anyOf, oneOf, allOf, $ref to
    $defs, bounds, lengths and formats), fills required properties only, and does not solve `pattern` or `not`.
    """
    return _make(schema, schema, name, 0)


def _make(schema: Any, root: Any, name: str, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _DEPTH:
        return None if schema is False else name
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("enum", "examples"):
        if isinstance(schema.get(word), list) and schema[word]:
            return schema[word][0]
    if "$ref" in schema:
        return _make(_resolve(schema["$ref"], root), root, name, depth + 1)
    if isinstance(schema.get("allOf"), list):
        return _make(_merged(schema, root), root, name, depth + 1)
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list) and schema[word]:
            rest = {key: value for key, value in schema.items() if key != word}
            return _make(_merged({**rest, "allOf": [_simplest(schema[word])]}, root), root, name, depth + 1)
    return _typed(schema, root, name, depth)


def _typed(schema: Mapping[str, Any], root: Any, name: str, depth: int) -> Any:
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    match next((k for k in kinds if k != "null"), "null"):
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, name, depth)
        case "integer" | "number" as numeric:
            return _number(schema, numeric == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case "string":
            return _string(schema, name)
    if "properties" in schema or "required" in schema:
        return _object(schema, root, depth)
    return _array(schema, root, name, depth) if "items" in schema else name


def _object(schema: Mapping[str, Any], root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties") or {}
    return {key: _make(properties.get(key, True), root, str(key), depth + 1) for key in schema.get("required") or ()}


def _array(schema: Mapping[str, Any], root: Any, name: str, depth: int) -> list[Any]:
    prefix = schema.get("prefixItems") or []
    made = [_make(item, root, name, depth + 1) for item in prefix]
    items = schema.get("items", True)
    usual = 0 if depth > _SHALLOW or items is False or schema.get("maxItems") == 0 else 1
    wanted = schema.get("minItems", usual)
    # A different name for each, so that `uniqueItems` holds for strings.
    names = [name if number == 0 else f"{name}{number + 1}" for number in range(len(made), wanted)]
    return made + [_make(items, root, each, depth + 1) for each in names]


def _number(schema: Mapping[str, Any], whole: bool) -> int | float:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    step = schema.get("multipleOf", 1 if whole else None)
    least, most = max(low, above), min(high, below)

    def fits(value: float) -> bool:
        return low <= value <= high and above < value < below and (step is None or value % step == 0)

    guesses = [1, least, least + 1, most, most - 1, (least + most) / 2]
    if step is not None and math.isfinite(least):
        guesses += [step * math.ceil(least / step), step * (math.floor(least / step) + 1)]
    if step is not None and math.isfinite(most):
        guesses += [step * math.floor(most / step), step * (math.ceil(most / step) - 1)]
    found = next((guess for guess in (*guesses, step or 0) if math.isfinite(guess) and fits(guess)), 1)
    return int(found) if whole else found


def _string(schema: Mapping[str, Any], name: str) -> str:
    made = _FORMATS.get(str(schema.get("format")), name)
    made = made.ljust(int(schema.get("minLength", 0)), "x")
    return made[: int(schema.get("maxLength", len(made)))]


def _merged(schema: Mapping[str, Any], root: Any) -> dict[str, Any]:
    """Lay the parts of an allOf over one another; a $ref is followed first."""
    merged: dict[str, Any] = {}
    own = {key: value for key, value in schema.items() if key != "allOf"}
    for part in (own, *(_followed(part, root) for part in schema["allOf"])):
        for key, value in part.items():
            if key in {"properties", "$defs"}:
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "required":
                merged[key] = list(dict.fromkeys([*merged.get(key, []), *value]))
            else:
                merged[key] = value
    return merged


def _followed(part: Any, root: Any) -> Mapping[str, Any]:
    """Follow a part that is only a reference, though not for ever in a circle."""
    for _ in range(_DEPTH):
        if not isinstance(part, Mapping) or set(part) != {"$ref"}:
            break
        part = _resolve(part["$ref"], root)
    return part if isinstance(part, Mapping) else {}


def _simplest(choices: list[Any]) -> Any:
    """Prefer a value that is written out, then null, then a reference: following references may never end."""
    values = [c for c in choices if isinstance(c, Mapping) and c.get("type") != "null"]
    written = next((c for c in values if "$ref" not in c), None)
    null = next((c for c in choices if c not in values), None)
    return written or null or choices[0]


def _resolve(reference: Any, root: Any) -> Any:
    found = root
    for part in str(reference).removeprefix("#").strip("/").split("/"):
        if part and isinstance(found, Mapping):
            found = found.get(part.replace("~1", "/").replace("~0", "~"), True)
    return found
