"""A LiteLLM proxy's configuration becomes one of ours that is sound, and nothing is left out without a word."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import parse
from gateway.config.from_litellm import CannotImport, from_litellm
from gateway.domain import Launch
from gateway.settings import Settings

PROXY = """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: os.environ/AZURE_API_BASE
      api_key: "os.environ/AZURE_API_KEY"
      api_version: "2024-08-01-preview"
      rpm: 6
      timeout: 30
      order: 1
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, stream_timeout: 5, temperature: 0.2, order: 0}
    model_info: {max_input_tokens: 128000, input_cost_per_token: 0.0000025, output_cost_per_token: 0.00001}
  - model_name: claude
    litellm_params: {model: claude-haiku-4-5, additional_drop_params: [logit_bias], max_retries: 2}
  - model_name: local
    litellm_params: {model: ollama_chat/llama3, api_base: "http://localhost:11434"}
  - model_name: vllm model
    litellm_params: {model: hosted_vllm/qwen, api_base: "http://10.0.0.2:8000/v1"}
  - model_name: bedrock
    litellm_params: {model: bedrock/anthropic.claude-3, aws_region_name: eu-central-1, aws_access_key_id: os.environ/AWS_ID}
  - model_name: vertex
    litellm_params: {model: vertex_ai/gemini-flash, vertex_project: p, vertex_location: us-central1}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
  - model_name: embed
    litellm_params: {model: text-embedding-3-small, litellm_credential_name: main}
    model_info: {mode: embedding}
  - model_name: other
    litellm_params: {model: weird/thing}
  - nonsense
credential_list:
  - credential_name: main
    credential_values: {api_key: os.environ/SECOND_KEY, organization: org-1}
litellm_settings:
  drop_params: true
  num_retries: 3
  request_timeout: 300
  cache: true
  success_callback: [langfuse]
  fallbacks: [{gpt-4o: [claude, missing]}]
  context_window_fallbacks: [{claude: [gpt-4o]}]
  content_policy_fallbacks: [{local: [claude]}]
router_settings:
  routing_strategy: simple-shuffle
  model_group_alias: {gpt-4: gpt-4o, gone: nothing}
  redis_host: x
