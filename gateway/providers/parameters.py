"""The parameters of OpenAI's chat completions, for providers that speak something else: which of them matter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gateway.domain import Failure, FailureKind, Target


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


OPENAI = _set(
    """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier
    stop store stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
    """
)
"""Every field of a request but `model` and `stream`."""

_BOOKKEEPING = _set(
    "metadata prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier service_tier store user"
)
"""Fields that change nothing about the answer: no reason to lose a provider that does not know them."""

_NEUTRAL: Mapping[str, Any] = {
    "frequency_penalty": 0,
    "function_call": "auto",
    "logit_bias": {},
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "service_tier": "auto",
    "store": False,
    "temperature": 1,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1,
    "verbosity": "medium",
}
"""Values that say what happens anyway: OpenAI's defaults."""


def sifted(values: Mapping[str, Any], taken: Collection[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields without those that change nothing about the answer and that a provider does not take.

    Beside them come the names of those left out that the client should hear of: all but defaults.
    """
    kept: dict[str, Any] = {}
    unsaid = []
    for name, value in values.items():
        if name not in taken and name in _NEUTRAL and value == _NEUTRAL[name]:
            continue
        if name not in taken and name in _BOOKKEEPING:
            unsaid.append(name)
        else:
            kept[name] = value
    return kept, tuple(unsaid)


def unsupported(target: Target, name: str) -> Failure:
    """Return the failure of a target whose provider has nothing like a field."""
    error = {
        "message": f"The provider of `{target.name}` has nothing like `{name}`. Leave it out, or ask another model.",
        "type": "invalid_request_error",
        "param": name,
        "code": "unsupported_parameter",
    }
    detail = f"the provider has nothing like {name}"
    return Failure(target.name, FailureKind.CALLER_FAULT, detail, status=400, error=error)
