"""Read OpenAI-shaped answers: what a selector needs to know of them, and nothing is changed.

Upstreams differ in what they call OpenAI-compatible (content as a list of parts, missing types, empty finish reasons),
so everything is optional here; a body that does not even fit this is malformed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fanin import Candidate, ToolCall, flaws
from gateway.domain import Answer, Failure, FailureKind, Target, Usage
from gateway.providers import classify

_FILTERED = frozenset({"content_filter", "refusal"})
_ABSENT = Raw(b"null")
_FATAL = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Function(Struct):
    name: str | None = None
    arguments: Any = None


class _ToolCall(Struct):
    id: str | None = None
    function: _Function | None = None
    custom: Any = None


class _Message(Struct):
    content: Any = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    audio: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class Choice(Struct):
    """One of the answers in an answer, or a piece of it."""

    index: int = 0
    message: _Message | None = None
    text: str | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    logprobs: Raw = _ABSENT


class _Tokens(Struct):
    prompt_tokens: int | float | None = None
    completion_tokens: int | float | None = None


class Reading(Struct):
    """The part of an answer or of a stream's chunk that we look at."""

    choices: list[Choice] | None = None
    usage: _Tokens | None = None
    error: Any = None

    def usage_or(self, before: Usage | None) -> Usage | None:
        """Return the counted tokens, or what was known before."""
        if self.usage is None:
            return before
        return Usage(int(self.usage.prompt_tokens or 0), int(self.usage.completion_tokens or 0))


_readings = msgspec.json.Decoder(Reading, strict=False)
_objects: msgspec.json.Decoder[dict[str, Raw]] = msgspec.json.Decoder(dict[str, Raw])


def read_chunk(data: bytes) -> Reading | None:
    """Read one event of a stream; None when it is not JSON of the expected shape."""
    try:
        return _readings.decode(data)
    except _FATAL:
        return None


def is_content(choice: Choice) -> bool:
    """Whether a choice carries words, a tool call or a refusal: what makes an answer more than a header."""
    said = choice.delta or choice.message
    if said is None:
        return bool(choice.text)
    called = (
        said.function_call is not None and said.function_call.name
    )  # Snowflake sends an empty one with every answer
    return bool(said.content or said.tool_calls or called or said.refusal or said.audio)


def thought_of(choice: Choice) -> str:
    """Return the reasoning in a choice, under either of its names."""
    said = choice.delta or choice.message
    return text_of(said.reasoning_content) or text_of(said.reasoning) if said is not None else ""


def thinking(thought: str, finish: str | None) -> Choice:
    """Return the choice that says aloud what was only thought."""
    return Choice(message=_Message(content=thought), finish_reason=finish)


def read_answer(target: Target, body: bytes) -> Candidate | Failure:
    """Turn a whole chat completion into a candidate, or into the failure that it really is.

    A success status does not make an answer: errors inside a 200, `choices: []` and empty content are failures.
    """
    try:
        fields = _objects.decode(body)
        reading = _readings.decode(body)
    except _FATAL:
        return Failure(target.name, FailureKind.MALFORMED, "the provider's answer is not a chat completion")
    if reading.error is not None:
        return classify.from_error_object(target.name, reading.error, None)
    if not reading.choices:
        return Failure(target.name, FailureKind.EMPTY, "the provider answered without any choice")
    if any(choice.message is None for choice in reading.choices):
        return Failure(target.name, FailureKind.MALFORMED, "the provider answered with a choice that has no message")
    choice = next(filter(is_content, reading.choices), None)
    if choice is None:
        choice = reading.choices[0]
        if choice.finish_reason == "content_filter":
            return Failure(target.name, FailureKind.FILTERED, "the provider's content filter held the answer back")
        thought = thought_of(choice)
        if not thought or target.on_reasoning_only != "answer":
            what = "reasoning and no answer" if thought else "the provider answered without content"
            return Failure(target.name, FailureKind.EMPTY, what)
        choice = thinking(thought, choice.finish_reason)
    answer = candidate(target, choice, Answer(fields, reading.usage_or(None)))
    return broken(answer) or answer


def broken(answer: Candidate) -> Failure | None:
    """Return the failure that a whole answer is in spite of its content: a loop that was cut, a broken call."""
    if answer.finish_reason == "length" and answer.flaw == flaws.DEGENERATE:
        return Failure(answer.target, FailureKind.DEGENERATE, "the answer repeats itself until it is cut")
    for call in answer.tool_calls:
        if not _is_object(call.arguments):
            return Failure(answer.target, FailureKind.INVALID, "the arguments of a tool call are no JSON object")
    return None


def _is_object(arguments: str) -> bool:
    """Whether arguments are a JSON object; several servers write nothing where a function takes none."""
    if not arguments or arguments.isspace():
        return True
    try:
        _objects.decode(arguments)
    except _FATAL:
        return False
    return True


def flaw(text: str, finish: str | None, *, refused: bool, calls: bool) -> str:
    """Say what keeps an answer from being quite one, in a word of `fanin.flaws`."""
    if refused:
        return flaws.REFUSED
    if finish in _FILTERED:
        return flaws.FILTERED
    if flaws.repeats(text):
        return flaws.DEGENERATE
    if finish == "length":
        return flaws.TRUNCATED
    if flaws.refuses(text) and not calls:
        return flaws.REFUSED
    return ""


def candidate(target: Target, choice: Choice, payload: object) -> Candidate:
    """Make a candidate of a choice."""
    said = choice.message or choice.delta or _Message(content=choice.text)
    text = text_of(said.content) or said.refusal or ""
    return Candidate(
        target=target.name,
        text=text,
        tool_calls=_tool_calls(said),
        finish_reason=choice.finish_reason or None,
        confidence=confidence(choice.logprobs),
        weight=target.weight,
        priority=target.priority,
        payload=payload,
        flaw=flaw(text, choice.finish_reason, refused=bool(said.refusal), calls=bool(said.tool_calls)),
    )


def text_of(content: Any) -> str:
    """Return the text of a message's content, which some providers send as a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(
            part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        )
    return ""


def _tool_calls(said: _Message) -> tuple[ToolCall, ...]:
    calls = [(call.id, call.function) for call in said.tool_calls or ()]
    if said.function_call is not None and said.function_call.name:
        calls.append((None, said.function_call))
    return tuple(
        ToolCall(function.name or "", _arguments(function.arguments), name or "")
        for name, function in calls
        if function
    )


def _arguments(arguments: Any) -> str:
    if arguments is None:
        return "{}"
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


class _TokenLogprob(Struct):
    logprob: float | None = None


class _Logprobs(Struct):
    content: list[_TokenLogprob] | None = None
    token_logprobs: list[float | None] | None = None


def confidence(logprobs: Raw) -> float | None:
    """Return exp(mean token log probability), in [0, 1], or None where there are none."""
    if logprobs == _ABSENT:
        return None  # the usual case, worth a comparison
    try:
        read = msgspec.json.decode(logprobs, type=_Logprobs)
    except _FATAL:
        return None
    values = [token.logprob for token in read.content or ()] or list(read.token_logprobs or ())
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return None
    return min(1.0, math.exp(sum(finite) / len(finite)))
