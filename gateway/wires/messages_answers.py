"""Whole answers and counts between Anthropic's Messages and chat completions, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.wires.words import Fields, read, written

FINISHED = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's `stop_reason` → the `finish_reason`; what Anthropic invents next means `stop`."""

STOPPED = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""The `finish_reason` → Anthropic's `stop_reason`; everything else means `end_turn`."""


def to_chat(message: Mapping[str, Any], created: int) -> Fields:
    """Return a Messages answer as a chat completion.

    Thinking keeps its signed blocks beside its text, so that the conversation can go on. What Anthropic's own tools
    wrote (searches, executions) has no place there.
    """
    blocks: Sequence[Mapping[str, Any]] = message.get("content") or ()
    texts = [block for block in blocks if block.get("type") == "text"]
    said: Fields = {"role": "assistant", "content": "".join(block["text"] for block in texts) or None, "refusal": None}
    if quoted := citations(texts):
        said["annotations"] = quoted
    thoughts = [block for block in blocks if block.get("type") in {"thinking", "redacted_thinking"}]
    if thoughts:
        said["reasoning_content"] = "".join(block.get("thinking", "") for block in thoughts)
        said["thinking_blocks"] = thoughts
    calls = [tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    if calls:
        said["tool_calls"] = calls
    reason = message.get("stop_reason")
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": FINISHED.get(str(reason), "stop")}
    return {
        "id": message.get("id"),
        "object": "chat.completion",
        "created": created,
        "model": message.get("model"),
        "choices": [choice | {"native_finish_reason": reason}],
        "usage": usage_to_chat(message.get("usage") or {}),
    }


def tool_call(block: Mapping[str, Any]) -> Fields:
    """Return a `tool_use` block as a tool call."""
    function = {"name": block.get("name"), "arguments": written(block.get("input") or {})}
    return {"id": block.get("id"), "type": "function", "function": function}


def citations(texts: Sequence[Mapping[str, Any]], start: int = 0) -> list[Fields]:
    """Return the addresses that text blocks cite, with the place of the block in the whole text."""
    quoted: list[Fields] = []
    for block in texts:
        end = start + len(block["text"])
        for citation in block.get("citations") or ():
            if "url" in citation:
                cited = {"url": citation["url"], "title": citation.get("title"), "start_index": start, "end_index": end}
                quoted.append({"type": "url_citation", "url_citation": cited})
        start = end
    return quoted


def from_chat(completion: Mapping[str, Any], model: str) -> Fields:
    """Return a chat completion as a Messages answer; of several choices, the first."""
    choice = completion["choices"][0]
    content = blocks(choice.get("message") or {})
    return {
        "id": completion.get("id"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason(choice.get("finish_reason"), content),
        "stop_sequence": None,
        "usage": usage_from_chat(completion.get("usage") or {}),
    }


def blocks(said: Mapping[str, Any]) -> list[Fields]:
    """Return what a chat message says as content blocks: thinking, text, calls."""
    made: list[Fields] = list(said.get("thinking_blocks") or ())
    thoughts = said.get("reasoning_content") or said.get("reasoning")
    if thoughts and not made:
        made.append({"type": "thinking", "thinking": thoughts, "signature": ""})  # nobody signed it
    content = said.get("content") or said.get("refusal")
    if isinstance(content, str):
        made.append({"type": "text", "text": content})
    else:
        made += [{"type": "text", "text": part["text"]} for part in content or () if part.get("type") == "text"]
    calls = list(said.get("tool_calls") or ())
    if (said.get("function_call") or {}).get("name"):
        calls.append({"function": said["function_call"]})
    for place, call in enumerate(calls):
        function = call.get("function") or {}
        tool = {"id": call.get("id") or f"call_{place}", "name": function.get("name")}
        made.append({"type": "tool_use", **tool, "input": read(function.get("arguments"))})
    return made


_STREAMED = {"text": ("text", "text_delta"), "thinking": ("thinking", "thinking_delta")}
"""What of a block comes in deltas."""


def told(index: int, block: Mapping[str, Any]) -> list[Fields]:
    """Return the events by which a stream would have told one whole block."""
    begun, deltas = dict(block), []
    kind = block.get("type")
    if kind in _STREAMED:
        name, delta = _STREAMED[kind]
        begun[name] = ""
        deltas.append({"type": delta, name: block.get(name, "")})
        deltas += [{"type": "citations_delta", "citation": cited} for cited in begun.pop("citations", None) or ()]
        if begun.get("signature"):
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            begun["signature"] = ""
    elif str(kind).endswith("tool_use"):
        begun["input"] = {}
        deltas.append({"type": "input_json_delta", "partial_json": written(block.get("input") or {})})
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def stop_reason(finish: object, content: Sequence[Mapping[str, Any]]) -> str:
    """Return the `stop_reason`; an answer that calls tools has stopped for that, whatever its provider calls it."""
    if finish not in {"length", "content_filter"} and any(block["type"] == "tool_use" for block in content):
        return "tool_use"
    return STOPPED.get(str(finish), "end_turn")


def usage_to_chat(usage: Mapping[str, Any]) -> Fields:
    """Return OpenAI's counts: there the prompt includes what was read from a cache or written to one."""
    read_, written_ = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    prompt = (usage.get("input_tokens") or 0) + read_ + written_
    completion = usage.get("output_tokens") or 0
    made: Fields = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    made["prompt_tokens_details"] = {"cached_tokens": read_, "cache_write_tokens": written_}
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens")
    if thought is not None:
        made["completion_tokens_details"] = {"reasoning_tokens": thought}
    return made


def usage_from_chat(usage: Mapping[str, Any]) -> Fields:
    """Return Anthropic's counts: there `input_tokens` leaves out what was read from a cache or written to one."""
    details = usage.get("prompt_tokens_details") or {}
    read_, written_ = details.get("cached_tokens") or 0, details.get("cache_write_tokens") or 0
    made: Fields = {
        "input_tokens": max(0, (usage.get("prompt_tokens") or 0) - read_ - written_),
        "cache_creation_input_tokens": written_,
        "cache_read_input_tokens": read_,
        "output_tokens": usage.get("completion_tokens") or 0,
    }
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if thought:
        made["output_tokens_details"] = {"thinking_tokens": thought}
    return made
