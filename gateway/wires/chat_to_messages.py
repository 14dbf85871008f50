"""Chat completions → Anthropic's Messages: the request of an OpenAI client for targets that speak Anthropic's wire."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wires.words import (
    Fields,
    Untranslatable,
    budget,
    data_url,
    mapping,
    mappings,
    of_data_url,
    read,
    refuse_choice,
    text,
)

MAX_TOKENS = 8192
"""What is asked for where the client names no limit: Anthropic demands one."""
LEAST_THINKING = 1024
"""The smallest budget of thinking that Anthropic takes."""

_SAME = ("temperature", "top_p")
_TRANSLATED = frozenset(
    {
        *_SAME,
        *("function_call", "functions", "max_completion_tokens", "max_tokens", "messages", "parallel_tool_calls"),
        *("reasoning_effort", "response_format", "safety_identifier", "stop", "tool_choice", "tools", "user"),
    }
)
TAKEN = _TRANSLATED
"""The chat parameters that have an equal."""

_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def request(given: Fields) -> tuple[Fields, tuple[str, ...]]:
    """Return the Messages request that means the same as a chat completion request, and the names of what is not in it.

    What is no field of OpenAI's (`thinking`, `top_k`, ...) passes as it is. Raises Untranslatable for parts that
    Anthropic has nothing like.
    """
    said = mappings(given.get("messages", []), "messages")
    system, messages = _conversation(said)
    made: Fields = {"messages": messages, **parameters(given)}
    made.setdefault(
        "max_tokens", MAX_TOKENS + int(mapping(made.get("thinking", {}), "thinking").get("budget_tokens", 0))
    )
    if system:
        made["system"] = system[0]["text"] if len(system) == 1 and len(system[0]) == 2 else system
    unsaid = {*_unsaid(said)}
    if "user" in given and "safety_identifier" in given:
        unsaid.add("safety_identifier")
    if "thinking" not in made and budget(given.get("reasoning_effort", "none")):
        unsaid.add("reasoning_effort")  # the limit leaves no room for thinking
    return made, tuple(sorted(unsaid))


def _unsaid(messages: list[Mapping[str, Any]]) -> Iterator[str]:
    """Give the names of what messages say beside their words and Anthropic has no place for."""
    for message in messages:
        if message.get("name") and message.get("role") != "function":
            yield "messages.name"
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") == "image_url" and part["image_url"].get("detail", "auto") != "auto":
                yield "messages.image_url.detail"


def parameters(given: Mapping[str, Any]) -> Fields:
    """Return everything but the conversation in Anthropic's words."""
    made: Fields = {name: given[name] for name in _SAME if name in given}
    limit = given.get("max_completion_tokens", given.get("max_tokens"))
    if limit is not None:
        made["max_tokens"] = limit
    if "stop" in given:
        made["stop_sequences"] = [given["stop"]] if isinstance(given["stop"], str) else given["stop"]
    user = given.get("user", given.get("safety_identifier"))
    if user is not None:
        made["metadata"] = {"user_id": user}
    tools = [_tool(tool) for tool in mappings(given.get("tools", []), "tools")]
    tools += [_function(function) for function in mappings(given.get("functions", []), "functions")]
    if tools:
        made["tools"] = tools
        made |= _tool_choice(given)
    else:
        refuse_choice(given.get("tool_choice", given.get("function_call")))
    made |= _thinking(given.get("reasoning_effort"), limit)
    made |= _format(mapping(given.get("response_format", {}), "response_format"))
    return made | {name: value for name, value in given.items() if name not in _TRANSLATED}


def _thinking(effort: Any, limit: Any) -> Fields:
    """Return what an effort means: at most half of a limit that is smaller, as Anthropic refuses what does not fit."""
    tokens = budget(effort or "none")
    if isinstance(limit, int) and limit <= tokens:
        tokens = limit // 2
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}} if tokens >= LEAST_THINKING else {}


def _format(wanted: Mapping[str, Any]) -> Fields:
    match wanted.get("type"):
        case "json_schema":
            schema = mapping(wanted.get("json_schema"), "response_format").get("schema")
            return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
        case "json_object":
            cure = "ask for a `json_schema` instead"
            raise Untranslatable(f"Anthropic has nothing like the `json_object` format; {cure}.", "response_format")
        case None | "text":
            return {}
        case kind:
            raise Untranslatable(
                f"Anthropic has no format `{kind}`; ask for a `json_schema` instead.", "response_format"
            )


def _tool(tool: Mapping[str, Any]) -> Fields:
    if tool.get("type", "function") != "function":
        raise Untranslatable(f"Anthropic has no tool of type `{tool.get('type')}`; offer it as a function.", "tools")
    return _function(mapping(tool.get("function"), "tools")) | _cached(tool)


def _function(function: Mapping[str, Any]) -> Fields:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    extras = {name: function[name] for name in ("description", "strict") if function.get(name) is not None}
    return {"name": function.get("name"), "input_schema": schema, **extras}


