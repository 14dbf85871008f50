"""The shape of the configuration, as a JSON Schema: what we enforce and what an editor underlines are one thing.

Two annotations carry our own meaning: `title` is what a fault says was expected, and `writeOnly` marks where
credentials stand, so that no message quotes them (JSON Schema 2020-12, validation, section 9.4).
"""

from __future__ import annotations

from typing import Any, TypeAlias

from gateway.config.catalog import LITELLM, PROFILES
from gateway.config.durations import PATTERN, written
from gateway.domain import Map

Schema: TypeAlias = dict[str, Any]

MOST_TARGETS = 16
MOST_RETRIES = 10
RETRIES = 1
DEADLINE = 120.0
LONGEST_DEADLINE = 600.0
TIMEOUT = 60.0
FIRST_TOKEN = 15.0
IDLE = 30.0
HEDGE_AFTER = 2.0
CONCURRENCY = 256
MOST_PARTS = 256

NAME = r"^[!-+\--.0-~][!-+\--~]{0,127}$"
NAME_TITLE = "up to 128 printable ASCII characters without spaces and commas, not beginning with `/`"
_PROVIDER = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_PROVIDER_TITLE = "a name of letters, digits, `_`, `.` and `-`"
_MODEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}/(?!\s)[^\u0000-\u001f\u007f]{1,255}(?<!\s)$"


def _duration(description: str) -> Schema:
    return {"type": "string", "pattern": PATTERN, "title": 'a duration such as "20s"', "description": description}


def _texts(title: str, description: str) -> Schema:
    return {
        "type": "object",
        "title": title,
        "description": description,
        "additionalProperties": {"type": "string", "title": "text"},
    }


_MODEL_NAME: Schema = {
    "type": "string",
    "pattern": _MODEL,
    "title": "provider/model such as openai/gpt-5-mini",
    "description": "A provider of this file, a slash, and the provider's name of the model, sent as it is written.",
}

_PROVIDER_SETTINGS: Schema = {
    "type": "object",
    "title": 'a mapping such as {api_key: "${OPENAI_API_KEY}"}',
    "description": "How to reach one provider. The address of a well-known name (openai, groq, ollama, ...) is known.",
    "additionalProperties": False,
    "properties": {
        "api": {
            "type": "string",
            "enum": sorted({*PROFILES, *LITELLM}),
            "writeOnly": False,
            "title": "`openai` for any OpenAI-compatible server, or the name of a provider",
            "description": "What the provider speaks: by default what its name says, else, with a base_url, openai.",
        },
        "base_url": {
            "type": "string",
            "pattern": r"^https?://[^\s/?#@\\]+(?:/[^\s?#\\]*)?$",
            "writeOnly": False,
            "title": "an address such as http://127.0.0.1:8000/v1, without user, password and query",
            "description": "Where the API begins: what stands before /chat/completions (of Anthropic's: /v1/messages).",
        },
        "api_key": {
            "type": "string",
            "title": 'a key such as "${OPENAI_API_KEY}"',
            "description": "The gateway's key.",
        },
        "headers": _texts("a mapping of header names to text", "Headers that go with every request."),
        "query": _texts("a mapping of names to text", "Query parameters that go with every request."),
        "concurrency": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100_000,
            "writeOnly": False,
            "title": "a whole number from 1 to 100000",
            "description": "How many calls may be in flight at once at most; fewer while it limits or times out.",
            "default": CONCURRENCY,
        },
        "responses": {
            "type": "boolean",
            "writeOnly": False,
            "title": "true or false",
            "description": "Whether the provider serves /responses itself: requests for it then pass verbatim. "
            "By default true for api.openai.com only.",
        },
        "api_version": {
            "type": "string",
            "writeOnly": False,
            "title": "text",
            "description": "The version of the API, where a provider (Azure) wants one.",
        },
        "region": {
            "type": "string",
            "writeOnly": False,
            "title": "text",
            "description": "Bedrock's or Vertex AI's region.",
        },
        "project": {
            "type": "string",
            "writeOnly": False,
            "title": "text",
            "description": "Vertex AI's or watsonx's project.",
        },
        "options": {
            "type": "object",
            "title": "a mapping of litellm's options",
            "description": "Further keyword arguments for litellm, for a provider that goes through it.",
        },
    },
}

