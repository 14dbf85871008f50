"""Translations between the protocols: what both can say survives the way there and back, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from gateway.wires import (
    chat_to_messages,
    chat_to_responses,
    messages_answers,
    messages_events,
    messages_to_chat,
    responses_to_chat,
    words,
)

few = settings(max_examples=40)
"""A translation costs little, generating what is translated a lot."""

texts = st.text(min_size=1, max_size=12)
names = st.sampled_from(["a", "get_weather", "city", "x_1"]) | st.text("abc_", min_size=1, max_size=4)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(names, scalars, max_size=2)
objects = st.dictionaries(names, values, min_size=1, max_size=3)
schemas = st.builds(lambda fields: {"type": "object", "properties": fields}, objects)


def call(number: int, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool call as chat completions write it."""
    text = msgspec.json.encode(arguments).decode()
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": text}}


@st.composite
def turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A conversation: the user speaks, the assistant answers or calls, tools answer, the user may go on."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(texts)})
    number = 0
    for _ in range(draw(st.integers(1, 3))):
        image = {"type": "image_url", "image_url": {"url": words.data_url("image/png", "QUJD")}}
        parts = [{"type": "text", "text": draw(texts)}, image]
        messages.append({"role": "user", "content": draw(texts | st.just(parts))})
        said = draw(texts | st.none())
        calls = []
        for name, arguments in draw(st.lists(st.tuples(names, objects), min_size=0 if said else 1, max_size=2)):
            calls.append(call(number, name, arguments))
            number += 1
        messages.append({"role": "assistant", "content": said, **({"tool_calls": calls} if calls else {})})
        messages += [{"role": "tool", "tool_call_id": each["id"], "content": draw(texts)} for each in calls]
    return messages


functions = st.builds(
    lambda name, schema, told: {
        "type": "function",
        "function": {"name": name, "parameters": schema, **({"description": told} if told else {})},
    },
    names,
    schemas,
    texts | st.none(),
)
choices = st.sampled_from(["auto", "none", "required"]) | st.builds(
    lambda name: {"type": "function", "function": {"name": name}}, names
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A chat completion request with what Anthropic's Messages know, too."""
    made: dict[str, Any] = {"messages": draw(turns()), "max_completion_tokens": draw(st.integers(1, 9999))}
    optional = {
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "stop": st.lists(texts, min_size=1, max_size=3),
        "user": texts,
        "vendor": values.filter(lambda value: value is not None),
    }
    made |= {name: draw(strategy) for name, strategy in optional.items() if draw(st.booleans())}
    if draw(st.booleans()):
        made |= {"tools": draw(st.lists(functions, min_size=1, max_size=2)), "tool_choice": draw(choices)}
    if draw(st.booleans()):
        schema = {"name": "answer", "schema": draw(schemas), "strict": True}
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    return made


def raw(fields: Mapping[str, Any]) -> dict[str, Raw]:
    return {name: Raw(json.dumps(value).encode()) for name, value in fields.items()}


@few
@given(requests())
def test_a_chat_request_survives_anthropic_s_words(request: dict[str, Any]) -> None:
    """Chat → Messages → chat: conversation, tools, format and limits are what they were; nothing is dropped."""
    there, lost = chat_to_messages.request(request)
    back, dropped = messages_to_chat.request(raw(there), stream=False)
    assert back == request
    assert (lost, dropped) == ((), ())


contents = st.builds(
    lambda text, calls, finish: (text if text or not calls else None, calls, finish),
    texts | st.none(),
    st.lists(st.tuples(names, objects), max_size=3),
    st.sampled_from(["stop", "length", "content_filter"]),
).filter(lambda said: said[0] or said[1])


def completion(said: tuple[str | None, Sequence[tuple[str, Any]], str], thoughts: str | None = None) -> dict[str, Any]:
    """Return a whole chat completion that says so."""
    text, calls, finish = said
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = [call(number, *each) for number, each in enumerate(calls)]
        finish = "tool_calls" if finish == "stop" else finish
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 5,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        },
    }


def plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without what has no words: nulls, and the blocks that thinking keeps for Anthropic."""
    return {name: value for name, value in message.items() if value is not None and name != "thinking_blocks"}


@few
@given(contents, texts | st.none())
def test_an_answer_survives_anthropic_s_words(said: Any, thoughts: str | None) -> None:
    """Chat → Messages → chat: text, thinking, calls, why it ended and what it cost."""
    whole = completion(said, thoughts)
    back = messages_answers.to_chat(messages_answers.from_chat(whole, "m"), created=7)
    choice, before = back["choices"][0], whole["choices"][0]
    assert plain(choice["message"]) == plain(before["message"])
    if not (said[1] and said[2] == "content_filter"):
        assert choice["finish_reason"] == before["finish_reason"]
    assert back["usage"] == whole["usage"]
    assert (back["id"], back["model"]) == ("c-1", "m")


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def chunks(whole: Mapping[str, Any], size: int) -> list[dict[str, Any]]:
    """Return the chunks of a stream that says what a completion says, in pieces of so many characters."""
    head = {"id": whole["id"], "object": "chat.completion.chunk", "created": whole["created"], "model": whole["model"]}
    choice = whole["choices"][0]
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": piece} for piece in pieces(message.get("reasoning_content") or "", size)]
    deltas += [{"content": piece} for piece in pieces(message["content"] or "", size)]
    for index, each in enumerate(message.get("tool_calls") or ()):
        deltas.append({"tool_calls": [{**each, "index": index, "function": {**each["function"], "arguments": ""}}]})
        for piece in pieces(each["function"]["arguments"], size):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    made = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    made.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    return [*made, {**head, "choices": [], "usage": whole["usage"]}]


def gathered(stream: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the chunks of a stream together again."""
    message: dict[str, Any] = {}
    calls: dict[int, dict[str, Any]] = {}
    finish = usage = None
    for chunk in stream:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                if delta.get(name):
                    message[name] = message.get(name, "") + delta[name]
            for each in delta.get("tool_calls") or ():
                function = calls.setdefault(each["index"], {**each, "function": {**each["function"], "arguments": ""}})
                function["function"]["arguments"] += each["function"].get("arguments") or ""
    if calls:
        message["tool_calls"] = [{k: v for k, v in each.items() if k != "index"} for each in calls.values()]
    return {"message": message, "finish_reason": finish, "usage": usage}


@few
@given(contents, texts | st.none(), st.integers(1, 5))
def test_a_stream_survives_anthropic_s_events(said: Any, thoughts: str | None, size: int) -> None:
    """Chunks → events → chunks, in whatever pieces: the same words, calls, end and counts."""
    stream = chunks(completion(said, thoughts), size)
    there = messages_events.EventsOfChunks("m")
    back = messages_events.ChunksOfEvents(7, include_usage=True)
    events = [event for chunk in stream for event in there.feed(chunk)]
    events += there.end()
    again = gathered(chunk for event in events for chunk in back.feed(event))
    before = gathered(stream)
    if said[1] and said[2] == "content_filter":
        again["finish_reason"] = before["finish_reason"]  # a call that a filter stopped is a refusal there
    assert again == before


@few
@given(contents, texts | st.none(), st.integers(1, 5))
def test_a_stream_of_events_is_well_formed_and_says_what_the_whole_answer_says(
    said: Any, thoughts: str | None, size: int
) -> None:
    """Blocks follow each other, none is left open, and replaying the whole answer gives the same blocks."""
    whole = completion(said, thoughts)
    translation = messages_events.EventsOfChunks("m")
    events = [event for chunk in chunks(whole, size) for event in translation.feed(chunk)]
    events += translation.end()
    opened = None
    for event in events[1:-1]:
        if event["type"] == "content_block_start":
            assert opened is None
            opened = event["index"]
        else:
            assert event["index"] == opened
            opened = None if event["type"] == "content_block_stop" else opened
    assert opened is None
    assert blocks(events) == blocks(
        event
        for index, block in enumerate(messages_answers.from_chat(whole, "m")["content"])
        for event in messages_answers.told(index, block)
    )


