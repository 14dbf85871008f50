"""Several answers side by side as the choices of one chat completion, as `n` asks of one provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.domain import Answer

_choices = msgspec.json.Decoder(list[dict[str, Raw]])
_message = msgspec.json.Decoder(dict[str, Any])
_reason = msgspec.json.Decoder(str | None)
_NULL = Raw(b"null")
_LEAST_COMPLETE = ("length", "content_filter", "tool_calls")
_usage = msgspec.json.Decoder(dict[str, Any] | None)


def together(first: Answer, answers: Sequence[Answer]) -> Answer:
    """Return one answer with the choices of all, numbered anew, and their tokens added up; the rest is the first's.

    Every choice keeps its own bytes but for its `index`.
    """
    choices: list[dict[str, Any]] = [
        choice for answer in answers for choice in _choices.decode(answer.fields["choices"])
    ]
    for index, choice in enumerate(choices):
        choice["index"] = index
    return billed(Answer({**first.fields, "choices": Raw(msgspec.json.encode(choices))}, first.usage), answers)


def joined(text: str, answers: Sequence[Answer]) -> Answer:
    """Return one answer of one choice that says `text`, and calls the tools that any of them calls.

    It is as complete as the least complete of them: cut if one was.
    """
    choices = [_choices.decode(answer.fields["choices"])[0] for answer in answers]
    messages = [_message.decode(choice["message"]) for choice in choices]
    message: dict[str, Any] = {**messages[0], "content": text}
    if calls := [call for each in messages for call in each.get("tool_calls") or ()]:
        message["tool_calls"] = calls
    reasons = [_reason.decode(choice.get("finish_reason", _NULL)) for choice in choices]
    finish = next((reason for reason in _LEAST_COMPLETE if reason in reasons), reasons[0])
    choice = {**choices[0], "index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    fields = {**answers[0].fields, "choices": Raw(msgspec.json.encode([choice]))}
    return billed(Answer(fields, answers[0].usage), answers)


def billed(answer: Answer, answers: Sequence[Answer]) -> Answer:
    """Return the answer with the tokens of all these added up."""
    told = [
        usage for answer in answers if "usage" in answer.fields and (usage := _usage.decode(answer.fields["usage"]))
    ]
    if not told:
        return answer
    return replace(answer, fields={**answer.fields, "usage": Raw(msgspec.json.encode(_added(told)))})


def _added(counts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add numbers up, also those inside objects; of anything else the first is kept."""
    total: dict[str, Any] = {}
    for key in dict.fromkeys(key for count in counts for key in count):
        values = [count[key] for count in counts if count.get(key) is not None]
        if values and all(isinstance(value, dict) for value in values):
            total[key] = _added(values)
        elif values and all(isinstance(value, int | float) for value in values):
            total[key] = sum(values)
        else:
            total[key] = values[0] if values else None
    return total
