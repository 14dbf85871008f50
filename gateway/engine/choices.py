"""Several chat completions as one: their choices numbered anew, whole or chunk by chunk, and their tokens added up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.domain import Answer
from gateway.live_stream import LiveStream

_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[dict[str, Raw]])
_delta = msgspec.json.Decoder(dict[str, Raw] | None)
_index = msgspec.json.Decoder(int | None, strict=False)
_usage = msgspec.json.Decoder(dict[str, Any] | None)
_NULL, _NOTHING = Raw(b"null"), Raw(b"[]")
_message = msgspec.json.Decoder(dict[str, Any])
_reason = msgspec.json.Decoder(str | None)
_LEAST_COMPLETE = ("length", "content_filter", "tool_calls")
_OPENAI = frozenset({"index", "message", "logprobs", "finish_reason"})
_SHARED = ("id", "created", "model", "system_fingerprint", "service_tier")
_CHUNK = "chat.completion.chunk"


def together(first: Answer, answers: Sequence[Answer]) -> Answer:
    """Return one answer with the choices of all, numbered anew, and their tokens added up; the rest is the first's.

    Every choice keeps its own bytes but for its `index`.
    """
    choices: list[dict[str, Any]] = [choice for answer in answers for choice in _list.decode(answer.fields["choices"])]
    for index, choice in enumerate(choices):
        choice["index"] = index
    return billed(replace(first, fields={**first.fields, "choices": Raw(_encode(choices))}), answers)


def count(answer: Answer) -> int:
    """Return how many choices an answer has."""
    return len(_list.decode(answer.fields["choices"]))


def joined(text: str, answers: Sequence[Answer]) -> Answer:
    """Return one answer of one choice that says `text`, and calls the tools that any of them calls.

    It is as complete as the least complete of them: cut if one was.
    """
    choices = [_list.decode(answer.fields["choices"])[0] for answer in answers]
    messages = [_message.decode(choice["message"]) for choice in choices]
    message: dict[str, Any] = {**messages[0], "content": text}
    if calls := [call for each in messages for call in each.get("tool_calls") or ()]:
        message["tool_calls"] = calls
    reasons = [_reason.decode(choice.get("finish_reason", _NULL)) for choice in choices]
    finish = next((reason for reason in _LEAST_COMPLETE if reason in reasons), reasons[0])
    choice = {**choices[0], "index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return billed(replace(answers[0], fields={**answers[0].fields, "choices": Raw(_encode([choice]))}), answers)


def billed(answer: Answer, answers: Sequence[Answer]) -> Answer:
    """Return the answer with the tokens of all these added up."""
    told = [
        usage for answer in answers if "usage" in answer.fields and (usage := _usage.decode(answer.fields["usage"]))
    ]
    if not told:
        return answer
    return replace(answer, fields={**answer.fields, "usage": Raw(_encode(added(told)))})


def added(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add numbers up, also those inside objects; of anything else the first is kept."""
    total: dict[str, Any] = {}
    for key in dict.fromkeys(key for count in counts for key in count):
        values = [count[key] for count in counts if count.get(key) is not None]
        if values and all(isinstance(value, dict) for value in values):
            total[key] = added(values)
        elif values and all(isinstance(value, int | float) for value in values):
            total[key] = sum(values)
        else:
            total[key] = values[0] if values else None
    return total


async def chunks(payload: Answer | LiveStream, *, include_usage: bool) -> AsyncIterator[list[bytes]]:
    """Give the chunks of an answer, whether it is still being written or is whole already."""
    if isinstance(payload, Answer):
        yield list(replay(payload.fields, include_usage=include_usage))
        return
    async for events in payload:
        yield events


