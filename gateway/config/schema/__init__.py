"""The shape of the configuration, as a JSON Schema: what we enforce and what an editor underlines are one thing.

Two annotations carry our own meaning: `title` is what a fault says was expected, and `writeOnly` marks where
credentials stand, so that no message quotes them (JSON Schema 2020-12, validation, section 9.4).
"""

from __future__ import annotations

from typing import Any

from gateway.config.schema.provider import PROVIDER_SETTINGS
from gateway.config.schema.route import ROUTE, SELECT
from gateway.config.schema.terms import NAME, NAME_TITLE, PROVIDER, PROVIDER_TITLE, Schema, count, duration
from gateway.wires.operations import OPERATIONS

_LIMITS: Schema = {
    "type": "object",
    "title": "a mapping such as {in_flight: 500}",
    "description": "What one process (one worker) takes upon itself; beyond it clients are told to come again.",
    "additionalProperties": False,
    "properties": {
        "in_flight": count(1_000_000, 1024, "How many requests may be served at once."),
        "queue": count(1_000_000, 256, "How many more may wait for a place.", least=0),
        "queue_timeout": {**duration("How long they may wait."), "default": "100ms"},
        "connections": count(1_000_000, 10_000, "How many connections clients may have open."),
        "header_timeout": {**duration("Within which the headers of a request must arrive."), "default": "10s"},
        "body_timeout": {
            **duration("Within which the body of a request must arrive; one second more for each 64 kB."),
            "default": "30s",
        },
        "write_timeout": {
            **duration("For how long a client may take nothing of an answer that waits for it."),
            "default": "60s",
        },
        "body_bytes": count(1_000_000_000, 20 * 1024 * 1024, "The largest body of a request."),
        "upload_bytes": count(
            10_000_000_000, 512 * 1024 * 1024, "The largest body that `passthrough` passes on; it is never held whole."
        ),
        "loop_lag": {
            **duration("How late the event loop may be before new requests are refused."),
            "default": "500ms",
        },
    },
}

DOCUMENT: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "a mapping with providers and routes",
    "description": "The configuration of a Hedgerow gateway.",
    "type": "object",
    "required": ["providers"],
    "additionalProperties": False,
    "properties": {
        "providers": {
            "type": "object",
            "minProperties": 1,
            "writeOnly": True,
            "title": 'at least one provider such as openai: {api_key: "${OPENAI_API_KEY}"}',
            "description": "Whom the gateway can ask.",
            "propertyNames": {"pattern": PROVIDER, "title": PROVIDER_TITLE},
            "additionalProperties": PROVIDER_SETTINGS,
        },
        "routes": {
            "type": "object",
            "title": "a mapping of model names to routes",
            "description": "The model names that clients may ask for; they win over reading them as provider/model.",
            "propertyNames": {"pattern": NAME, "title": NAME_TITLE},
            "additionalProperties": ROUTE,
        },
        "traces": {
            "type": "object",
            "title": "a mapping such as {endpoint: http://127.0.0.1:4318}",
            "description": "Where to send traces: a collector of OpenTelemetry that takes OTLP over HTTP.",
            "required": ["endpoint"],
            "additionalProperties": False,
            "properties": {
                "endpoint": {
                    "type": "string",
                    "pattern": r"^https?://[^\s/?#@\\]+(?:/[^\s?#\\]*)?$",
                    "title": "an address such as http://127.0.0.1:4318",
                    "description": "Where the collector listens: what stands before /v1/traces.",
                },
            },
        },
        "adhoc_routes": {
            "type": "boolean",
            "title": "true or false",
            "description": "Whether clients may name targets themselves: the model provider/model,provider/model.",
            "default": False,
        },
        "passthrough": {
            "type": "string",
            "pattern": PROVIDER,
            "title": "a provider of this file",
            "description": "The provider to which goes, unread, what the gateway does not serve: files, batches, "
            "stored answers, fine-tuning and whatever else stands below /v1. Without it, that is not found.",
        },
        "default_routes": {
            "type": "object",
            "title": "a mapping such as {moderations: ROUTE}",
            "description": "The routes of requests that name no model, by what is asked.",
            "additionalProperties": False,
            "properties": {
                path: {"type": "string", "title": "a route of this file", "description": f"For /v1/{path}."}
                for path in OPERATIONS
            },
        },
        "limits": _LIMITS,
        "cors": {
            "type": "array",
            "title": 'a list of origins such as ["https://app.example.com"], or ["*"]',
            "description": "The web origins whose pages may call the gateway from a browser; without it, none.",
            "items": {
                "type": "string",
                "pattern": r"^(?:\*|https?://[^\s/?#@*]+)$",
                "title": "an origin such as https://app.example.com, without a path, or *",
            },
        },
        "redis": {
            "type": "string",
            "pattern": r"^rediss?://[^\s]+$",
            "writeOnly": True,
            "title": 'an address such as "${REDIS_URL}" or redis://127.0.0.1:6379/0',
            "description": "A Redis that workers and replicas share: an Idempotency-Key is then known to all of them.",
        },
        "keys": {
            "type": "object",
            "writeOnly": True,
            "title": 'a mapping of client names to keys such as web: "${HEDGEROW_KEY}"',
            "description": "The keys that clients must show; without any, nobody is asked for one.",
            "propertyNames": {"pattern": PROVIDER, "title": PROVIDER_TITLE},
            "additionalProperties": {"type": "string", "title": 'a key such as "${HEDGEROW_KEY}"'},
        },
    },
    "$defs": {"select": SELECT},
}

_VARIABLE: Schema = {
    "type": "string",
    "pattern": r"\$\{",
    "title": "a variable such as ${NAME}, ${NAME:-default} or ${file:PATH}",
}


def json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a configuration file, for editors.

    It differs from what `parse` enforces in one thing: wherever a value is expected, `${NAME}` will do.
    """
    schema: Schema = _with_variables(DOCUMENT)
    return schema


def _with_variables(part: Any) -> Any:
    if isinstance(part, list):
        return [_with_variables(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") in {"integer", "number", "boolean"} or ("pattern" in part and "type" in part) or "enum" in part:
        notes = {key: part[key] for key in ("title", "description", "default", "writeOnly") if key in part}
        return {**notes, "anyOf": [{key: part[key] for key in part if key not in notes}, _VARIABLE]}
    return {key: _with_variables(value) for key, value in part.items()}
