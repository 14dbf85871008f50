"""Anthropic's Messages → chat completions: the request of an Anthropic client for targets that speak OpenAI's wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Raw

from gateway.wires.words import (
    Fields,
    Untranslatable,
    content_blocks,
    data_url,
    decoded,
    effort,
    mapping,
    mappings,
    refuse_choice,
    text,
    written,
)

LONGEST_USER = 64
"""Characters that OpenAI allows for `user`; longer ones would cost the request."""

_SAME = ("temperature", "top_p")
_UNSAID = frozenset(
    {
        *("cache_control", "compaction", "context_management", "diagnostics", "fallback_credit_token", "fallbacks"),
        *("inference_geo", "metadata", "service_tier", "speed", "thinking", "top_k", "user_profile_id", "workspace_id"),
    }
)
"""What has no equal and does not change what is asked; named to the client as dropped where it was sent."""

_TRANSLATED = frozenset(
    {
        *(*_SAME, "max_tokens", "messages", "output_config", "output_format", "stop_sequences", "system"),
        *("tool_choice", "tools"),
    }
)
_TOOL = frozenset({"cache_control", "description", "input_schema", "name", "strict", "type"})
_ONLY_THERE = "only a target of Anthropic's can serve it: ask a route whose targets all are"


def request(fields: Mapping[str, Raw], *, stream: bool) -> tuple[Fields, tuple[str, ...]]:
    """Return the fields of the chat completion request that means the same, and the names of what was dropped.

    Fields that Anthropic does not document pass as they are. Raises Untranslatable for what the answer depends on and
    chat completions cannot say.
    """
    given = decoded(fields)
    for name in ("container", "mcp_servers", "thread"):
        if given.pop(name, None):
            raise Untranslatable(f"`{name}` cannot be translated; {_ONLY_THERE}.", name)
    made: Fields = {"messages": [*_system(given.get("system")), *_messages(given.get("messages", []))]}
    made |= {name: given[name] for name in _SAME if name in given}
    if "max_tokens" in given:
        made["max_completion_tokens"] = given["max_tokens"]
    if "stop_sequences" in given:
        made["stop"] = given["stop_sequences"]
    if given.get("tools"):
        made["tools"] = [_tool(tool) for tool in mappings(given["tools"], "tools")]
        made |= _tool_choice(mapping(given.get("tool_choice", {}), "tool_choice"))
    else:
        refuse_choice(given.get("tool_choice"))
    # Before it was a part of `output_config` the format was a field of its own.
    made |= _output({"format": given.get("output_format"), **mapping(given.get("output_config", {}), "output_config")})
    dropped = {*(given.keys() & _UNSAID), *_unsaid(given)}
    thinking = mapping(given.get("thinking", {}), "thinking")
    if "budget_tokens" in thinking and thinking.get("type") == "enabled":
        made.setdefault("reasoning_effort", effort(int(thinking["budget_tokens"])))
    if "reasoning_effort" in made:
        dropped.discard("thinking")
    user = mapping(given.get("metadata", {}), "metadata").get("user_id")
    if isinstance(user, str) and len(user) <= LONGEST_USER:
        made["user"] = user
        dropped.discard("metadata")
    if stream:
        made["stream_options"] = {"include_usage": True}  # Anthropic's streams always tell it
    made |= {name: value for name, value in given.items() if name not in _TRANSLATED | _UNSAID}
    return made, tuple(sorted(dropped))


def _unsaid(given: Mapping[str, Any]) -> Iterator[str]:
    """Give the names of what stands inside of fields and has no equal."""
    yield from (f"output_config.{name}" for name in given.get("output_config", {}) if name not in {"effort", "format"})
    for tool in given.get("tools", ()):
        yield from (f"tools.{name}" for name in tool if name not in _TOOL)
        yield from _marks(tool)
    contents = [given.get("system"), *(message.get("content") for message in given.get("messages", ()))]
    for content in contents:
        for block in content if isinstance(content, list) else ():
            yield from _marks(block)


def _marks(block: Mapping[str, Any]) -> Iterator[str]:
    """Give the names of what one block says beside its words."""
    if "cache_control" in block:
        yield "cache_control"
    match block.get("type"):
        case "document":
            if block.get("context"):
                yield "messages.context"
            if (block.get("citations") or {}).get("enabled"):
                yield "messages.citations"
        case "tool_result":
            if block.get("is_error"):
                yield "messages.is_error"
            inner = block.get("content")
            for item in inner if isinstance(inner, list) else ():
                yield from _marks(item)


def _system(system: Any) -> Iterator[Fields]:
    if system:
        yield {"role": "system", "content": _joined(system, "system")}


def _joined(content: Any, param: str) -> str:
    """Return text blocks as one text: servers that know no content parts are many, and a border means nothing."""
    if isinstance(content, str):
        return content
    blocks = mappings(content, param)
    for block in blocks:
        if block.get("type") != "text":
            raise Untranslatable(f"A block of type `{block.get('type')}` cannot be translated; {_ONLY_THERE}.", param)
    return "\n\n".join(text(block.get("text"), param) for block in blocks)


def _messages(messages: Any) -> Iterator[Fields]:
    for message in mappings(messages, "messages"):
        content = message.get("content")
        blocks = content_blocks(content, "messages")
        if message.get("role") == "assistant":
            yield _assistant(blocks)
        elif message.get("role") == "system":
            yield {"role": "system", "content": _joined(content, "messages")}
        elif message.get("role") == "user":
            yield from _user(blocks)
        else:
            raise Untranslatable(f"A role is `{message.get('role')}`, expected user, assistant or system.", "messages")


def _assistant(blocks: list[Mapping[str, Any]]) -> Fields:
    said, calls, thoughts = [], [], []
    for block in blocks:
        match block.get("type"):
            case "text":
                said.append(text(block.get("text"), "messages"))
            case "tool_use":
                function = {"name": block.get("name"), "arguments": written(block.get("input") or {})}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            case "thinking" if not block.get("signature"):
                thoughts.append(text(block.get("thinking"), "messages"))  # we wrote it: another target's own words
            case "thinking" | "redacted_thinking":
                pass  # signed by Anthropic, for Anthropic
            case kind:
                raise Untranslatable(f"A block of type `{kind}` cannot be translated; {_ONLY_THERE}.", "messages")
    message: Fields = {"role": "assistant", "content": "".join(said) or None}
    if calls:
        message["tool_calls"] = calls
        if thoughts:
            message["reasoning_content"] = "".join(thoughts)  # DeepSeek and others want it back beside their calls
    elif not said:
        message["content"] = ""
    return message


def _user(blocks: list[Mapping[str, Any]]) -> Iterator[Fields]:
    parts: list[Fields] = []
    for block in blocks:
        if block.get("type") != "tool_result":
            parts += _parts(block)
            continue
        inner = content_blocks(block.get("content") or "", "messages")
        given = [part for item in inner for part in _parts(item)]
        said = "\n\n".join(part["text"] for part in given if part["type"] == "text")
        yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": said}
        # A tool's message takes text only: what else it gave comes from the user, right behind.
        parts += [part for part in given if part["type"] != "text"]
    if parts and all(part["type"] == "text" for part in parts):
        yield {"role": "user", "content": "\n\n".join(part["text"] for part in parts)}
    elif parts:
        yield {"role": "user", "content": parts}


def _parts(block: Mapping[str, Any]) -> Iterator[Fields]:
    match block.get("type"):
        case "text":
            yield {"type": "text", "text": text(block.get("text"), "messages")}
        case "image":
            yield {"type": "image_url", "image_url": {"url": _address(block, "image")}}
        case "document":
            yield from _document(block)
        case kind:
            raise Untranslatable(f"A block of type `{kind}` cannot be translated; {_ONLY_THERE}.", "messages")


def _document(block: Mapping[str, Any]) -> Iterator[Fields]:
    source = mapping(block.get("source"), "messages")
    title = block.get("title") or "document"
    match source.get("type"):
        case "text":
            yield {"type": "text", "text": text(source.get("data"), "messages")}
        case "content":
            for item in content_blocks(source.get("content"), "messages"):
                yield from _parts(item)
        case "url":
            cure = "send its data as base64"
            raise Untranslatable(f"A document given by its address cannot be translated; {cure}.", "messages")
        case _:
            name = title if "." in title else f"{title}.pdf"
            yield {"type": "file", "file": {"filename": name, "file_data": _address(block, "document")}}


def _address(block: Mapping[str, Any], what: str) -> str:
    source = mapping(block.get("source"), "messages")
    match source.get("type"):
        case "base64":
            return data_url(text(source.get("media_type"), "messages"), text(source.get("data"), "messages"))
        case "url":
            return text(source.get("url"), "messages")
        case kind:
            cure = f"send the {what} itself as base64, or ask targets of Anthropic's only"
            raise Untranslatable(f"The source `{kind}` of the {what} cannot be translated; {cure}.", "messages")


def _tool(tool: Mapping[str, Any]) -> Fields:
    if tool.get("type") not in {None, "custom"}:
        raise Untranslatable(f"The tool `{tool.get('type')}` is Anthropic's own; {_ONLY_THERE}.", "tools")
    function = {"name": tool.get("name"), "parameters": tool.get("input_schema")}
    return {"type": "function", "function": function | {k: tool[k] for k in ("description", "strict") if k in tool}}


def _tool_choice(choice: Mapping[str, Any]) -> Fields:
    made: Fields = {}
    match choice.get("type"):
        case "auto" | "none" as word:
            made["tool_choice"] = word
        case "any":
            made["tool_choice"] = "required"
        case "tool":
            made["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
        case kind if kind is not None:
            raise Untranslatable(
                f"`tool_choice` has the type `{kind}`, expected auto, any, none or tool.", "tool_choice"
            )
    if "disable_parallel_tool_use" in choice:
        made["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
    return made


def _output(config: Mapping[str, Any]) -> Fields:
    made: Fields = {}
    if (word := config.get("effort")) is not None:
        made["reasoning_effort"] = "xhigh" if word == "max" else word
    wanted = mapping(config.get("format") or {}, "output_config")
    if wanted.get("type") not in {None, "json_schema"}:
        raise Untranslatable(f"The format `{wanted['type']}` cannot be translated; {_ONLY_THERE}.", "output_config")
    if wanted:
        schema = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    return made