_DOLLARS: Schema = {
    "type": "number",
    "minimum": 0,
    "title": "a number of dollars, 0 or more",
    "description": "Dollars for a million tokens.",
}

_TARGET: Schema = {
    "title": "provider/model, or a mapping such as {model: openai/gpt-5-mini, weight: 2}",
    "anyOf": [
        _MODEL_NAME,
        {
            "type": "object",
            "title": "a mapping such as {model: openai/gpt-5-mini, weight: 2}",
            "required": ["model"],
            "additionalProperties": False,
            "properties": {
                "model": _MODEL_NAME,
                "name": {
                    "type": "string",
                    "pattern": NAME,
                    "title": NAME_TITLE,
                    "description": "What headers, logs and metrics call it; provider/model by default.",
                },
                "prompt": {"type": "string", "title": "text", "description": "A system prompt of this target's own."},
                "params": {
                    "type": "object",
                    "title": "a mapping such as {temperature: 0.2}",
                    "description": "Fields of the request body that this target gets instead of the client's.",
                },
                "drop": {
                    "type": "array",
                    "title": "a list of field names such as [logit_bias]",
                    "description": "Fields of the client's that this target is not sent; a response header names them.",
                    "items": {"type": "string", "title": "the name of a field of the request body"},
                },
                "rename": {
                    "type": "object",
                    "title": "a mapping of field names such as {max_tokens: max_completion_tokens}",
                    "description": "Fields of the client's that this target gets under another name.",
                    "additionalProperties": {"type": "string", "title": "the name of a field of the request body"},
                },
                "defaults": {
                    "type": "object",
                    "title": "a mapping such as {temperature: 0.2}",
                    "description": "Fields of the request body that this target gets where the client sent none.",
                },
                "on_unsupported": {
                    "type": "string",
                    "enum": ["fail", "drop"],
                    "title": "fail or drop",
                    "description": "What becomes of a field that the provider cannot do: the target fails, or it is"
                    " left out and a response header names it.",
                    "default": "fail",
                },
                "same_as": {
                    "type": "string",
                    "pattern": NAME,
                    "title": NAME_TITLE,
                    "description": "The embedding model behind a name that does not say so, such as a deployment's.",
                },
                "timeout": _duration("The limit of one attempt; by default the route's."),
                "prefill": {
                    "title": "true, or further fields of the message such as {prefix: true}",
                    "description": "That the model goes on with a last message of the assistant's, so that it can "
                    "continue a stream which another target broke off.",
                    "anyOf": [
                        {"type": "boolean", "title": "true or false"},
                        {"type": "object", "title": "fields of the message such as {prefix: true}"},
                    ],
                    "default": False,
                },
                "price": {
                    "type": "object",
                    "title": "a mapping such as {input: 0.15, output: 0.6}",
                    "description": "Dollars for a million tokens; by default what litellm's list says of the model.",
                    "required": ["input", "output"],
                    "additionalProperties": False,
                    "properties": dict.fromkeys(("input", "output"), _DOLLARS),
                },
                "first_token": _duration("The limit until the first words of a stream; by default the route's."),
                "idle": _duration("The longest silence between two events of a stream; by default the route's."),
                "context": {
                    "title": "a number of tokens such as 128k",
                    "description": "The model's context window: a prompt that was too long for another target goes to "
                    "the one with a larger window next, and to none whose window is no larger.",
                    "anyOf": [
                        {"type": "integer", "minimum": 1, "title": "a number of tokens such as 128k"},
                        {"type": "string", "pattern": "^[1-9][0-9]{0,8}k$", "title": "a number of tokens such as 128k"},
                    ],
                },
                "weight": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "title": "a number above 0",
                    "description": "What its vote weighs.",
                    "default": 1,
                },
            },
        },
    ],
}


