"""OpenAI's Responses → chat completions: the request of a Responses client for targets that lack that endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Raw

from gateway.wires.words import Fields, Untranslatable, decoded, mapping, mappings, refuse_choice, text

LOGPROBS = "message.output_text.logprobs"

_SAME = (
    *("frequency_penalty", "parallel_tool_calls", "presence_penalty", "prompt_cache_key", "prompt_cache_retention"),
    *("safety_identifier", "service_tier", "temperature", "top_p", "user"),
)
_UNSAID = frozenset({"client_metadata", "context_management", "max_tool_calls", "truncation"})
"""What has no equal and does not change what is asked; named to the client as dropped where it was sent."""

_TRANSLATED = frozenset(
    {
        *_SAME,
        *("background", "include", "input", "instructions", "max_output_tokens", "metadata", "reasoning", "store"),
        *("stream_options", "text", "tool_choice", "tools", "top_logprobs"),
    }
)
_TOOL = ("type", "name", "description", "parameters", "strict", "format")
_STATEFUL = {
    "previous_response_id": "send the whole conversation as `input`",
    "conversation": "send the whole conversation as `input`",
    "prompt": "send its text as `instructions`",
    "background": "leave it out and wait, or stream",
    "store": "say `store: false`, and keep the answer yourself",
}
_ONLY_THERE = "ask a route of one target whose provider has `responses: true`"


def stateful(given: Mapping[str, Any]) -> Untranslatable | None:
    """Return why a request cannot be asked of several targets: one provider would keep, or has kept, a part of it."""
    for name, cure in _STATEFUL.items():
        if given.get(name):
            return Untranslatable(f"`{name}` ties a request to one provider's memory: {cure}, or {_ONLY_THERE}.", name)
    for tool in mappings(given.get("tools") or [], "tools"):
        if tool.get("type") not in {"function", "custom"}:
            return Untranslatable(
                f"The tool `{tool.get('type')}` is run by the provider: take it out, or {_ONLY_THERE}.", "tools"
            )
    return None


def request(fields: Mapping[str, Raw], *, stream: bool) -> tuple[Fields, tuple[str, ...]]:
    """Return the fields of the chat completion request that means the same, and the names of what was dropped.

    Fields that OpenAI does not document pass as they are. Raises Untranslatable for what the answer depends on and chat
    completions cannot say.
    """
    given = decoded(fields)
    if (refusal := stateful(given)) is not None:
        raise refusal
    if "input" not in given:
        raise Untranslatable("`input` is missing, expected a string or a list of items.", "input")
    made: Fields = {"messages": [*_instructions(given.get("instructions")), *conversation(given["input"])]}
    made |= {name: given[name] for name in _SAME if name in given}
    if "max_output_tokens" in given:
        made["max_completion_tokens"] = given["max_output_tokens"]
    if given.get("tools"):
        made["tools"] = [_tool(tool) for tool in given["tools"]]
        if "tool_choice" in given:
            made["tool_choice"] = _tool_choice(given["tool_choice"])
    else:
        refuse_choice(given.get("tool_choice"))
        made.pop("parallel_tool_calls", None)  # OpenAI refuses it without tools
    made |= _text(mapping(given.get("text", {}), "text"))
    if effort := mapping(given.get("reasoning", {}), "reasoning").get("effort"):
        made["reasoning_effort"] = effort
    if LOGPROBS in given.get("include", ()) or given.get("top_logprobs"):
        made |= {"logprobs": True, "top_logprobs": given.get("top_logprobs") or 0}
    if stream:
        made["stream_options"] = {"include_usage": True}  # the last event of a Responses stream always tells it
    made |= {name: value for name, value in given.items() if name not in _TRANSLATED | _UNSAID}
    return made, tuple(sorted({*(given.keys() & _UNSAID), *_unsaid(given)}))


def _unsaid(given: Mapping[str, Any]) -> Iterator[str]:
    """Give the names of what stands inside of fields and has no equal."""
    yield from ("include" for each in given.get("include", ()) if each != LOGPROBS)
    told = given.get("reasoning", {}).items()
    yield from (f"reasoning.{name}" for name, value in told if name != "effort" and value is not None)
    for tool in given.get("tools", ()):
        yield from (f"tools.{name}" for name, value in tool.items() if name not in _TOOL and value)


def _instructions(instructions: Any) -> Iterator[Fields]:
    if instructions:
        yield {"role": "system", "content": text(instructions, "instructions")}


def conversation(given: Any) -> list[Fields]:
    """Return the messages that a string or a list of items stands for.

    What one answer consists of (reasoning, a message, calls) are items of their own there and one message here.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[Fields] = []
    thoughts: list[str] = []
    for item in mappings(given, "input"):
        match item.get("type", "message"):
            case "message":
                messages += _message(item)
            case "function_call" | "custom_tool_call":
                message = _assistant(messages)
                message.setdefault("tool_calls", []).append(_call(item))
                if thoughts:
                    message["reasoning_content"] = "".join(thoughts)  # DeepSeek and others want it back there
            case "function_call_output" | "custom_tool_call_output":
                messages += _output(item)
            case "reasoning":
                # Encrypted, it is its provider's; in the clear, it came from a chat completion.
                parts = () if item.get("encrypted_content") else item.get("content") or ()
                thoughts = [part.get("text", "") for part in parts]
                continue
            case kind:
                raise Untranslatable(f"An item of type `{kind}` cannot be translated; {_ONLY_THERE}.", "input")
        if messages[-1]["role"] != "assistant":
            thoughts = []
    return messages


