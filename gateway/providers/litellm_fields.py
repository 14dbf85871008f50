"""A chat request → litellm's keyword arguments: which of the client's fields may go in, and under which conditions.

litellm takes its own controls (`api_base`, `mock_response`, `fallbacks`, `aws_*`, ...) through the same keywords as the
parameters of a request, hundreds of them. So only names known to be parameters become keywords; whatever else a client
sends goes onto the wire beside what litellm wrote, never through litellm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from gateway.domain import ChatRequest, Failure, Target
from gateway.providers.parameters import OPENAI, sifted, unsupported
from gateway.providers.shaping import plain, shaped

_OTHERS = frozenset({"thinking", "top_k"})
"""Parameters that OpenAI does not have and that litellm translates."""

_ALWAYS = frozenset({"messages", "stream_options"})
"""What litellm takes for every provider."""


class Arguments(NamedTuple):
    """Litellm's keyword arguments, what goes onto the wire beside them, and the names of what is not sent."""

    keywords: dict[str, Any]
    extra: dict[str, Any]
    dropped: tuple[str, ...]


def arguments(target: Target, request: ChatRequest, supported: Collection[str]) -> Arguments | Failure:
    """Return what litellm is called with, or why this provider cannot be asked.

    `supported` are the OpenAI parameters that litellm can translate for this model. Everything is decoded afresh for
    each call: litellm writes into what it is given. The target's params are the operator's and win over the client's.
    """
    fields, dropped = shaped(target, request.fields)
    given = {name: raw for name, raw in fields.items() if name not in target.params}
    known = {name: raw for name, raw in given.items() if name in OPENAI | _OTHERS}
    extra = {name: raw for name, raw in given.items() if name not in known}
    values = plain(known)
    metadata = values.get("metadata")
    values, unsaid = sifted(values, supported)
    foreign = sorted((values.keys() & OPENAI) - _ALWAYS - set(supported) - target.params.keys())
    if foreign and target.on_unsupported == "fail":
        return unsupported(target, foreign[0])
    values = {name: value for name, value in values.items() if name not in foreign}
    if request.logprobs and "logprobs" in supported:
        values["logprobs"] = True
    values["metadata"] = _texts(metadata)
    values |= target.params
    if target.prompt is not None:
        values["messages"] = [{"role": "system", "content": target.prompt}, *values.get("messages", ())]
    return Arguments(values, extra, (*dropped, *unsaid, *foreign))


def _texts(metadata: Any) -> dict[str, str]:
    """Return OpenAI's metadata, a map of texts: litellm keeps switches of its own among the values of other types."""
    if not isinstance(metadata, Mapping):
        return {}
    return {name: text for name, text in metadata.items() if isinstance(text, str)}
