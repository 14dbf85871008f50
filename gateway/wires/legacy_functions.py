"""Answers to requests with `functions`, which OpenAI had before `tools`: their call is a `function_call`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from gateway.wires.words import Fields


def asked(fields: Collection[str]) -> bool:
    """Whether a chat completion request has functions and no tools, so that its client reads no `tool_calls`."""
    return "functions" in fields and "tools" not in fields


def answered(answer: Mapping[str, Any]) -> Fields:
    """Return a completion, or a chunk of one, whose first tool call is a `function_call`: there is room for one."""
    return {**answer, "choices": [_choice(choice) for choice in answer["choices"]]}


def _choice(choice: Mapping[str, Any]) -> Fields:
    name = "message" if "message" in choice else "delta"
    said = dict(choice[name])
    for place, call in enumerate(said.pop("tool_calls", None) or ()):
        if call.get("index", place) == 0:
            function = call.get("function") or {}
            said["function_call"] = {key: value for key, value in function.items() if value is not None}
    finish = choice.get("finish_reason")
    return {**choice, name: said, "finish_reason": "function_call" if finish == "tool_calls" else finish}
