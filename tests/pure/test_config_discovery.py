"""`hedgerow serve` without a file: what the environment means, what clients may ask for, and what is said about it."""

# ruff: noqa: E501 -- sentences that are tested word for word

from __future__ import annotations

import hashlib
import math

import pytest

from gateway.config import ConfigError, discover
from gateway.config.catalog import PROFILES
from gateway.domain import Launch
from gateway.settings import Secret

KEY = "Zq8_vR2mXw5-tB9nLc4yKd7jHf3gPs6a"


def refusal(**environ: str) -> str:
    """Return what is said about an environment that cannot be used."""
    with pytest.raises(ConfigError) as refused:
        discover(environ)
    return str(refused.value)


def test_nothing_found_is_one_sentence_with_the_variables_and_the_way_out() -> None:
    """Whoever has no key at all is sent to the demo."""
    assert refusal(PATH="/bin", OPENAI_API_KEY="", GROQ_API_KEY=" ") == (
        "environment: no provider found, expected one of the variables OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, "
        "MISTRAL_API_KEY, GROQ_API_KEY, DEEPSEEK_API_KEY, OPENROUTER_API_KEY, AZURE_OPENAI_API_KEY, OLLAMA_HOST, "
        "VLLM_BASE_URL, TOGETHER_API_KEY, FIREWORKS_API_KEY, XAI_API_KEY, CEREBRAS_API_KEY, PERPLEXITY_API_KEY, "
        "NVIDIA_API_KEY, COHERE_API_KEY; `hedgerow demo` runs without any key"
    )


def test_three_keys_make_a_hedge_a_race_a_vote_and_a_route_each() -> None:
    """The order of preference is ours, not the environment's."""
    settings = discover({"GROQ_API_KEY": "g", "ANTHROPIC_API_KEY": "a\n", "OPENAI_API_KEY": "o"})
    everybody = ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "groq/openai/gpt-oss-120b"]
    shape = {
        route.name: (route.launch, route.select.name, [target.name for target in route.targets])
        for route in settings.routes.values()
    }
    assert shape == {
        "auto": (Launch(1, 2.0), "first", everybody),
        "fast": (Launch(3, math.inf), "first", everybody),
        "vote": (Launch(3, math.inf), "majority | priority", everybody),
        "openai": (Launch(1, math.inf), "first", everybody[:1]),
        "anthropic": (Launch(1, math.inf), "first", everybody[1:2]),
        "groq": (Launch(1, math.inf), "first", everybody[2:]),
    }
    assert list(shape) == ["auto", "fast", "vote", "openai", "anthropic", "groq"]
    assert settings.providers["anthropic"].api_key == Secret("a")
    assert (settings.adhoc, settings.keys) == (True, {})
    assert settings.notes == (
        "Found openai (OPENAI_API_KEY), anthropic (ANTHROPIC_API_KEY), groq (GROQ_API_KEY).",
        "Clients may ask for auto (one target; the next after 2s, or when it fails), fast (all at once, the first answer), vote (all at once, what the majority says), openai, anthropic, groq.",
        "These routes ask openai/gpt-5-mini, anthropic/claude-haiku-4-5, groq/openai/gpt-oss-120b; HEDGEROW_MODELS chooses others.",
        "Clients may name any model of these providers as provider/model, several with commas between them.",
    )


@pytest.mark.parametrize(("variables", "routes"), [(1, {"auto"}), (2, {"auto", "fast"}), (3, {"auto", "fast", "vote"})])
def test_a_race_needs_two_and_a_vote_needs_three(variables: int, routes: set[str]) -> None:
    """No route promises what it cannot do."""
    keys = ["OPENAI_API_KEY", "MISTRAL_API_KEY", "DEEPSEEK_API_KEY"][:variables]
    found = discover(dict.fromkeys(keys, "k")).routes
    assert set(found) & {"auto", "fast", "vote"} == routes


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.keys and name != "azure"])
def test_every_known_key_makes_a_provider(name: str) -> None:
    """Each alone, under each of its variables."""
    for variable in PROFILES[name].keys:
        settings = discover({variable: "k"})
        assert list(settings.providers) == [name]
        assert settings.providers[name].api_key == Secret("k")
        assert settings.notes[0] == f"Found {name} ({variable})."
        assert bool(settings.routes) == (PROFILES[name].model is not None)


def test_a_provider_of_which_we_know_no_model_is_there_for_who_names_one() -> None:
    """It gets no route of its own, and the notes say how to use it."""
    settings = discover({"XAI_API_KEY": "k"})
    assert settings.routes == {}
    assert "We know no model of xai: name one in HEDGEROW_MODELS." in settings.notes
    assert list(discover({"XAI_API_KEY": "k", "HEDGEROW_MODELS": "xai/grok-4.3"}).routes) == ["auto", "xai"]


def test_hedgerow_models_replaces_the_choice_of_models() -> None:
    """In the order in which they are written, with several of one provider as that provider's fallbacks."""
    settings = discover(
        {"OPENAI_API_KEY": "o", "GROQ_API_KEY": "g", "HEDGEROW_MODELS": " groq/b/c, openai/a ,openai/a2, "}
    )
    assert [target.name for target in settings.routes["auto"].targets] == ["groq/b/c", "openai/a", "openai/a2"]
    assert [target.name for target in settings.routes["openai"].targets] == ["openai/a", "openai/a2"]
    assert settings.routes["openai"].launch == Launch(1, math.inf)


