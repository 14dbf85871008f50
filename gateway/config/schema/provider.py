"""The shape of one provider in the configuration."""

from __future__ import annotations

from gateway.config.catalog import LITELLM, PROFILES
from gateway.config.schema.terms import CONCURRENCY, Schema, texts

_KEY: Schema = {"type": "string", "title": 'a key such as "${OPENAI_API_KEY}"'}

PROVIDER_SETTINGS: Schema = {
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
            "title": _KEY["title"],
            "description": "The gateway's key, or a list of several that take turns: what one may not have now is "
            "asked for with the next.",
            "anyOf": [
                _KEY,
                {"type": "array", "title": "at least one key", "minItems": 1, "items": _KEY},
            ],
        },
        "headers": texts("a mapping of header names to text", "Headers that go with every request."),
        "query": texts("a mapping of names to text", "Query parameters that go with every request."),
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
        "ca_certificate": {
            "type": "string",
            "writeOnly": False,
            "title": 'certificates in PEM, such as "${file:ca.pem}"',
            "description": "The authorities that alone may have signed the provider's TLS certificate; by default "
            "those that the system trusts. Verification cannot be turned off.",
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
