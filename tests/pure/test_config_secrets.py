"""No error, no traceback and no `repr` ever holds a credential, wherever in the file it was put by mistake."""

from __future__ import annotations

import copy
import json
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.config import ConfigError, parse
from gateway.settings import Settings

CANARY = "sk-proj-c4n4ryC4N4RYc4n4ryC4N4RYc4n4ry"
PLAIN = "correct horse battery staple"
VARIABLES = {"CANARY": CANARY, "PLAIN": PLAIN, "NUMBER": "8675309"}
FORBIDDEN = (CANARY, CANARY[8:], PLAIN, "8675309", "c4n4ry")

DOCUMENT: dict[str, Any] = {
    "providers": {
        "openai": {"api_key": "sk-1", "headers": {"x-a": "b"}, "query": {"c": "d"}, "concurrency": 5},
        "house": {"api": "openai", "base_url": "http://127.0.0.1:8000/v1"},
        "bedrock": {"region": "eu-west-1", "options": {"aws_secret_access_key": "e"}},
    },
    "routes": {
        "r": {
            "targets": [
                "openai/a",
                {"model": "house/b", "name": "n", "prompt": "p", "params": {"t": 1}, "timeout": "5s", "weight": 2},
                "bedrock/c",
            ],
            "launch": {"initial": 2, "stagger": "800ms"},
            "select": [{"majority": {"key": "number", "agree": 2}}, {"weighted": {"weights": {"n": 1}}}],
            "on_abstain": "fail",
            "deadline": "20s",
            "timeout": "10s",
            "retries": 1,
        },
        "s": {"targets": ["openai/a"], "launch": "hedge", "select": "first"},
    },
    "adhoc_routes": False,
    "keys": {"web": "Zq8_vR2mXw5-tB9nLc4yKd7jHf3gPs6a"},
}

INTENDED = {"prompt", "params", "model", "name", "base_url", "region", "targets"}
"""Where a value is the operator's text to a model, or a name or address that the gateway itself shows."""

HARMLESS = {"api", "base_url", "concurrency", "region"}
"""What messages do quote of a provider."""


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Give the path of everything in a document, the document itself first."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def with_value(path: tuple[str | int, ...], value: Any) -> Any:
    """Return the document with another value at a path."""
    if not path:
        return value
    changed = copy.deepcopy(DOCUMENT)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def told(text: str, *, environ: dict[str, str] = VARIABLES) -> tuple[str, Settings | None]:
    """Return all that can be seen of reading a configuration: the error and its traceback, or the settings."""
    try:
        settings = parse(text, environ)
    except ConfigError as error:
        shown = [str(error), repr(error), repr(error.faults), *traceback.format_exception(error)]
        return "\n".join(shown), None
    return repr(settings), settings


@pytest.mark.parametrize("path", list(places(DOCUMENT)), ids=str)
@pytest.mark.parametrize(
    "value",
    [
        "${CANARY}",
        "${PLAIN}",
        "${NUMBER}",
        "x${CANARY}y",
        "${UNSET:-" + CANARY + "}",
        CANARY,
        [CANARY],
        {CANARY: 1},
        {"openai": CANARY},
        {"api_key": "${PLAIN}"},
        ["${CANARY}", {"${CANARY}": "${PLAIN}"}],
        f"https://user:{CANARY}@host/v1",
    ],
    ids=str,
)
def test_a_credential_in_any_place_is_never_told(path: tuple[str | int, ...], value: Any) -> None:
    """In every place of a full document, as a variable and as a literal key: no message shows it."""
    shown, settings = told(json.dumps(with_value(path, value)))
    if settings is not None and INTENDED & set(path):
        return
    assert not [word for word in FORBIDDEN if word in shown]


@pytest.mark.parametrize("path", [p for p in places(DOCUMENT["providers"]) if p and p[-1] not in HARMLESS], ids=str)
@pytest.mark.parametrize("value", ["hunter2 hunter2", ["hunter2"], 20012001, "hunter2", {"hunter": "hunter2"}], ids=str)
def test_among_the_providers_even_a_harmless_looking_value_is_not_told(path: tuple[str | int, ...], value: Any) -> None:
    """What stands where credentials stand is hidden by its place, not by its looks."""
    shown, _ = told(json.dumps(with_value(("providers", *path), value)))
    assert "hunter2" not in shown
    assert "20012001" not in shown