def test_hedgerow_models_of_unknown_providers_are_told_all_at_once() -> None:
    """With the variable that would bring the provider, where there is one."""
    assert refusal(OPENAI_API_KEY="o", HEDGEROW_MODELS="openai/a,groq/b,nobody") == (
        'environment: HEDGEROW_MODELS: found "groq/b", expected provider/model with a provider that is found (openai); '
        "set GROQ_API_KEY\n"
        'environment: HEDGEROW_MODELS: found "nobody", expected provider/model with a provider that is found (openai)'
    )


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("openai/", 'found "openai/", expected provider/model such as openai/gpt-5-mini'),
        (",".join(["openai/a"] * 17), "found a list of 17, expected at most 16 models"),
    ],
)
def test_hedgerow_models_that_cannot_be_targets_are_told_once(models: str, message: str) -> None:
    """Although they stand in several routes."""
    assert refusal(OPENAI_API_KEY="o", HEDGEROW_MODELS=models) == f"environment: HEDGEROW_MODELS: {message}"


def test_hedgerow_models_is_no_template() -> None:
    """What looks like a variable in it is a part of the model's name."""
    settings = discover({"OPENAI_API_KEY": "o", "HEDGEROW_MODELS": "openai/${OPENAI_API_KEY}"})
    assert settings.routes["auto"].targets[0].model == "${OPENAI_API_KEY}"


def test_azure_needs_key_endpoint_and_deployment() -> None:
    """With half of it a note says what is missing."""
    half = discover({"OPENAI_API_KEY": "o", "AZURE_OPENAI_API_KEY": "z"})
    assert "azure" not in half.providers
    assert half.notes[-1] == (
        "AZURE_OPENAI_API_KEY is set, but azure needs both AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT: it is left out."
    )
    endpoint = {"AZURE_OPENAI_API_KEY": "z", "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com/"}
    assert discover(endpoint).routes == {}
    whole = discover(endpoint | {"AZURE_OPENAI_DEPLOYMENT": "our-gpt"})
    assert [target.name for target in whole.routes["auto"].targets] == ["azure/our-gpt"]
    assert whole.providers["azure"].base_url == "https://x.openai.azure.com/openai/v1"
    assert dict(whole.providers["azure"].headers) == {"api-key": "z"}


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0", "http://127.0.0.1:11434/v1"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234/v1"),
        (":1234", "http://127.0.0.1:1234/v1"),
        ("gpu.lan:11434", "http://gpu.lan:11434/v1"),
        ("http://gpu.lan", "http://gpu.lan/v1"),
        ("https://gpu.lan/ollama/", "https://gpu.lan/ollama/v1"),
        ("http://gpu.lan:11434/v1/", "http://gpu.lan:11434/v1"),
        ("[::1]:11434", "http://[::1]:11434/v1"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, address: str) -> None:
    """It may lack the scheme, the port and the path, and may be the address that the server listens on."""
    for variable in ("OLLAMA_HOST", "OLLAMA_BASE_URL"):
        settings = discover({variable: host})
        assert settings.providers["ollama"].base_url == address
        assert [target.name for target in settings.routes["auto"].targets] == ["ollama/qwen3"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OLLAMA_HOST": "gpu:99999"}, 'OLLAMA_HOST: found "gpu:99999", expected an address such as http://127.0.0.1:8000/v1, without user, password and query'),
        ({"VLLM_BASE_URL": "gpu"}, "VLLM_BASE_URL: found text (not shown), expected an address such as http://127.0.0.1:8000/v1, without user, password and query"),
        ({"OPENAI_API_KEY": "a b"}, "OPENAI_API_KEY: a key with spaces, line breaks or non-ASCII characters (not shown), expected the key alone"),
        ({"OPENAI_API_KEY": "k", "HEDGEROW_KEY": "sk-1234"}, "HEDGEROW_KEY: a key that is too short (not shown), expected at least 32 characters; make one with `openssl rand -hex 32`"),
    ],
)  # fmt: skip
def test_a_fault_is_told_as_one_of_the_variable_it_comes_from(environ: dict[str, str], message: str) -> None:
    """There is no file whose path and line could be told."""
    assert refusal(**environ) == f"environment: {message}"


def test_openai_base_url_moves_openai_and_needs_no_key() -> None:
    """A local server that speaks for OpenAI often wants none."""
    settings = discover({"OPENAI_BASE_URL": "http://127.0.0.1:9000/v1"})
    assert (settings.providers["openai"].base_url, settings.providers["openai"].api_key) == (
        "http://127.0.0.1:9000/v1",
        None,
    )
    both = discover({"OPENAI_BASE_URL": "http://127.0.0.1:9000/v1", "OPENAI_API_KEY": "k"})
    assert both.notes[0] == "Found openai (OPENAI_API_KEY, OPENAI_BASE_URL)."


def test_hedgerow_key_is_what_clients_must_show() -> None:
    """It is kept as its digest only."""
    settings = discover({"OPENAI_API_KEY": "o", "HEDGEROW_KEY": KEY})
    assert settings.keys == {"default": hashlib.sha256(KEY.encode()).hexdigest()}


def test_no_value_of_the_environment_is_in_the_settings_or_the_notes() -> None:
    """Only the names of variables are told."""
    names = [name for profile in PROFILES.values() for name in profile.keys]
    settings = discover({name: f"c4n4ry-{name}" for name in names} | {"HEDGEROW_KEY": KEY})
    assert len(settings.providers) > 10
    assert "c4n4ry" not in repr(settings)
    assert KEY not in repr(settings)