def _tool_choice(given: Mapping[str, Any]) -> Fields:
    wanted = given.get("tool_choice", given.get("function_call"))
    if isinstance(wanted, Mapping):
        named = wanted.get("function", wanted)
        if "name" not in named:
            raise Untranslatable("Anthropic has nothing like this `tool_choice`; name one function.", "tool_choice")
        choice = {"type": "tool", "name": named["name"]}
    else:
        if wanted is not None and wanted not in _CHOICES:
            raise Untranslatable(f"`tool_choice` is `{wanted}`, expected auto, none or required.", "tool_choice")
        choice = {} if wanted is None else {"type": _CHOICES[wanted]}
    alone = given.get("parallel_tool_calls") is False or "tools" not in given  # a `function_call` is one
    if alone and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return {"tool_choice": choice} if choice else {}


def _conversation(messages: list[Mapping[str, Any]]) -> tuple[list[Fields], list[Fields]]:
    """Return the system blocks and the turns. Results of tools and what the user says behind them are one turn."""
    system: list[Fields] = []
    turns: list[Fields] = []
    for message in messages:
        match message.get("role"):
            case "system" | "developer":
                system += _content(message.get("content"))
            case "assistant":
                turns.append({"role": "assistant", "content": [*_assistant(message)]})
            case "tool" | "function" as role:
                name = message.get("tool_call_id") if role == "tool" else message.get("name")
                result = {"type": "tool_result", "tool_use_id": name, "content": [*_content(message.get("content"))]}
                if turns and turns[-1]["role"] == "user":
                    turns[-1]["content"].append(result)
                else:
                    turns.append({"role": "user", "content": [result]})
            case "user":
                said = [*_content(message.get("content"))]
                if turns and turns[-1]["role"] == "user":
                    turns[-1]["content"] += said
                else:
                    turns.append({"role": "user", "content": said})
            case role:
                raise Untranslatable(f"A role is `{role}`, expected one that OpenAI documents.", "messages")
    return system, turns


def _assistant(message: Mapping[str, Any]) -> Iterator[Fields]:
    if message.get("audio"):
        raise Untranslatable("What a model said aloud is at its provider; send its transcript as text.", "messages")
    yield from message.get("thinking_blocks") or ()
    yield from _content(message.get("content") or message.get("refusal"))
    for call in message.get("tool_calls") or ():
        if call.get("type", "function") != "function":
            raise Untranslatable(f"Anthropic has no call of type `{call['type']}`; use functions.", "messages")
        function = mapping(call.get("function"), "messages")
        yield {
            "type": "tool_use",
            "id": call.get("id"),
            "name": function.get("name"),
            "input": read(function.get("arguments")),
        }
    if message.get("function_call"):
        legacy = mapping(message["function_call"], "messages")
        name = legacy.get("name")  # it has no id: its result names the function
        yield {"type": "tool_use", "id": name, "name": name, "input": read(legacy.get("arguments"))}


def _content(content: Any) -> Iterator[Fields]:
    """Give the blocks of a message's content; Anthropic refuses empty texts."""
    if isinstance(content, str):
        if content:
            yield {"type": "text", "text": content}
        return
    for part in mappings(content or [], "messages"):
        match part.get("type"):
            case "text":
                if part.get("text"):
                    yield {"type": "text", "text": part["text"], **_cached(part)}
            case "image_url":
                yield {
                    "type": "image",
                    "source": _source(text(mapping(part["image_url"], "messages").get("url"), "messages")),
                    **_cached(part),
                }
            case "file":
                yield _document(mapping(part.get("file"), "messages")) | _cached(part)
            case "refusal":
                yield {"type": "text", "text": part.get("refusal")}
            case kind:
                raise Untranslatable(f"Anthropic has nothing like a content part of type `{kind}`.", "messages")


def _cached(part: Mapping[str, Any]) -> Fields:
    """Return the mark of Anthropic's prompt cache, which clients put into OpenAI's words, too."""
    return {"cache_control": part["cache_control"]} if "cache_control" in part else {}


def _source(url: str) -> Fields:
    data = of_data_url(url)
    if data is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": data[0], "data": data[1]}


def _document(file: Mapping[str, Any]) -> Fields:
    given = file.get("file_data")
    if not isinstance(given, str):
        cure = "send the file itself as `file_data`"
        raise Untranslatable(f"A file of the provider's own store cannot be translated; {cure}.", "messages")
    source = _source(given) if given.startswith("data:") else _source(data_url("application/pdf", given))
    if str(source.get("media_type")).startswith("text/"):
        words = base64.b64decode(source["data"]).decode(errors="replace")
        source = {"type": "text", "media_type": "text/plain", "data": words}
    title = {"title": file["filename"]} if file.get("filename") else {}
    return {"type": "document", "source": source, **title}