def _count(most: int, default: int, description: str) -> Schema:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": most,
        "title": f"a whole number from 1 to {most}",
        "description": description,
        "default": default,
    }


_PARTS = Map()
_MAP: Schema = {
    "type": "object",
    "title": "a mapping such as {by: paragraphs, size: 4000}",
    "description": "Ask a long last message part by part, each from another target on.",
    "additionalProperties": False,
    "properties": {
        "by": {
            "type": "string",
            "enum": ["paragraphs", "characters"],
            "title": "paragraphs or characters",
            "description": "Where a part may end.",
            "default": _PARTS.by,
        },
        "size": _count(1_000_000, _PARTS.size, "The most characters of one part."),
        "parallel": _count(MOST_PARTS, _PARTS.parallel, "How many parts are asked at once."),
        "most": _count(MOST_PARTS, _PARTS.most, "How many parts a message may have; a longer one is refused."),
    },
}

_LAUNCH_TITLE = "all, hedge, fallback or a mapping such as {initial: 2, stagger: 800ms}"

_LAUNCH: Schema = {
    "title": _LAUNCH_TITLE,
    "description": "Who is asked when. A failure always starts the next target at once.",
    "default": "all",
    "anyOf": [
        {
            "type": "string",
            "enum": ["all", "hedge", "fallback"],
            "title": _LAUNCH_TITLE,
            "description": f"hedge: the next starts after {written(HEDGE_AFTER)} or a failure; fallback: a failure.",
        },
        {
            "type": "object",
            "title": "a mapping such as {initial: 2, stagger: 800ms}",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {
                "initial": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MOST_TARGETS,
                    "title": f"a whole number from 1 to {MOST_TARGETS}",
                    "description": "How many targets start at once.",
                    "default": 1,
                },
                "stagger": {
                    **_duration("After how long the next target starts by itself."),
                    "title": 'a duration such as "800ms", or never',
                    "pattern": f"^never$|{PATTERN}",
                    "default": "never",
                },
                "map": _MAP,
            },
        },
    ],
}

_SELECT: Schema = {
    "title": "a selector such as majority, {majority: {agree: 2}} or a list of them",
    "description": "Who decides: a name, a name with options, or a list in which the next decides if one abstains.",
    "default": "first",
    "anyOf": [
        {"type": "string", "title": "the name of a selector"},
        {
            "type": "object",
            "title": "one selector with its options such as {majority: {agree: 2}}",
            "minProperties": 1,
            "maxProperties": 1,
        },
        {"type": "array", "title": "a list of selectors", "minItems": 1, "items": {"$ref": "#/$defs/select"}},
    ],
}

