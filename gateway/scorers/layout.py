"""How candidates are shown to a model that is to judge them: as data, which no words inside can leave.

Each answer is one line, a JSON string behind a mark with a random number that whoever wrote the answer could not know.
So no line break, closing tag or verdict in an answer stands where the instructions stand. What layout cannot prevent is
that a model obeys what it reads in a string (see docs/selectors.md).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from fanin import Candidate
from fanin.keys.cleaning import plain
from gateway.domain import ChatRequest

LONGEST_ANSWER, LONGEST_QUESTION = 8_000, 16_000
"""Characters that are shown; the middle of a longer text is left out."""

_encode = msgspec.json.Encoder().encode


class Sheet:
    """The data of one call, between marks of its own: `mark` is new each time."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self._lines: list[str] = []

    def add(self, name: str, text: str, longest: int) -> None:
        """Add one text under a name of ours."""
        self._lines.append(f"[{self.mark} {name}] {_encode(_shortened(text, longest)).decode()}")

    def __str__(self) -> str:
        return "\n".join([f"[{self.mark} begin]", *self._lines, f"[{self.mark} end]"])


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} [{len(text) - 2 * half} characters left out] {text[-half:]}"


def shown(candidate: Candidate) -> str:
    """Return what a candidate says: its text without thinking, and the calls that it makes."""
    calls = [{"call": call.name, "arguments": call.arguments} for call in candidate.tool_calls]
    text = plain(candidate.text)
    return f"{text}\n{_encode(calls).decode()}".strip() if calls else text


class _Message(msgspec.Struct):
    role: str = ""
    content: Any = None


def question(request: ChatRequest) -> str:
    """Return what was asked: the words of user and assistant, in turn. No system prompt, no tools, no files."""
    raw = request.fields.get("messages")
    try:
        messages = msgspec.json.decode(raw, type=list[_Message]) if raw is not None else []
    except msgspec.MsgspecError:
        return ""
    said = [(message.role, _words(message.content)) for message in messages if message.role in {"user", "assistant"}]
    if len(said) == 1:
        return said[0][1]
    return "\n\n".join(f"{role}: {words}" for role, words in said if words)


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: Sequence[Any] = content if isinstance(content, list) else ()
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
