"""Validation of whole answers against what the request itself asks for: its `response_format`, its tools' schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

from fanin import Candidate, ToolCall, flaws
from gateway import schemas
from gateway.domain import Answer, Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target

_FATAL = (msgspec.MsgspecError, RecursionError)


def validated(call: Caller) -> Caller:
    """Turn an answer that is not of the form asked for into a failure, so that another one is asked for.

    What is checked: JSON where `response_format` asks for JSON, its schema where it gives one, and the arguments of
    calls to functions that are offered as `strict`. A refusal or a cut answer has no form and stays what it is. A live
    stream is passed on as it comes and is not checked. A request without any of these costs two lookups.
    """

    async def with_valid_answers(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        outcome = await call(target, request, deadline)
        fields = request.fields
        if "response_format" not in fields and "tools" not in fields:
            return outcome
        if isinstance(outcome, Failure) or not isinstance(outcome.payload, Answer):
            return outcome
        if outcome.tool_calls:
            return await _with_valid_calls(outcome, request)
        if "response_format" in fields and outcome.flaw in _WHOLE:
            return await _of_format(outcome, bytes(fields["response_format"]))
        return outcome

    return with_valid_answers


_WHOLE = {"", flaws.DEGENERATE}
"""Flaws with which an answer still has a form."""


async def _of_format(answer: Candidate, raw: bytes) -> Outcome:
    fault = await schemas.format_fault(answer.text, raw)
    return answer if fault is None else Failure(answer.target, FailureKind.INVALID, fault)


class _Function(Struct):
    name: str = ""
    strict: bool | None = None
    parameters: Raw = Raw(b"null")


class _Tool(Struct):
    function: _Function | None = None


@lru_cache(maxsize=256)
def _tools(raw: bytes) -> Mapping[str, tuple[bool, bytes]]:
    """Return whether each function is strict, and the schema of its parameters; nothing where it cannot be read."""
    try:
        read = msgspec.json.decode(raw, type=list[_Tool])
    except _FATAL:
        return {}
    functions = [tool.function for tool in read if tool.function is not None]
    return {each.name: (each.strict is True, bytes(each.parameters)) for each in functions}


async def _with_valid_calls(answer: Candidate, request: ChatRequest) -> Outcome:
    raw = request.fields.get("tools")
    if raw is None or (not request.checks_arguments and b'"strict"' not in bytes(raw)):
        return answer
    offered = _tools(bytes(raw))
    for call in answer.tool_calls:
        strict, schema = offered.get(call.name, (False, b""))
        if not (strict or request.checks_arguments) or await schemas.fits(schema, _arguments(call)):
            continue
        if strict:
            return Failure(
                answer.target, FailureKind.INVALID, "the arguments of a call break the function's strict schema"
            )
        return replace(answer, flaw=flaws.INVALID)
    return answer


def _arguments(call: ToolCall) -> Any:
    return msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