def replay(fields: Mapping[str, Raw], *, include_usage: bool) -> Iterator[bytes]:
    """Yield the chunks of a stream that says what a whole chat completion said.

    As in a real stream: the role comes first and once per choice, the end carries the finish reason, and the usage
    comes last, in a chunk without choices, only if the client asked for it.
    """
    shared: dict[str, Any] = {key: value for key, value in fields.items() if key not in {"choices", "usage", "object"}}
    head = {"id": shared.pop("id", _NULL), "object": _CHUNK, **shared}
    usage: dict[str, Any] = {"usage": None} if include_usage else {}

    def chunk(index: Raw, delta: Mapping[str, Any], finish: Any = None, **further: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, **further}
        return _encode({**head, "choices": [choice], **usage})

    for position, choice in enumerate(_list.decode(fields["choices"])):
        index = choice.get("index", Raw(b"%d" % position))
        message: dict[str, Any] = dict(_object.decode(choice["message"]))
        role = message.pop("role", Raw(b'"assistant"'))
        if (calls := message.get("tool_calls", _NULL)) != _NULL:
            message["tool_calls"] = [{"index": place, **call} for place, call in enumerate(_list.decode(calls))]
        said = {key: value for key, value in message.items() if value not in (_NULL, _NOTHING)}
        opening = {"role": role, "content": "" if "content" in said else None}
        vendor = {key: value for key, value in choice.items() if key not in _OPENAI}
        yield chunk(index, opening)
        yield chunk(index, said, logprobs=choice.get("logprobs"))
        yield chunk(index, {}, choice.get("finish_reason"), **vendor)
    if include_usage:
        yield _encode({**head, "choices": [], "usage": fields.get("usage", _NULL)})


class Score:
    """What the chunks of one stream of several answers share: they look as if a single upstream had sent them."""

    def __init__(self, first: bytes, *, include_usage: bool) -> None:
        began = _object.decode(first)
        self.shared = {name: began[name] for name in _SHARED if name in began}
        self._usage: dict[str, Any] = {"usage": None} if include_usage else {}

    def opening(self, count: int) -> bytes:
        """Return the first chunk, which opens every choice in order.

        Clients make room for a choice when they first see it: openai-python's `stream()` fails over one that comes
        before those of lower index. The role is told here and nowhere else.
        """
        delta = {"role": "assistant", "content": ""}
        return self._chunk(
            [{"index": i, "delta": delta, "logprobs": None, "finish_reason": None} for i in range(count)]
        )

    def ending(self, indices: Sequence[int], error: Mapping[str, Any]) -> bytes:
        """Return the chunk that ends choices which broke off.

        Of the finish reasons that clients know, `length` is the one that says "incomplete"; `error` says why.
        """
        ended = {"delta": {}, "logprobs": None, "finish_reason": "length", "error": error}
        return self._chunk([{"index": index, **ended} for index in indices])

    def total(self, usage: Mapping[str, Any] | None) -> bytes:
        """Return the last chunk, which tells the tokens of all."""
        return _encode({**self.shared, "object": _CHUNK, "choices": [], "usage": usage})

    def _chunk(self, choices: Sequence[Mapping[str, Any]]) -> bytes:
        return _encode({**self.shared, "object": _CHUNK, "choices": choices, **self._usage})


class Part:
    """Chunks of one answer in, the same chunks as those of the choices `place` of several out.

    `usage` is what the answer has said about its tokens, `unfinished` the choices that have no finish reason yet.
    """

    def __init__(self, score: Score, place: range) -> None:
        self._score, self._place = score, place
        self.usage: dict[str, Any] | None = None
        self.unfinished = set(place)

    def __call__(self, events: Sequence[bytes]) -> list[bytes]:
        """Return the chunks that are left: its tokens are told at the end of all."""
        return [chunk for event in events if (chunk := self._numbered(event)) is not None]

    def _numbered(self, event: bytes) -> bytes | None:
        fields: dict[str, Any] = {**_object.decode(event), **self._score.shared}
        choices = _list.decode(fields.get("choices", _NOTHING))
        if (usage := fields.get("usage", _NULL)) != _NULL:
            self.usage = _usage.decode(usage)
            if not choices:
                return None
            fields["usage"] = None
        fields["choices"] = [kept for choice in choices if (kept := self._placed(choice)) is not None]
        return _encode(fields) if fields["choices"] or not choices else None

    def _placed(self, choice: dict[str, Raw]) -> dict[str, Any] | None:
        """Return a choice under its new number; None for one that nobody asked for."""
        index = self._place.start + (_index.decode(choice.get("index", _NULL)) or 0)
        if index not in self._place:
            return None
        if choice.get("finish_reason", _NULL) != _NULL:
            self.unfinished.discard(index)
        delta = _delta.decode(choice.get("delta", _NULL)) or {}
        delta.pop("role", None)
        return {**choice, "index": index, "delta": delta}
