"""The JSON Schema for editors says the same as the gateway does, by an independent implementation of JSON Schema."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from gateway.config import ConfigError, json_schema, shape
from gateway.config.faults import Faults
from gateway.config.node import Node

EXAMPLES = sorted((Path(__file__).parents[2] / "deploy" / "examples").glob("*.yaml"))
VALIDATOR = Draft202012Validator(json_schema())
BASE: dict[str, Any] = {
    "providers": {
        "openai": {"api_key": "k", "headers": {"a": "b"}, "query": {"v": "1"}, "concurrency": 5, "api_version": "1"},
        "house": {"api": "openai", "base_url": "http://127.0.0.1:8000/v1"},
        "vertex_ai": {"region": "eu", "project": "p", "options": {"o": [1]}},
    },
    "routes": {
        "r": {
            "targets": [
                "openai/a",
                {"model": "house/b", "name": "n", "prompt": "p", "params": {"t": 1}, "timeout": "5s", "weight": 2.5},
            ],
            "launch": {"initial": 2, "stagger": "800ms"},
            "select": ["first", {"majority": {"agree": 2}}, {"defer": "first"}],
            "on_abstain": "fail",
            "deadline": "20s",
            "timeout": "10s",
            "retries": 1,
        },
        "s": {"targets": ["openai/a"], "launch": "hedge", "select": {"quorum": {"k": 1, "of": "first"}}},
    },
    "adhoc_routes": False,
    "keys": {"web": "k"},
}
JUNK: list[Any] = [
    None, True, 0, -1, 1, 2.0, 2.5, 17, 10**6, "", " ", "x", "never", "all", "fallback", "first", "openai", "openai/x",
    "/x", "x/", "a b", "1m30s", "0s", "20", "http://h/v1", "ftp://h", "http://u@h", "ü", [], ["x"], ["openai/x"] * 17,
    {}, {"x": 1}, {"model": "openai/x"}, {"initial": 3}, {"stagger": "never"}, {"a": 1, "b": 2}, {"a/b": {}},
    {"ok": {}}, {"targets": ["a/b"]},
]  # fmt: skip
NAMES = ["x", "model", "launch", "targets", "api_key", "a b", "a,b", "/a", "", "openai", "y" * 129]


def node_of(value: Any) -> Node:
    """Return the tree that the YAML of a value gives; thousands of documents need not be parsed for it."""
    if isinstance(value, dict):
        return Node({key: node_of(inner) for key, inner in value.items()})
    return Node([node_of(inner) for inner in value] if isinstance(value, list) else value)


def gateway_allows(value: Any) -> bool:
    """Whether the gateway's own check of the shape finds nothing."""
    faults = Faults("")
    shape.check(node_of(value), faults)
    try:
        faults.raise_any()
    except ConfigError:
        return False
    return True


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Give the path of everything in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Give the sound document with one to three places replaced, removed, renamed or added to."""
    value: Any = copy.deepcopy(BASE)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([place for place in places(value) if place] or [()]))
        if not path:
            return value
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        match draw(st.sampled_from(["replace", "remove", "rename", "add"])):
            case "remove":
                del inner[path[-1]]
            case "rename" if isinstance(inner, dict):
                inner[draw(st.sampled_from(NAMES))] = inner.pop(path[-1])
            case "add" if isinstance(inner[path[-1]], dict):
                inner[path[-1]][draw(st.sampled_from(NAMES))] = copy.deepcopy(draw(st.sampled_from(JUNK)))
            case _:
                inner[path[-1]] = copy.deepcopy(draw(st.sampled_from(JUNK)))
    return value


@given(documents())
def test_the_editor_and_the_gateway_agree(value: Any) -> None:
    """A document is refused by both or by neither."""
    assert gateway_allows(value) == VALIDATOR.is_valid(value), json.dumps(value)


@pytest.mark.slow
@settings(max_examples=4_000)
@given(documents())
def test_the_editor_and_the_gateway_agree_on_thousands(value: Any) -> None:
    """The same promise, looked at for longer."""
    assert gateway_allows(value) == VALIDATOR.is_valid(value), json.dumps(value)


def test_every_place_can_be_wrong_for_both() -> None:
    """For every single place and every junk value the two agree, and each of them refuses most of it."""
    verdicts = []
    for path in places(BASE):
        for junk in JUNK:
            value: Any = copy.deepcopy(BASE)
            inner = value
            for key in path[:-1]:
                inner = inner[key]
            if path:
                inner[path[-1]] = junk
            value = value if path else junk
            verdicts.append((gateway_allows(value), VALIDATOR.is_valid(value), path, junk))
    assert not [verdict for verdict in verdicts if verdict[0] != verdict[1]]
    assert sum(not verdict[0] for verdict in verdicts) > len(verdicts) / 2


def test_the_schema_is_a_valid_schema() -> None:
    """It keeps the rules of draft 2020-12, and is plain JSON."""
    Draft202012Validator.check_schema(json_schema())
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_allows_every_example(path: Path) -> None:
    """As they stand in the file, with their variables."""
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(path.read_text()))] == []


def test_a_variable_may_stand_wherever_a_value_is_expected() -> None:
    """An editor does not underline `${NAME}`, not even where a number belongs."""
    value = copy.deepcopy(BASE)
    value["providers"]["openai"]["concurrency"] = "${CALLS}"
    value["routes"]["r"] |= {"deadline": "${D:-5s}", "retries": "${R}", "launch": "${LAUNCH}", "targets": ["${MODEL}"]}
    value["adhoc_routes"] = "${ADHOC:-false}"
    assert VALIDATOR.is_valid(value)
    value["routes"]["r"]["retries"] = "two"
    assert not VALIDATOR.is_valid(value)


def test_every_key_is_explained() -> None:
    """An editor shows a sentence for each key, and each place has its words for the message of a fault."""

    def check(part: dict[str, Any], path: str) -> Iterator[str]:
        for name, schema in part.get("properties", {}).items():
            resolved = json_schema()["$defs"]["select"] if "$ref" in schema else schema
            if not {"title", "description"} <= resolved.keys() or not resolved["description"].endswith("."):
                yield f"{path}.{name}"
            yield from check(resolved, f"{path}.{name}")
        for inner in [*part.get("anyOf", ()), part.get("items"), part.get("additionalProperties")]:
            if isinstance(inner, dict):
                yield from check(inner, f"{path}[]")

    assert list(check(json_schema(), "")) == []


def test_the_schema_that_is_given_away_can_be_changed() -> None:
    """Nobody can change what the gateway enforces by changing what they were given."""
    json_schema()["properties"].clear()
    assert json_schema()["properties"]
    assert gateway_allows(BASE)