def _message(item: Mapping[str, Any]) -> Iterator[Fields]:
    role = item.get("role")
    content = _content(item.get("content"))
    if role == "assistant":
        yield {"role": "assistant", "content": content}
    else:
        # Other servers know no `developer`, and OpenAI takes both words for either.
        yield {"role": "system" if role == "developer" else role, "content": content}


def _assistant(messages: list[Fields]) -> Fields:
    """Return the assistant's message to which a call belongs: the last one, if it is the assistant's."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


def _call(item: Mapping[str, Any]) -> Fields:
    if item["type"] == "custom_tool_call":
        custom = {"name": item.get("name"), "input": item.get("input")}
        return {"id": item.get("call_id"), "type": "custom", "custom": custom}
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _output(item: Mapping[str, Any]) -> Iterator[Fields]:
    parts = _parts(item.get("output"))
    said = "\n\n".join(part["text"] for part in parts if part["type"] == "text")
    yield {"role": "tool", "tool_call_id": item.get("call_id"), "content": said}
    # A tool's message takes text only: what else it gave comes from the user, right behind.
    if others := [part for part in parts if part["type"] != "text"]:
        yield {"role": "user", "content": others}


def _content(content: Any) -> str | list[Fields]:
    """Return a message's content; one that is all text is one text, as many servers know no parts."""
    if isinstance(content, str):
        return content
    parts = _parts(content)
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts


def _parts(content: Any) -> list[Fields]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [_part(part) for part in mappings(content, "input")]


def _part(part: Mapping[str, Any]) -> Fields:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": text(part.get("text"), "input")}
        case "refusal":
            return {"type": "text", "text": text(part.get("refusal"), "input")}
        case "input_image" if part.get("image_url"):
            image = {"url": part["image_url"], **({"detail": part["detail"]} if part.get("detail") else {})}
            return {"type": "image_url", "image_url": image}
        case "input_file" if part.get("file_data") or part.get("file_id"):
            file = {name: part[name] for name in ("file_data", "file_id", "filename") if part.get(name)}
            return {"type": "file", "file": file}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
        case kind:
            cure = "send the data itself"
            raise Untranslatable(f"A part of type `{kind}` like this cannot be translated; {cure}.", "input")


def _tool(tool: Mapping[str, Any]) -> Fields:
    told = {name: tool[name] for name in _TOOL if name != "type" and tool.get(name) is not None}
    if tool.get("type") == "function":
        return {"type": "function", "function": told}
    if told.get("format", {}).get("type") == "grammar":
        grammar = {name: told["format"].get(name) for name in ("syntax", "definition")}
        told["format"] = {"type": "grammar", "grammar": grammar}
    return {"type": "custom", "custom": told}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    kind = mapping(choice, "tool_choice").get("type")
    if kind in {"function", "custom"}:
        return {"type": kind, kind: {"name": choice.get("name")}}
    if kind == "allowed_tools":
        allowed: Sequence[Any] = [_tool_choice(tool) for tool in mappings(choice.get("tools"), "tool_choice")]
        return {"type": kind, kind: {"mode": choice.get("mode"), "tools": allowed}}
    raise Untranslatable(f"The tool `{kind}` is run by the provider; {_ONLY_THERE}.", "tool_choice")


def _text(wanted: Mapping[str, Any]) -> Fields:
    made: Fields = {"verbosity": wanted["verbosity"]} if wanted.get("verbosity") else {}
    shape = mapping(wanted.get("format") or {}, "text")
    if shape.get("type") == "json_schema":
        schema = {name: value for name, value in shape.items() if name != "type" and value is not None}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif shape.get("type") == "json_object":
        made["response_format"] = {"type": "json_object"}
    elif shape.get("type") not in {None, "text"}:
        raise Untranslatable(f"The format `{shape['type']}` cannot be translated; {_ONLY_THERE}.", "text")
    return made
