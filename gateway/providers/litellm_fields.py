"""A chat request → litellm's keyword arguments: which of the client's fields may go in, and under which conditions.

litellm takes its own controls (`api_base`, `mock_response`, `fallbacks`, `aws_*`, ...) through the same keywords as the
parameters of a request, hundreds of them. So only names known to be parameters become keywords; whatever else a client
sends goes onto the wire beside what litellm wrote, never through litellm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gateway.domain import ChatRequest, Failure, FailureKind, Target


def _set(names: str) -> frozenset[str]:
    return frozenset(names.split())


_OPENAI = _set(
    """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_retention
    reasoning_effort response_format safety_identifier seed service_tier stop store stream_options temperature
    tool_choice tools top_logprobs top_p user verbosity web_search_options
    """
)
_OTHERS = frozenset({"thinking", "top_k"})
"""Parameters that OpenAI does not have and that litellm translates."""

_ALWAYS = frozenset({"messages", "metadata", "stream_options", "user"})
"""What litellm takes for every provider."""

_BOOKKEEPING = frozenset({"prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "store"})
"""Fields that change nothing about the answer: no reason to lose a provider that does not know them."""

_NEUTRAL: Mapping[str, Any] = {
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "top_logprobs": 0,
    "verbosity": "medium",
}
"""Values that say what happens anyway: OpenAI's defaults."""


def arguments(
    target: Target, request: ChatRequest, supported: Collection[str]
) -> tuple[dict[str, Any], dict[str, Raw]] | Failure:
    """Return litellm's keyword arguments and the fields to add on the wire, or why this provider cannot be asked.

    `supported` are the OpenAI parameters that litellm can translate for this model. Everything is decoded afresh for
    each call: litellm writes into what it is given. The target's params are the operator's and win over the client's.
    """
    known = {name: raw for name, raw in request.fields.items() if name in _OPENAI | _OTHERS}
    extra = {name: raw for name, raw in request.fields.items() if name not in known}
    values = {name: value for name, raw in known.items() if (value := msgspec.json.decode(raw)) is not None}
    values = {name: value for name, value in values.items() if name in supported or not _superfluous(name, value)}
    foreign = sorted((values.keys() & _OPENAI) - _ALWAYS - set(supported) - target.params.keys())
    if foreign:
        return _unsupported(target, foreign[0])
    if request.logprobs and "logprobs" in supported:
        values["logprobs"] = True
    values["metadata"] = _texts(values.get("metadata"))
    values |= target.params
    if target.prompt is not None:
        values["messages"] = [{"role": "system", "content": target.prompt}, *values.get("messages", ())]
    return values, extra


def _superfluous(name: str, value: Any) -> bool:
    return name in _BOOKKEEPING or (name in _NEUTRAL and value == _NEUTRAL[name])


def _texts(metadata: Any) -> dict[str, str]:
    """Return OpenAI's metadata, a map of texts: litellm keeps switches of its own among the values of other types."""
    if not isinstance(metadata, Mapping):
        return {}
    return {name: text for name, text in metadata.items() if isinstance(text, str)}


def _unsupported(target: Target, name: str) -> Failure:
    error = {
        "message": f"The provider of `{target.name}` has nothing like `{name}`. Leave it out, or ask another model.",
        "type": "invalid_request_error",
        "param": name,
        "code": "unsupported_parameter",
    }
    detail = f"the provider has nothing like {name}"
    return Failure(target.name, FailureKind.CALLER_FAULT, detail, status=400, error=error)
