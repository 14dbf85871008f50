"""What a request asks for, in the words that both wire dialects share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.providers.simulator.problems import Problem

_CHARACTERS_A_TOKEN = 4
_TOKENS_A_MESSAGE = 4
_TOKENS_AN_ATTACHMENT = 85


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the request offers, with the JSON Schema of its arguments."""

    name: str
    schema: Any


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    `tool_choice` is `auto`, `none` or `required`; where the request names one tool, `tools` holds only that.
    `prefilled` says that the last message is the beginning of the answer. `logprobs` is None when they are not asked
    for, otherwise the number of alternatives. `schema` is the JSON Schema of a structured output, or True for any JSON
    object.
    """

    model: str
    stream: bool
    question: str
    system: str
    prompt_tokens: int
    n: int = 1
    max_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    after_tool: bool = False
    prefilled: bool = False
    logprobs: int | None = None
    schema: Any = None
    include_usage: bool = False


class RefusedError(Exception):
    """The provider refuses a request; `problem` says how."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def invalid(message: str, param: str | None = None, code: str | None = None) -> RefusedError:
    """Return the refusal of a request that is not valid."""
    return RefusedError(Problem(400, message, code=code, param=param))


def typed(body: dict[str, Any], name: str, kind: type | tuple[type, ...], expected: str) -> Any:
    """Return a member of the request or None; raises RefusedError when its type is not the expected one."""
    value = body.get(name)
    if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is int)):
        raise invalid(f"Invalid type for '{name}': expected {expected}.", name, "invalid_type")
    return value


def said(content: Any) -> str:
    """Return the text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def count_prompt(contents: Iterable[Any]) -> int:
    """Count prompt tokens by a rule that is the same for everybody: four characters a token, 85 an attachment."""
    total = 0
    for content in contents:
        total += _TOKENS_A_MESSAGE + -(-len(said(content)) // _CHARACTERS_A_TOKEN)
        if isinstance(content, list):
            total += _TOKENS_AN_ATTACHMENT * sum(1 for part in content if isinstance(part, dict) and "text" not in part)
    return total