_ROUTE: Schema = {
    "type": "object",
    "title": "a mapping such as {targets: [openai/gpt-5-mini]}",
    "description": "A model name that clients may ask for.",
    "required": ["targets"],
    "additionalProperties": False,
    "properties": {
        "targets": {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_TARGETS,
            "title": f"a list of 1 to {MOST_TARGETS} targets such as [openai/gpt-5-mini]",
            "description": "Whom to ask, in order of preference: the first starts first and wins ties.",
            "items": _TARGET,
        },
        "launch": _LAUNCH,
        "select": {"$ref": "#/$defs/select"},
        "on_abstain": {
            "type": "string",
            "enum": ["priority", "fail"],
            "title": "priority or fail",
            "description": "What becomes of a request whose selector chooses none of the answers: "
            "the answer of the highest priority, or an error.",
            "default": "priority",
        },
        "deadline": {
            **_duration(f"The limit of the whole request, {written(LONGEST_DEADLINE)} at most."),
            "default": written(DEADLINE),
        },
        "timeout": {**_duration("The limit of one attempt, the deadline at most."), "default": written(TIMEOUT)},
        "standby": {
            "type": "string",
            "enum": ["cold", "warm"],
            "title": "cold or warm",
            "description": "What becomes of the siblings of a live stream: cancelled at its first words, or kept until "
            "its end, so that one can continue it where it breaks off.",
            "default": "cold",
        },
        "buffer": {
            "type": "string",
            "enum": ["none", "full"],
            "title": "none or full",
            "description": "full: a stream is replayed once a whole answer is in, so that no broken one is ever seen.",
            "default": "none",
        },
        "stream": {
            "type": "string",
            "enum": ["auto", "verify"],
            "title": "auto or verify",
            "description": "verify: the first words are streamed at once, the selector is asked at the end whether the "
            "other targets agree.",
            "default": "auto",
        },
        "first_token": _duration(
            "The limit until the first words of a stream, the timeout at most. By default "
            f"{written(FIRST_TOKEN)} where another target would be asked next, and the timeout where none would."
        ),
        "idle": {
            **_duration("The longest silence between two events of a stream; pings and comments do not end it."),
            "default": written(IDLE),
        },
        "on_filtered": {
            "type": "string",
            "enum": ["fail", "next"],
            "title": "fail or next",
            "description": "What a content policy's refusal does to targets that have not been asked yet: none of "
            "them is asked, or the next one.",
            "default": "fail",
        },
        "retries": {
            "type": "integer",
            "minimum": 0,
            "maximum": MOST_RETRIES,
            "title": f"a whole number from 0 to {MOST_RETRIES}",
            "description": "How often one target is asked again after a failure that may pass.",
            "default": RETRIES,
        },
    },
}


def _number(most: int, default: int, description: str, least: int = 1) -> Schema:
    title = f"a whole number from {least} to {most}"
    kind = {"type": "integer", "minimum": least, "maximum": most}
    return {**kind, "title": title, "description": description, "default": default}


_LIMITS: Schema = {
    "type": "object",
    "title": "a mapping such as {in_flight: 500}",
    "description": "What one process (one worker) takes upon itself; beyond it clients are told to come again.",
    "additionalProperties": False,
    "properties": {
        "in_flight": _number(1_000_000, 1024, "How many requests may be served at once."),
        "queue": _number(1_000_000, 256, "How many more may wait for a place.", least=0),
        "queue_timeout": {**_duration("How long they may wait."), "default": "100ms"},
        "connections": _number(1_000_000, 10_000, "How many connections clients may have open."),
        "header_timeout": {**_duration("Within which the headers of a request must arrive."), "default": "10s"},
        "body_timeout": {
            **_duration("Within which the body of a request must arrive; one second more for each 64 kB."),
            "default": "30s",
        },
        "write_timeout": {
            **_duration("For how long a client may take nothing of an answer that waits for it."),
            "default": "60s",
        },
        "body_bytes": _number(1_000_000_000, 20 * 1024 * 1024, "The largest body of a request."),
        "loop_lag": {
            **_duration("How late the event loop may be before new requests are refused."),
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
            "propertyNames": {"pattern": _PROVIDER, "title": _PROVIDER_TITLE},
            "additionalProperties": _PROVIDER_SETTINGS,
        },
        "routes": {
            "type": "object",
            "title": "a mapping of model names to routes",
            "description": "The model names that clients may ask for; they win over reading them as provider/model.",
            "propertyNames": {"pattern": NAME, "title": NAME_TITLE},
            "additionalProperties": _ROUTE,
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
        "keys": {
            "type": "object",
            "writeOnly": True,
            "title": 'a mapping of client names to keys such as web: "${HEDGEROW_KEY}"',
            "description": "The keys that clients must show; without any, nobody is asked for one.",
            "propertyNames": {"pattern": _PROVIDER, "title": _PROVIDER_TITLE},
            "additionalProperties": {"type": "string", "title": 'a key such as "${HEDGEROW_KEY}"'},
        },
    },
    "$defs": {"select": _SELECT},
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
