"""litellm's answers → OpenAI's shape: what OpenAI's objects have stays, what litellm adds goes.

Kept beyond OpenAI's own fields: `reasoning_content` and `thinking_blocks`, without whose signatures a conversation with
a thinking model cannot be continued.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Fields = dict[str, Any]

_EXTRAS = ("tool_calls", "function_call", "audio", "annotations", "images", "reasoning_content", "thinking_blocks")
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_DETAILS = {
    "prompt_tokens_details": ("cached_tokens", "audio_tokens"),
    "completion_tokens_details": (
        "reasoning_tokens",
        "audio_tokens",
        "accepted_prediction_tokens",
        "rejected_prediction_tokens",
    ),
}


def completion(answer: Mapping[str, Any]) -> Fields:
    """Return a whole chat completion."""
    fields = _head(answer, "chat.completion")
    fields["choices"] = [_choice(choice, "message", _message(choice["message"])) for choice in answer["choices"]]
    if answer.get("usage"):
        fields["usage"] = _usage(answer["usage"])
    return fields


def chunk(answer: Mapping[str, Any]) -> Fields:
    """Return one chunk of a stream; the one that carries the usage has no choices, as OpenAI's."""
    fields = _head(answer, "chat.completion.chunk")
    if answer.get("usage"):
        return fields | {"choices": [], "usage": _usage(answer["usage"])}
    return fields | {"choices": [_choice(choice, "delta", _delta(choice["delta"])) for choice in answer["choices"]]}


def _head(answer: Mapping[str, Any], kind: str) -> Fields:
    fields = {"id": answer["id"], "object": kind, "created": answer["created"], "model": answer["model"]}
    return fields | _present(answer, ("system_fingerprint", "service_tier"))


def _choice(choice: Mapping[str, Any], name: str, said: Fields) -> Fields:
    return {
        "index": choice.get("index", 0),
        name: said,
        "logprobs": choice.get("logprobs"),
        "finish_reason": choice.get("finish_reason"),
    }


def _message(message: Mapping[str, Any]) -> Fields:
    fields: Fields = {"role": "assistant", "content": message.get("content"), "refusal": message.get("refusal")}
    fields |= _present(message, _EXTRAS)
    if "tool_calls" in fields:
        fields["tool_calls"] = [_tool_call(call) for call in fields["tool_calls"]]
    return fields


def _delta(delta: Mapping[str, Any]) -> Fields:
    fields = _present(delta, ("role",))
    if delta.get("content") or fields:
        fields["content"] = delta.get("content")
    fields |= _present(delta, ("refusal", *_EXTRAS))
    if "tool_calls" in fields:
        fields["tool_calls"] = [{"index": call.get("index", 0), **_tool_call(call)} for call in fields["tool_calls"]]
    return fields


def _tool_call(call: Mapping[str, Any]) -> Fields:
    """Return a tool call; a later piece of a streamed one has neither id nor type nor name."""
    function = {
        name: text for name, text in call["function"].items() if name in {"name", "arguments"} and text is not None
    }
    if call.get("id") is None:
        return {"function": function}
    return {"id": call["id"], "type": "function", "function": function}


def _usage(usage: Mapping[str, Any]) -> Fields:
    fields: Fields = {name: usage.get(name) or 0 for name in _COUNTS}
    for name, counts in _DETAILS.items():
        details = {count: number for count in counts if (number := (usage.get(name) or {}).get(count)) is not None}
        if details:
            fields[name] = details
    return fields


def _present(fields: Mapping[str, Any], names: Iterable[str]) -> Fields:
    return {name: value for name in names if (value := fields.get(name)) not in (None, [], {}, "")}
