"""OpenTelemetry's names for GenAI: the semantic conventions' metrics, made at scrape time of what is counted anyway.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/ with the names, units and labels as its Prometheus
exporter writes them. To its clients the gateway is the server (`gen_ai_server_*`, the route is the model they asked
for); to the providers it is the client (`gen_ai_client_*`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""The conventions' `gen_ai.provider.name` where it is not what we call the provider."""

CHAT = "chat"
_OPERATIONS = {
    "messages": "chat", "messages/count_tokens": "count_tokens", "responses": "chat", "completions": "text_completion",
}  # fmt: skip
"""The conventions' `gen_ai.operation.name` of a wire where it is not the wire's own name."""


def operation(wire: str) -> str:
    """Return what the conventions call the operation of a client's wire."""
    return _OPERATIONS.get(wire, wire)


GATEWAY = "hedgerow"
_Labels = dict[str, str]
_Info = Mapping[str, _Labels]


class _Twin(NamedTuple):
    """A metric of the conventions: where it comes from, its labels, and its buckets where it has fewer."""

    name: str
    source: str
    text: str
    labels: Callable[[_Labels, _Info], _Labels]
    most: float = float("inf")


def _of_route(own: _Labels, _: _Info) -> _Labels:
    labels = {
        "gen_ai_operation_name": own["operation"],
        "gen_ai_provider_name": GATEWAY,
        "gen_ai_request_model": own["route"],
    }
    outcome = own.get("outcome", "answered")
    return labels if outcome == "answered" else {**labels, "error_type": outcome}


def _of_target(own: _Labels, targets: _Info) -> _Labels:
    known = targets.get(own["target"], {"provider": "_other", "model": "_other"})
    return {
        "gen_ai_operation_name": own["operation"],
        "gen_ai_provider_name": PROVIDERS.get(known["provider"], known["provider"]),
        "gen_ai_request_model": known["model"],
    }


def _tokens(kind: str) -> Callable[[_Labels, _Info], _Labels]:
    return lambda own, targets: {**_of_target(own, targets), "gen_ai_token_type": kind}


TWINS = (
    _Twin(
        "gen_ai_server_request_duration_seconds", "hedgerow_request_duration_seconds",
        "Generative AI server request duration such as time-to-last byte or last output token.", _of_route, 81.92,
    ),
    _Twin(
        "gen_ai_server_time_to_first_token_seconds", "hedgerow_time_to_first_token_seconds",
        "Time to generate first token for successful responses.", _of_route, 10,
    ),
    _Twin(
        "gen_ai_server_time_per_output_token_seconds", "hedgerow_token_gap_seconds",
        "Time per output token generated after the first token for successful responses.", _of_target, 2.5,
    ),
    _Twin(
        "gen_ai_client_operation_duration_seconds", "hedgerow_attempt_duration_seconds",
        "GenAI operation duration.", _of_target, 81.92,
    ),
    _Twin(
        "gen_ai_client_token_usage", "hedgerow_prompt_tokens", "Number of input and output tokens used.",
        _tokens("input"),
    ),
    _Twin(
        "gen_ai_client_token_usage", "hedgerow_completion_tokens", "Number of input and output tokens used.",
        _tokens("output"),
    ),
)  # fmt: skip


def view(families: Mapping[str, Any]) -> Iterator[Any]:
    """Give the conventions' metrics for our own, which are given by name."""
    info = families.get("hedgerow_target_info")
    targets = {sample.labels["target"]: sample.labels for sample in info.samples} if info else {}
    made: dict[str, Any] = {}
    for twin in TWINS:
        source = families.get(twin.source)
        if source is None:
            continue
        family = made.get(twin.name)
        if family is None:
            family = made[twin.name] = copy.copy(source)
            family.name, family.documentation, family.samples = twin.name, twin.text, []
        _add(family, source, twin, targets)
    yield from made.values()


def _add(family: Any, source: Any, twin: _Twin, targets: _Info) -> None:
    """Add the source's samples; targets of one model are summed, since the conventions do not tell them apart."""
    summed: dict[tuple[Any, ...], Any] = {}
    for sample in source.samples:
        le = sample.labels.get("le")
        if le is not None and twin.most < float(le) < float("inf"):
            continue
        labels = twin.labels(sample.labels, targets) | ({"le": le} if le is not None else {})
        name = twin.name + sample.name.removeprefix(twin.source)
        key = (name, *sorted(labels.items()))
        before = summed[key].value if key in summed else 0.0
        summed[key] = sample._replace(name=name, labels=labels, value=before + sample.value)
    family.samples.extend(sorted(summed.values(), key=_grouped))


def _grouped(sample: Any) -> tuple[Any, ...]:
    """Keep the buckets of one series together and in order, as parsers of the format expect them."""
    labels = {name: value for name, value in sample.labels.items() if name != "le"}
    return (sorted(labels.items()), sample.name, float(sample.labels.get("le", "inf")))