general_settings: {master_key: os.environ/LITELLM_MASTER_KEY, database_url: "postgresql://user:password@db/x"}
environment_variables: {FOO: bar}
"""  # noqa: E501 -- as people write them
ENVIRON = {
    "AZURE_API_BASE": "https://acme.openai.azure.com",
    "LITELLM_MASTER_KEY": "Zq8_vR2mXw5-tB9nLc4yKd7jHf3gPs6a",
    **dict.fromkeys(("AZURE_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SECOND_KEY", "AWS_ID"), "key-of-it"),
}


def imported(text: str, **environ: str) -> Settings:
    return parse(from_litellm(text).text, ENVIRON | environ)


def one(params: str, more: str = "") -> str:
    return f"model_list: [{{model_name: m, litellm_params: {params}}}]\n{more}"


def test_groups_become_routes_and_fallbacks_stand_behind() -> None:
    """Deployments in their order, then the groups that one falls back to; aliases are routes of their own."""
    routes = imported(PROXY).routes
    assert {name: [target.name for target in route.targets] for name, route in routes.items()} == {
        "gpt-4o": ["openai/gpt-4o", "azure/gpt-4o-eu", "anthropic/claude-haiku-4-5"],
        "claude": ["anthropic/claude-haiku-4-5", "openai/gpt-4o", "azure/gpt-4o-eu"],
        "local": ["ollama/llama3", "anthropic/claude-haiku-4-5"],
        "bedrock": ["bedrock/anthropic.claude-3"],
        "vertex": ["vertex_ai/gemini-flash"],
        "embed": ["openai-2/text-embedding-3-small"],
        "gpt-4": ["openai/gpt-4o", "azure/gpt-4o-eu", "anthropic/claude-haiku-4-5"],
    }
    assert routes["gpt-4o"].launch == Launch(1)
    assert (routes["local"].evades, routes["claude"].evades) == (True, False)
    first, second, third = routes["gpt-4o"].targets
    assert (first.first_token, first.context, first.defaults) == (5.0, 128_000, {"temperature": 0.2})
    assert first.price is not None
    assert (first.price.input, first.price.output) == (2.5, 10.0)
    assert (second.timeout, third.timeout) == (30.0, 300.0)
    assert {target.retries for target in routes["gpt-4o"].targets} == {3}
    assert {target.on_unsupported for route in routes.values() for target in route.targets} == {"drop"}
    assert third.drop == {"logit_bias"}


def test_providers_keep_their_addresses_keys_and_clouds() -> None:
    """Variables stay variables; the same account is one provider, another key is another one."""
    settings = imported(PROXY)
    providers = settings.providers
    assert list(providers) == ["azure", "openai", "anthropic", "ollama", "bedrock", "vertex_ai", "openai-2"]
    assert providers["azure"].base_url == "https://acme.openai.azure.com/openai/v1"
    assert providers["ollama"].base_url == "http://localhost:11434/v1"
    assert providers["bedrock"].options == {"aws_region_name": "eu-central-1", "aws_access_key_id": "key-of-it"}
    assert providers["vertex_ai"].options == {"vertex_project": "p", "vertex_location": "us-central1"}
    assert providers["openai-2"].headers == {"openai-organization": "org-1"}
    assert settings.adhoc  # for the wildcard
    assert list(settings.keys) == ["master"]


def test_everything_that_is_not_carried_over_is_named() -> None:
    """With its path and the reason or the cure, and without any value that could be a secret."""
    notes = from_litellm(PROXY).notes
    assert [note.partition(": ")[0] for note in notes] == [
        "model_list[0].litellm_params.api_version",
        "model_list[0].litellm_params.rpm",
        "model_list[2].litellm_params.max_retries",
        "model_list[4].litellm_params",
        "model_list[7].litellm_params.model",
        "model_list[9].litellm_params.model",
        "fallbacks of gpt-4o",
        "model_group_alias.gone",
        "general_settings.master_key",
        "litellm_settings.cache",
        "litellm_settings.success_callback",
        "router_settings.routing_strategy",
        "router_settings.redis_host",
        "general_settings.database_url",
        "environment_variables",
    ]
    assert "password" not in repr(notes)


@pytest.mark.parametrize(
    ("params", "api", "model"),
    [
        ("{model: gpt-4o}", "openai", "gpt-4o"),
        ("{model: openai/org/x}", "openai", "org/x"),
        ("{model: groq/openai/gpt-oss-120b}", "groq", "openai/gpt-oss-120b"),
        ("{model: together_ai/m, api_key: k}", "together", "m"),
        ("{model: 'ft:gpt-4o:acme::1'}", "openai", "ft:gpt-4o:acme::1"),
        ("{model: qwen, custom_llm_provider: hosted_vllm, api_base: 'http://h:1/v1'}", "vllm", "qwen"),
        ("{model: mine/qwen, api_base: 'http://h:1/v1'}", "openai", "qwen"),
        ("{model: qwen, api_base: 'http://h:1/v1'}", "openai", "qwen"),
        ("{model: bedrock/us.anthropic.claude}", "bedrock", "us.anthropic.claude"),
    ],
)
def test_the_provider_is_the_one_that_litellm_would_ask(params: str, api: str, model: str) -> None:
    """By its prefix, its own word or the model's name; with an address, any other is an OpenAI-compatible server."""
    settings = imported(one(params), GROQ_API_KEY="k", OPENAI_API_KEY="k")
    (target,) = settings.routes["m"].targets
    assert (target.provider, target.model) == (api, model)


def test_what_our_own_rules_refuse_is_said_at_once() -> None:
    """The result is held against them, so that nobody finds out later."""
    (note,) = from_litellm(one("{model: openai/x, api_base: 'ftp://h'}")).notes
    assert note.startswith("to be mended by hand: providers.openai.base_url: ")


@pytest.mark.parametrize(
    ("text", "said"), [("a: [", "line 1"), ("[]", "model_list"), ("model_list: {}", "model_list"), ("{}", "model_list")]
)
def test_what_is_no_proxy_s_configuration_is_refused(text: str, said: str) -> None:
    """One sentence, never a traceback, and no word of the file."""
    with pytest.raises(CannotImport, match=said):
        from_litellm(text)


ODD: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5) | st.just("os.environ/X"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMED = ("model", "api_base", "api_key", "timeout", "extra_headers", "order", "rpm", "input_cost_per_token", "aws_x")
ENTRY = st.fixed_dictionaries(
    {"model_name": st.sampled_from(["a", "b"]) | ODD},
    optional={"litellm_params": st.dictionaries(st.sampled_from(NAMED), ODD | st.just("gpt-4o")), "model_info": ODD},
)
SETTINGS = ("fallbacks", "num_retries", "request_timeout", "model_group_alias", "default_fallbacks", "drop_params")


@hypothesis.settings(deadline=None)
@given(st.lists(ENTRY, min_size=1, max_size=4), st.dictionaries(st.sampled_from(SETTINGS), ODD), ODD)
def test_whatever_stands_in_the_file_there_is_a_result(entries: Any, settings: Any, credentials: Any) -> None:
    """Odd values are left out or named; the result is always YAML."""
    document = {"model_list": entries, "litellm_settings": settings, "credential_list": credentials}
    result = from_litellm(yaml.safe_dump(document, allow_unicode=True))
    assert isinstance(yaml.safe_load(result.text), dict)
