"""Several answers side by side as the choices of one chat completion, as `n` asks of one provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from gateway.domain import Answer

_choices = msgspec.json.Decoder(list[dict[str, Raw]])
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
    fields = {**first.fields, "choices": Raw(msgspec.json.encode(choices))}
    told = [
        usage for answer in answers if "usage" in answer.fields and (usage := _usage.decode(answer.fields["usage"]))
    ]
    if told:
        fields["usage"] = Raw(msgspec.json.encode(_added(told)))
    return Answer(fields, first.usage)


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
