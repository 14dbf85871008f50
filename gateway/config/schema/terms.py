"""The words of the configuration's schema: numbers that are the defaults and bounds, and the kinds of value."""

from __future__ import annotations

from typing import Any, TypeAlias

from gateway.config.durations import PATTERN

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
PROVIDER = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
PROVIDER_TITLE = "a name of letters, digits, `_`, `.` and `-`"
MODEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}/(?!\s)[^\u0000-\u001f\u007f]{1,255}(?<!\s)$"


def duration(description: str) -> Schema:
    """Return the schema of a length of time."""
    return {"type": "string", "pattern": PATTERN, "title": 'a duration such as "20s"', "description": description}


def texts(title: str, description: str) -> Schema:
    """Return the schema of a mapping whose values are text."""
    return {
        "type": "object",
        "title": title,
        "description": description,
        "additionalProperties": {"type": "string", "title": "text"},
    }


def count(most: int, default: int | None, description: str, least: int = 1) -> Schema:
    """Return the schema of a whole number between two bounds."""
    title = f"a whole number from {least} to {most}"
    kind = {"type": "integer", "minimum": least, "maximum": most}
    return {**kind, "title": title, "description": description} | ({} if default is None else {"default": default})


MODEL_NAME: Schema = {
    "type": "string",
    "pattern": MODEL,
    "title": "provider/model such as openai/gpt-5-mini",
    "description": "A provider of this file, a slash, and the provider's name of the model, sent as it is written.",
}
