"""The values that the simulator makes for a JSON Schema are valid, as an independent validator judges."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.providers.simulator.instances import instance

jsonschema = pytest.importorskip("jsonschema", reason="the judge")

TREE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        "children": {"type": "array", "items": {"$ref": "#"}},
    },
    "required": ["value", "left", "children"],
    "additionalProperties": False,
}

SCHEMAS: dict[str, Any] = {
    "anything": {},
    "true": True,
    "strict tool": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 2, "maximum": 7},
        },
        "required": ["city", "unit", "days"],
        "additionalProperties": False,
    },
    "nothing required": {"type": "object", "properties": {"a": {"type": "string"}}},
    "nullable": {"type": ["string", "null"]},
    "only null": {"type": "null"},
    "const": {"const": {"a": [1]}},
    "any of": {
        "anyOf": [{"type": "null"}, {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}]
    },
    "one of with siblings": {
        "type": "object",
        "required": ["k"],
        "properties": {"k": {"oneOf": [{"const": 1}, {"const": 2}]}},
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"$ref": "#/$defs/b"},
        ],
        "$defs": {"b": {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}},
    },
    "definitions": {
        "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        "type": "object",
        "properties": {"points": {"type": "array", "items": {"$ref": "#/$defs/Point"}, "minItems": 3}},
        "required": ["points"],
    },
    "tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "minItems": 2},
    "unique strings": {"type": "array", "items": {"type": "string"}, "minItems": 4, "uniqueItems": True},
    "at most none": {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    "recursive": TREE,
    "lengths": {"type": "string", "minLength": 12, "maxLength": 14},
    "short": {"type": "string", "maxLength": 1},
    "date": {"type": "string", "format": "date"},
    "negative": {"type": "integer", "maximum": -3},
    "open interval": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
    "above": {"type": "integer", "exclusiveMinimum": 41},
    "below": {"type": "integer", "exclusiveMaximum": -1},
    "fraction as bound of an integer": {"type": "integer", "minimum": 1.5, "maximum": 2.5},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 15},
    "multiple below": {"type": "integer", "multipleOf": 5, "maximum": -1},
    "percent": {"type": "number", "minimum": 0, "maximum": 1},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_instance_is_valid(name: str) -> None:
    """The value satisfies its schema, formats included."""
    schema = SCHEMAS[name]
    judge = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    assert [error.message for error in judge.iter_errors(instance(schema))] == []


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}]}, {"$ref": "#/nowhere"}, {"type": 7}, False, None]
)
def test_a_senseless_schema_ends_in_some_value(schema: Any) -> None:
    """A schema that refers to itself, to nothing, or is none at all does not hang and does not raise."""
    assert instance(schema) in ("text", None, {})
