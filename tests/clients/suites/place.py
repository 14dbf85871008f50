"""Where a suite's client is to be pointed: the same variables whether the mock or the gateway answers."""

from __future__ import annotations

import os

BASE_URL = os.environ["CLIENTS_BASE_URL"]
"""What OpenAI clients call the base URL, with `/v1`."""
ANTHROPIC_URL = os.environ["CLIENTS_ANTHROPIC_URL"]
"""What Anthropic clients call the base URL, without `/v1`."""
MODEL = os.environ["CLIENTS_MODEL"]
CLAUDE = os.environ["CLIENTS_CLAUDE"]
EMBEDDING = os.environ["CLIENTS_EMBEDDING"]
KEY = "sk-clients-own-key"

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
"""The parameters of a tool; the mock calls every tool that it is offered, and answers in words after the result."""