def blocks(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put the blocks of a Messages stream together."""
    made: list[dict[str, Any]] = []
    for event in events:
        if event["type"] == "content_block_start":
            made.append({**event["content_block"], "told": ""})
        elif event["type"] == "content_block_delta":
            made[-1]["told"] += "".join(value for key, value in event["delta"].items() if key != "type")
    return made


@few
@given(contents, texts | st.none())
def test_a_response_s_items_sent_back_are_the_message_they_came_from(said: Any, thoughts: str | None) -> None:
    """Chat → response → the next request's input → chat: the conversation goes on with the same words and calls."""
    whole = completion(said, thoughts)
    items = chat_to_responses.response(whole, {}, "m")["output"]
    message = plain(whole["choices"][0]["message"])
    [again] = responses_to_chat.conversation(items)
    if not message.get("tool_calls"):
        message.pop("reasoning_content", None)  # thinking goes back beside calls only
    assert plain(again) == message


@few
@given(contents, texts | st.none(), st.integers(1, 5))
def test_a_stream_of_a_response_ends_with_the_whole_response(said: Any, thoughts: str | None, size: int) -> None:
    """Numbers count up, what the events told adds up to what the last one holds, and that is the whole answer's."""
    whole = completion(said, thoughts)
    translation = chat_to_responses.EventsOfChunks({}, "m")
    events = [msgspec.json.decode(msgspec.json.encode(e)) for c in chunks(whole, size) for e in translation.feed(c)]
    events += [msgspec.json.decode(msgspec.json.encode(event)) for event in translation.end({})]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    told = [event for event in events if event["type"].endswith(".delta")]
    for index, item in enumerate(events[-1]["response"]["output"]):
        grown = "".join(event["delta"] for event in told if event["output_index"] == index)
        assert grown == (item.get("arguments") or "".join(part["text"] for part in item.get("content", ())))
    assert events[-1]["response"] == chat_to_responses.response(whole, {}, "m")


@pytest.mark.parametrize(
    ("tokens", "effort"), [(1024, "low"), (2048, "low"), (4096, "medium"), (16384, "high"), (99999, "high")]
)
def test_a_budget_of_thinking_is_the_least_effort_that_allows_it(tokens: int, effort: str) -> None:
    """And an effort is the budget that it names."""
    request = {"messages": [], "thinking": {"type": "enabled", "budget_tokens": tokens}, "max_tokens": 5}
    made, _ = messages_to_chat.request(raw(request), stream=False)
    assert made["reasoning_effort"] == effort


def test_arguments_that_are_no_object_are_kept() -> None:
    """A model's broken JSON reaches Anthropic's client under a name, not as nothing."""
    broken = completion((None, [], "stop"))
    function = {"name": "f", "arguments": '{"a": 1'}
    broken["choices"][0]["message"]["tool_calls"] = [{"id": "c", "type": "function", "function": function}]
    [block] = messages_answers.from_chat(broken, "m")["content"]
    assert block["input"] == {"arguments": '{"a": 1'}


def test_an_empty_legacy_call_is_none() -> None:
    """Snowflake sends `function_call: {name: "", arguments: ""}` with every answer."""
    whole = completion(("Paris", [], "stop"))
    whole["choices"][0]["message"]["function_call"] = {"name": "", "arguments": ""}
    assert [block["type"] for block in messages_answers.from_chat(whole, "m")["content"]] == ["text"]
    assert [item["type"] for item in chat_to_responses.response(whole, {}, "m")["output"]] == ["message"]


def test_unsigned_thinking_goes_back_beside_calls_and_signed_thinking_stays_with_anthropic() -> None:
    """Who wrote the thinking is told by its signature."""
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    signed = {**thought, "signature": "c2ln"}
    for block, expected in ((thought, "Hm."), (signed, None)):
        fields = raw({"messages": [{"role": "assistant", "content": [block, tool]}]})
        made, _ = messages_to_chat.request(fields, stream=False)
        assert made["messages"][0].get("reasoning_content") == expected
