"""What we claim to know about providers is held against litellm's own lists, which are read without importing it."""

from __future__ import annotations

import ast
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.config.catalog import LITELLM, OURS, PROFILES, PROJECT, REGION

LOCAL = {"ollama", "vllm"}


@cache
def litellm_folder() -> Path:
    """Return where litellm is installed."""
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@cache
def litellm_providers() -> frozenset[str]:
    """Return the names in litellm's enumeration of providers."""
    tree = ast.parse((litellm_folder() / "types" / "utils.py").read_text())
    (enumeration,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "LlmProviders")
    assigned = [node.value for node in enumeration.body if isinstance(node, ast.Assign)]
    return frozenset(node.value for node in assigned if isinstance(node, ast.Constant) and isinstance(node.value, str))


@cache
def litellm_models() -> dict[str, Any]:
    """Return litellm's list of models with their prices."""
    models: dict[str, Any] = json.loads((litellm_folder() / "model_prices_and_context_window_backup.json").read_text())
    return models


def test_every_api_that_is_not_ours_is_one_of_litellm() -> None:
    """A word that litellm does not know would fail only at the first request."""
    ours = {profile.api for profile in PROFILES.values()} - OURS
    assert len(litellm_providers()) > 50
    assert (LITELLM | ours | REGION.keys() | PROJECT.keys()) - litellm_providers() == set()
    assert ours <= LITELLM


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_where_and_with_which_key(name: str) -> None:
    """Hosted providers are reached by https and need a key; what needs none is local or has ways of its own."""
    profile = PROFILES[name]
    if profile.base_url is not None:
        address = urlsplit(profile.base_url)
        assert address.scheme == ("http" if name in LOCAL else "https")
        assert (address.hostname == "127.0.0.1") == (name in LOCAL)
        assert not profile.base_url.endswith("/")
    assert bool(profile.keys) == (name not in LOCAL | {"bedrock", "vertex_ai"})
    assert all(variable.isupper() for variable in (*profile.keys, *profile.addresses))


@pytest.mark.parametrize(
    ("provider", "listed"),
    [
        ("openai", "gpt-5-mini"),
        ("anthropic", "claude-haiku-4-5"),
        ("gemini", "gemini/gemini-flash-latest"),
        ("mistral", "mistral/mistral-small-latest"),
        ("groq", "groq/openai/gpt-oss-120b"),
        ("deepseek", "deepseek/deepseek-v4-flash"),
    ],
)
def test_the_model_we_would_choose_exists_and_chats(provider: str, listed: str) -> None:
    """It is in litellm's list of models, as one for chat."""
    model = PROFILES[provider].model
    assert model is not None
    assert listed.endswith(model)
    assert litellm_models()[listed]["mode"] in {"chat", "responses"}
