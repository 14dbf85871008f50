"""`api_key` with several keys: one provider for whoever writes routes, told apart inside, and never shown."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.config import ConfigError
from gateway.serving.listening import secrets
from gateway.settings import Secret

ROUTES = "\nroutes:\n  r: {targets: [openai/m]}\n"


def test_every_key_is_an_account_of_its_own() -> None:
    """The first has the provider's name; routes and notes know the provider only."""
    settings = config.parse('providers:\n  openai: {api_key: ["${A}", "${B}\n"]}' + ROUTES, {"A": "one", "B": "two"})
    assert {name: each.api_key for name, each in settings.asked.items()} == {
        "openai": Secret("one"),
        "openai#2": Secret("two"),
    }
    assert list(settings.providers) == ["openai"]
    assert set(secrets(settings)) >= {Secret("one"), Secret("two")}
    assert settings.notes == ()


def test_azure_sends_each_key_in_its_own_header() -> None:
    """It wants `api-key` in place of `Authorization`."""
    text = "providers:\n  openai: {api: azure, base_url: 'https://x.openai.azure.com', api_key: [one, two]}" + ROUTES
    headers = [dict(each.headers) for each in config.parse(text, {}).asked.values()]
    assert headers == [{"api-key": "one"}, {"api-key": "two"}]


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ("[]", "api_key: found a list of 0, expected at least one key"),
        ("[one, one]", "api_key[1]: the same key once more (not shown), expected each key once"),
        ("[one, '']", "api_key[1]: found an empty text, expected a key"),
        ("[one, 3]", "api_key[1]: found a number (not shown), expected a key such as"),
    ],
)
def test_a_list_that_is_wrong_is_told_without_its_keys(keys: str, fault: str) -> None:
    """Each fault by its place."""
    with pytest.raises(ConfigError) as raised:
        config.parse(f"providers:\n  openai: {{api_key: {keys}}}" + ROUTES, {})
    assert fault in str(raised.value)
    assert "one," not in str(raised.value)