@pytest.mark.parametrize("name", list(DOCUMENT["keys"]))
@pytest.mark.parametrize(
    "value", ["hunter2", "", 20012001, ["hunter2"], {"hunter2": 1}, "hunter2 " * 9, "hünter2" * 9], ids=str
)
def test_a_refused_client_key_is_not_told(name: str, value: Any) -> None:
    """Too short, too weak, of the wrong type or with spaces: the sentence names the client only."""
    shown, settings = told(json.dumps(with_value(("keys", name), value)))
    assert settings is None
    assert "keys.web: " in shown
    assert not [line for line in shown.split("\n") if "ter2" in line and "keys.web.hunter2" not in line]
    assert "20012001" not in shown


@pytest.mark.parametrize(
    "text",
    [
        f"api_key: {CANARY}: {CANARY}",
        f"api_key: *{CANARY}",
        f'api_key: "{CANARY}',
        f"api_key: '{CANARY}\n",
        f"api_key: [{CANARY}",
        f"api_key: {{{CANARY}",
        f"api_key: {{a: {{b: {CANARY}}}",
        f"api_key: !{CANARY} x",
        f"api_key: !!{CANARY} x",
        f"api_key: !{CANARY}!x y",
        f"%{CANARY}\n---\na: b",
        f"api_key: @{CANARY}",
        f"api_key: `{CANARY}`",
        f"api_key: %{CANARY}",
        f"api_key:\n\t{CANARY}",
        f"  api_key: a\n {CANARY}: b\n",
        f"api_key: |x{CANARY}\n  a\n",
        f"? {CANARY}\n: [\n",
        f"{CANARY}\nkey: value",
        f"{{{{{CANARY}}}}}: 1",
        f"api_key: &{CANARY} [*{CANARY}]",
        f"{CANARY}: 1\n{CANARY}: 2",
        f"{CANARY}: {CANARY}\n---\n{CANARY}: {CANARY}",
        f'api_key: "\\x{CANARY}"',
        f"api_key: \x01{CANARY}",
        f"<<: {CANARY}",
        CANARY,
    ],
)
def test_broken_yaml_around_a_credential_does_not_tell_it(text: str) -> None:
    """The parser's own message would carry the name of an alias, a tag or a directive."""
    shown, settings = told(text)
    assert settings is None
    assert not [word for word in FORBIDDEN if word in shown]


def test_a_sound_configuration_shows_none_of_its_credentials() -> None:
    """The settings hold the keys, and their `repr`, which ends up in logs and debuggers, shows stars."""
    text = """
providers:
  openai: {api_key: "${CANARY}", headers: {x-key: "${CANARY}"}, query: {key: "${CANARY}"}}
  azure: {base_url: "https://x.openai.azure.com", api_key: "${CANARY}"}
  bedrock: {options: {aws_secret_access_key: "${CANARY}"}}
adhoc_routes: true
keys: {web: "${CANARY}"}
"""
    shown, settings = told(text)
    assert settings is not None
    azure, bedrock, openai = (settings.providers[name] for name in ("azure", "bedrock", "openai"))
    assert openai.api_key is not None
    assert [openai.api_key.reveal(), openai.headers["x-key"], openai.query["key"]] == [CANARY] * 3
    assert [azure.headers["api-key"], bedrock.options["aws_secret_access_key"]] == [CANARY] * 2
    assert not [word for word in FORBIDDEN if word in shown + str(openai) + f"{openai.headers}"]
    assert "'x-key': '***'" in shown


def test_an_error_says_the_name_of_a_missing_variable_and_no_other_value_of_the_environment() -> None:
    """A default is not shown either."""
    shown, _ = told('providers: {openai: {api_key: "${MISSING}${UNSET:-hunter2}${CANARY}"}}\nadhoc_routes: true')
    assert "the variable MISSING is not set" in shown
    assert not [word for word in (*FORBIDDEN, "hunter2") if word in shown]
