"""Check a tree of nodes against the schema: every place that does not fit becomes a fault."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.config.document import number_or_truth
from gateway.config.faults import Faults, did_you_mean, one_of
from gateway.config.node import Node, step
from gateway.config.schema import DOCUMENT
from gateway.config.schema.terms import Schema

_TYPES: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def check(node: Node, faults: Faults, schema: Schema = DOCUMENT) -> None:
    """Add a fault for everything in the tree that the schema does not allow.

    The keywords it knows are the ones that the schema uses; a test holds it against an independent implementation.
    """
    schema = _resolved(schema)
    node.secret = schema.get("writeOnly", node.secret)
    if node.faulty:
        return
    branch = _branch(node, schema)
    if branch is None:
        _wrong_type(node, schema, faults)
    elif isinstance(node.value, dict):
        _mapping(node, branch, faults)
    elif isinstance(node.value, list):
        _list(node, branch, faults)
    elif isinstance(node.value, str):
        _text(node, branch, faults)
    else:
        _number(node, branch, faults)


def _resolved(schema: Schema) -> Schema:
    reference: str = schema.get("$ref", "")
    definitions: dict[str, Schema] = DOCUMENT["$defs"]
    return definitions[reference.rpartition("/")[2]] if reference else schema


def _branch(node: Node, schema: Schema) -> Schema | None:
    """Return the alternative that is about this type of value, or None when there is none."""
    branches: list[Schema] = schema.get("anyOf", [schema])
    for branch in branches:
        wanted = branch.get("type")
        if node.variable and wanted in {"integer", "number", "boolean"}:
            node.value = number_or_truth(node.value)  # the environment holds only text
        if wanted == "integer" and isinstance(node.value, float) and node.value.is_integer():
            node.value = int(node.value)  # as JSON Schema has it: 2.0 is an integer
        if wanted is None or _TYPES[wanted](node.value):
            return branch
    return None


def _wrong_type(node: Node, schema: Schema, faults: Faults) -> None:
    named = (each for each in schema.get("anyOf", [schema]) if each.get("title") == schema["title"])
    any_text = any(each.get("type") == "string" and not {"pattern", "enum"} & each.keys() for each in named)
    unquoted = any_text and isinstance(node.value, (bool, int, float))
    faults.found(node, schema["title"], "put the value in quotes" if unquoted else "")


def _text(node: Node, schema: Schema, faults: Faults) -> None:
    choices = schema.get("enum")
    if choices is not None and node.value not in choices:
        faults.found(node, schema["title"], did_you_mean(node, node.value, choices))
    elif "pattern" in schema and not re.fullmatch(schema["pattern"], node.value):
        faults.found(node, schema["title"])


def _number(node: Node, schema: Schema, faults: Faults) -> None:
    too_small = "minimum" in schema and node.value < schema["minimum"]
    not_above = "exclusiveMinimum" in schema and node.value <= schema["exclusiveMinimum"]
    if too_small or not_above or ("maximum" in schema and node.value > schema["maximum"]):
        faults.found(node, schema["title"])


def _list(node: Node, schema: Schema, faults: Faults) -> None:
    if not schema.get("minItems", 0) <= len(node.value) <= schema.get("maxItems", len(node.value)):
        faults.add(node, f"found a list of {len(node.value)}", schema["title"])
    for item in node.value:
        item.secret = node.secret
        check(item, faults, schema.get("items", {}))


def _mapping(node: Node, schema: Schema, faults: Faults) -> None:
    if not schema.get("minProperties", 0) <= len(node.value) <= schema.get("maxProperties", len(node.value)):
        faults.add(node, f"found a mapping of {len(node.value)}", schema["title"])
    known: dict[str, Schema] = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in node.value:
            faults.missing(step(node.path, key), node, known[key]["title"])
    names: Schema | None = schema.get("propertyNames")
    others: Schema | bool = schema.get("additionalProperties", {})
    for key, child in node.value.items():
        child.secret = node.secret
        if "${" in key:
            faults.add(child, "a variable in a key", "variables in values only")
        elif names is not None and not re.fullmatch(names["pattern"], key):
            faults.add(child, "a name that cannot be used", names["title"])
        elif key in known:
            check(child, faults, known[key])
        elif isinstance(others, dict):
            check(child, faults, others)
        else:
            faults.add(child, "unknown key", one_of(known), did_you_mean(Node(key), key, known))
