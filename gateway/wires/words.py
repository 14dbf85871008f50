"""What the translations share: refusals, JSON that a model wrote, data URLs, and how much thinking an effort means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import Raw

Fields: TypeAlias = dict[str, Any]


class Untranslatable(ValueError):
    """Something that the other protocol cannot say; the message names it and says the cure."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def decoded(fields: Mapping[str, Raw]) -> Fields:
    """Return top-level fields as plain values; those that are null say nothing and are left out."""
    values = {name: msgspec.json.decode(raw) for name, raw in fields.items()}
    return {name: value for name, value in values.items() if value is not None}


def mappings(value: object, param: str) -> list[Mapping[str, Any]]:
    """Return a list of objects as what it is; raises Untranslatable for anything else."""
    if not isinstance(value, Sequence) or not all(isinstance(item, Mapping) for item in value):
        raise Untranslatable(f"`{param}` is {_shown(value)}, expected a list of objects.", param)
    return cast("list[Mapping[str, Any]]", value)


def mapping(value: object, param: str) -> Mapping[str, Any]:
    """Return an object as what it is; raises Untranslatable for anything else."""
    if not isinstance(value, Mapping):
        raise Untranslatable(f"`{param}` is {_shown(value)}, expected an object.", param)
    return value


def text(value: object, param: str) -> str:
    """Return a string as what it is; raises Untranslatable for anything else."""
    if not isinstance(value, str):
        raise Untranslatable(f"`{param}` is {_shown(value)}, expected a string.", param)
    return value


def refuse_choice(choice: object) -> None:
    """Raise Untranslatable for a choice that demands a tool, where none is offered."""
    if (choice.get("type") if isinstance(choice, Mapping) else choice) not in {None, "auto", "none"}:
        raise Untranslatable("`tool_choice` demands a tool, and `tools` offers none: leave it out.", "tool_choice")


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()[:60]


def content_blocks(content: object, param: str) -> list[Mapping[str, Any]]:
    """Return content that is a text or a list of blocks as blocks."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else mappings(content, param)


def written(arguments: object) -> str:
    """Return a tool's arguments as the JSON text that chat completions carry."""
    return msgspec.json.encode(arguments).decode()


def read(arguments: object) -> Fields:
    """Return the arguments that a model wrote as an object. What is none is kept under `arguments`: nothing is lost."""
    if not arguments:
        return {}
    try:
        value = msgspec.json.decode(arguments) if isinstance(arguments, str) else arguments
    except (msgspec.MsgspecError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"arguments": arguments}


def data_url(media_type: str, data: str) -> str:
    """Return base64 data as a URL (RFC 2397)."""
    return f"data:{media_type};base64,{data}"


def of_data_url(url: str) -> tuple[str, str] | None:
    """Return media type and base64 data of a data URL; None for every other one."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head[5:-7].partition(";")[0], data


_BUDGETS = {"none": 0, "minimal": 0, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}


def budget(effort: object) -> int:
    """Return the tokens of thinking that a reasoning effort means; raises Untranslatable for a word that is none."""
    if not isinstance(effort, str) or effort not in _BUDGETS:
        expected = ", ".join(f"`{word}`" for word in _BUDGETS)
        raise Untranslatable(f"`reasoning_effort` is {_shown(effort)}, expected one of {expected}.", "reasoning_effort")
    return _BUDGETS[effort]


def effort(tokens: int) -> str:
    """Return the reasoning effort that a budget of thinking means: the least that allows as much, `high` at most."""
    return next((word for word in ("low", "medium") if tokens <= _BUDGETS[word]), "high")
