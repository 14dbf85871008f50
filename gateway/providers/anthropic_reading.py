"""Read Anthropic's answers and events: what a selector needs to know of them, and nothing is changed."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from fanin import Candidate, ToolCall
from gateway.domain import Answer, Failure, FailureKind, Outcome, Target, Usage
from gateway.providers import classify
from gateway.providers.reading import broken, flaw
from gateway.wires.messages_answers import FINISHED

MESSAGES = "messages"
"""The name of Anthropic's wire."""

COUNT_TOKENS = "messages/count_tokens"
"""The name of its counting of tokens."""

_FATAL = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_EMPTY = Raw(b"{}")


class Tokens(Struct):
    """The counts of a `usage` object."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None

    def usage(self, before: Usage | None) -> Usage:
        """Return the counted tokens; what an event leaves out stays as it was."""
        prompt = (self.input_tokens, self.cache_creation_input_tokens, self.cache_read_input_tokens)
        known = before or Usage()
        return Usage(
            known.prompt if self.input_tokens is None else sum(count or 0 for count in prompt),
            known.completion if self.output_tokens is None else self.output_tokens,
        )


class Block(Struct):
    """A content block."""

    type: str
    text: str = ""
    id: str | None = None
    name: str | None = None
    input: Raw = _EMPTY


class _Message(Struct):
    content: list[Block] = []
    stop_reason: str | None = None
    usage: Tokens | None = None
    error: Any = None


class _Delta(Struct):
    type: str | None = None
    text: str = ""
    stop_reason: str | None = None


class Event(Struct):
    """The part of a stream's event that we look at."""

    type: str
    message: _Message | None = None
    content_block: Block | None = None
    delta: _Delta | None = None
    usage: Tokens | None = None
    error: Any = None


_messages = msgspec.json.Decoder(_Message)
_events = msgspec.json.Decoder(Event)
_objects: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


def read_event(data: bytes) -> Event | None:
    """Read one event of a stream; None when it is not JSON of the expected shape."""
    try:
        return _events.decode(data)
    except _FATAL:
        return None


def read_message(target: Target, body: bytes) -> Outcome:
    """Turn a whole answer into a candidate that carries it as it came, or into the failure that it really is."""
    try:
        message = _messages.decode(body)
        fields = _objects.decode(body)
    except _FATAL:
        return Failure(target.name, FailureKind.MALFORMED, "the provider's answer is not a message")
    if message.error is not None:
        return classify.from_error_object(target.name, message.error, None)
    finish = finished(message.stop_reason)
    said = [block for block in message.content if block.text or block.type.endswith("tool_use")]
    if not said and "content" not in fields:
        return Failure(target.name, FailureKind.MALFORMED, "the provider's answer is not a message")
    if not said:
        return nothing_said(target, finish)
    text = "".join(block.text for block in message.content)
    calls = tuple(tool_call(block) for block in said if block.type == "tool_use")
    answer = Candidate(
        target=target.name,
        text=text,
        tool_calls=calls,
        finish_reason=finish,
        weight=target.weight,
        priority=target.priority,
        payload=Answer(fields, message.usage.usage(None) if message.usage else None, MESSAGES),
        flaw=flaw(text, finish, refused=False, calls=bool(calls)),
    )
    return broken(answer) or answer


def read_count(target: Target, body: bytes) -> Outcome:
    """Turn a count of tokens into a candidate."""
    try:
        fields = _objects.decode(body)
    except _FATAL:
        fields = {}
    if "input_tokens" not in fields:
        return Failure(target.name, FailureKind.MALFORMED, "the provider's answer is not a count of tokens")
    return Candidate(target=target.name, text="", payload=Answer(fields, None, COUNT_TOKENS))


def finished(stop_reason: str | None) -> str | None:
    """Return the `finish_reason` that selectors know."""
    return FINISHED.get(stop_reason, "stop") if stop_reason else None


def nothing_said(target: Target, finish: str | None) -> Failure:
    """Return the failure of an answer without words and calls."""
    if finish == "content_filter":
        return Failure(target.name, FailureKind.FILTERED, "the provider's model refused to answer")
    return Failure(target.name, FailureKind.EMPTY, "the provider answered without content")


def tool_call(block: Block) -> ToolCall:
    """Return a `tool_use` block as selectors know calls."""
    return ToolCall(block.name or "", bytes(block.input).decode(), block.id or "")
