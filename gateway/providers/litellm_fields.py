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

from gateway.domain import ChatRequest, Failure, Target
from gateway.providers.parameters import OPENAI, superfluous, unsupported

_OTHERS = frozenset({"thinking", "top_k"})
"""Parameters that OpenAI does not have and that litellm translates."""

_ALWAYS = frozenset({"messages", "metadata", "stream_options", "user"})
"""What litellm takes for every provider."""


def arguments(
    target: Target, request: ChatRequest, supported: Collection[str]
) -> tuple[dict[str, Any], dict[str, Raw]] | Failure:
    """Return litellm's keyword arguments and the fields to add on the wire, or why this provider cannot be asked.

    `supported` are the OpenAI parameters that litellm can translate for this model. Everything is decoded afresh for
    each call: litellm writes into what it is given. The target's params are the operator's and win over the client's.
    """
    known = {name: raw for name, raw in request.fields.items() if name in OPENAI | _OTHERS}
    extra = {name: raw for name, raw in request.fields.items() if name not in known}
    values = {name: value for name, raw in known.items() if (value := msgspec.json.decode(raw)) is not None}
    values = {name: value for name, value in values.items() if name in supported or not superfluous(name, value)}
    foreign = sorted((values.keys() & OPENAI) - _ALWAYS - set(supported) - target.params.keys())
    if foreign:
        return unsupported(target, foreign[0])
    if request.logprobs and "logprobs" in supported:
        values["logprobs"] = True
    values["metadata"] = _texts(values.get("metadata"))
    values |= target.params
    if target.prompt is not None:
        values["messages"] = [{"role": "system", "content": target.prompt}, *values.get("messages", ())]
    return values, extra


def _texts(metadata: Any) -> dict[str, str]:
    """Return OpenAI's metadata, a map of texts: litellm keeps switches of its own among the values of other types."""
    if not isinstance(metadata, Mapping):
        return {}
    return {name: text for name, text in metadata.items() if isinstance(text, str)}
