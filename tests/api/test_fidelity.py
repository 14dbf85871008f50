"""Fidelity: recorded exchanges of real providers go through a route of one target and are compared deeply."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from msgspec import Raw

from gateway.wires import messages_answers, messages_events, messages_to_chat, responses_to_chat
from gateway.wires.words import Untranslatable
from tests.support.recorded import Exchange, Replaying, datas, exchanges, replaying

pytestmark = pytest.mark.anyio


def unnamed(value: Any) -> Any:
    """Return JSON without the one field that may differ, at the places where the protocols keep it."""
    if not isinstance(value, dict):
        return value
    inner = {key: unnamed(value[key]) for key in ("message", "response") if isinstance(value.get(key), dict)}
    return {key: item for key, item in {**value, **inner}.items() if key != "model"}


def asked(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request without its model and what says that nothing is streamed, which is the default."""
    kept = {key: value for key, value in request.items() if key != "model"}
    if not kept.get("stream"):
        kept.pop("stream", None)
        kept.pop("stream_options", None)
    return kept


async def differing(replay: Replaying, played: Iterable[Exchange], path: str) -> tuple[int, list[str]]:
    """Return how many exchanges were compared, and a line on each that was not equal both ways."""
    compared, lines = 0, []
    for exchange in played:
        response, sent = await replay.ask(exchange, exchange.request, path)
        compared += 1
        if response.status != 200:
            lines.append(f"{exchange.id} {exchange.host}: {response.status} {response.body[:200]!r}")
        elif asked(sent) != asked(exchange.request):
            lines.append(f"{exchange.id} {exchange.host}: another request, {sent}")
        elif exchange.streamed:
            events = [json.loads(data) for data in datas(response.body.decode()) if data != "[DONE]"]
            if [unnamed(event) for event in events] != [unnamed(event) for event in exchange.events]:
                lines.append(f"{exchange.id} {exchange.host}: another stream")
        elif unnamed(response.json) != unnamed(exchange.body):
            lines.append(f"{exchange.id} {exchange.host}: another answer")
    return compared, lines


def answered(exchange: Exchange) -> bool:
    """Whether an exchange holds an answer: some providers tell an error with status 200, which is one here, too."""
    said = exchange.events if exchange.streamed else [exchange.body]
    return exchange.status == 200 and not any(part.get("error") for part in said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "settings", "path"),
    [
        ("wire_chat", "chat", "api: openai", "/v1/chat/completions"),
        ("wire_native", "anthropic", "api: anthropic", "/v1/messages"),
        ("wire_native", "responses", "api: openai, responses: true", "/v1/responses"),
    ],
)
async def test_every_recorded_exchange_comes_through_as_it_was(name: str, kind: str, settings: str, path: str) -> None:
    """Documented fields and vendor fields, whole answers and streams event by event: only `model` may differ."""
    played = [exchange for exchange in exchanges(name, kind) if answered(exchange)]
    async with replaying(settings) as replay:
        compared, lines = await differing(replay, played, path)

    assert lines == []
    assert compared == len(played) > 100


Said = tuple[str, list[tuple[str, Any]], int]
"""What an answer says in any dialect: its text, its calls with their arguments, and its tokens."""


def loaded(arguments: Any) -> Any:
    """Return the arguments of a call as a value; some providers send no JSON, or an object."""
    try:
        return json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
    except ValueError:
        return {"arguments": arguments}


def flat(content: Any) -> str:
    """Return the text of content that may be a list of parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def in_chat(exchange: Exchange) -> Said:
    """Return what a recorded answer says; of several choices the first."""
    parts = exchange.events if exchange.streamed else [exchange.body]
    text, calls, tokens = "", dict[int, list[str]](), 0
    for part in parts:
        tokens = (
            sum((part.get("usage") or {}).get(f"{kind}_tokens", 0) or 0 for kind in ("prompt", "completion")) or tokens
        )
        for choice in (part.get("choices") or ())[:1]:
            said = choice.get("delta") or choice.get("message") or {}
            if not choice.get("index"):
                text += flat(said.get("content")) or said.get("refusal") or ""
                for place, call in enumerate(said.get("tool_calls") or ()):
                    pieces = calls.setdefault(call.get("index", place), [])
                    pieces += [call["function"].get("name") or ""] * (not pieces)
                    arguments = call["function"].get("arguments") or ""
                    pieces.append(arguments if isinstance(arguments, str) else json.dumps(arguments))
    return text, [(pieces[0], loaded("".join(pieces[1:]))) for _, pieces in sorted(calls.items())], tokens


def in_messages(body: bytes, *, streamed: bool) -> Said:
    """Return what an answer in Anthropic's dialect says."""
    if not streamed:
        message = json.loads(body)
        blocks, usage = message["content"], message["usage"]
    else:
        blocks = []
        for event in map(json.loads, datas(body.decode())):
            if event["type"] == "content_block_start":
                blocks.append({**event["content_block"], "written": ""})
            elif event["type"] == "content_block_delta":
                block, delta = blocks[event["index"]], event["delta"]
                block["written"] += delta.get("text") or delta.get("partial_json") or ""
            elif event["type"] == "message_delta":
                usage |= event["usage"]
            elif event["type"] == "message_start":
                usage = event["message"]["usage"]
        blocks = [block | {"text": block["written"], "input": block["written"]} for block in blocks]
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = [(block["name"], loaded(block["input"])) for block in blocks if block["type"] == "tool_use"]
    return text, calls, sum(usage.get(name) or 0 for name in TOKENS)


def in_responses(body: bytes, *, streamed: bool) -> Said:
    """Return what a response says; a stream's last event holds all of it, and its deltas must say the same."""
    if streamed:
        events = [json.loads(data) for data in datas(body.decode())]
        response = events[-1]["response"]
        told = "".join(event["delta"] for event in events if event["type"] in DELTAS)
        whole = [item for item in response["output"] if item["type"] == "message"]
        assert told == "".join(part.get("text") or part.get("refusal") for item in whole for part in item["content"])
    else:
        response = json.loads(body)
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    text = "".join(part.get("text") or part.get("refusal") for part in parts)
    usage = response["usage"] or {"input_tokens": 0, "output_tokens": 0}
    tokens = usage["input_tokens"] + usage["output_tokens"]
    return text, [(call["name"], loaded(call["arguments"])) for call in calls], tokens


TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
DELTAS = {"response.output_text.delta", "response.refusal.delta"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "question", "read"),
    [
        ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}, in_messages),
        ("/v1/responses", {"input": "?"}, in_responses),
    ],
)
async def test_every_recorded_answer_says_the_same_in_every_dialect(
    path: str, question: dict[str, Any], read: Callable[..., Said]
) -> None:
    """Text, calls and tokens of every real answer arrive with Anthropic's clients and in Responses."""
    played = [exchange for exchange in exchanges("wire_chat", "chat") if answered(exchange) and one_choice(exchange)]
    lines = []
    async with replaying("api: openai") as replay:
        for exchange in played:
            response, _ = await replay.ask(exchange, {**question, "stream": exchange.streamed}, path)
            if response.status != 200 or read(response.body, streamed=exchange.streamed) != in_chat(exchange):
                lines.append(f"{exchange.id} {exchange.host}: {response.status} {response.body[-300:]!r}")

    assert lines == []
    assert len(played) > 250


def one_choice(exchange: Exchange) -> bool:
    """Whether an answer has one choice: neither dialect asks for more."""
    parts = exchange.events if exchange.streamed else [exchange.body]
    return not any(choice.get("index") for part in parts for choice in part.get("choices") or ())


WORDS = frozenset({"arguments", "content", "data", "instructions", "output", "system", "text"})
"""The members that hold what somebody said; what stands elsewhere are the protocol's own words."""

CURE = re.compile(r"[:;,] (ask|send|take|leave|say|only a target|expected)")


def said_in(value: Any, name: str = "") -> Iterator[str]:
    """Yield every text that a conversation holds, and every value that a tool is called with, but no thinking."""
    if isinstance(value, str) and name in WORDS:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from said_in(item, name)
    elif isinstance(value, dict) and value.get("type") not in {"thinking", "reasoning"}:
        for key, item in value.items():
            called = key == "input" and isinstance(item, dict)
            yield from (text for text in item.values() if isinstance(text, str)) if called else said_in(item, key)


@pytest.mark.parametrize(
    ("kind", "translate", "least"),
    [("anthropic", messages_to_chat.request, 90), ("responses", responses_to_chat.request, 110)],
)
def test_every_recorded_request_is_translated_whole_or_refused_with_a_cure(
    kind: str, translate: Callable[..., tuple[dict[str, Any], tuple[str, ...]]], least: int
) -> None:
    """No word of a translated request is lost; what cannot be said names the field and what to do instead."""
    translated, refused = 0, list[Untranslatable]()
    for exchange in exchanges("wire_native", kind):
        given = {key: value for key, value in exchange.request.items() if key not in {"model", "stream"}}
        try:
            made, _ = translate({key: Raw(json.dumps(value).encode()) for key, value in given.items()}, stream=False)
        except Untranslatable as exc:
            refused.append(exc)
            continue
        translated += 1
        whole = json.dumps(made, ensure_ascii=False)
        conversation = {key: given[key] for key in ("messages", "system", "input", "instructions") if key in given}
        for text in said_in(conversation):
            written = json.dumps(text, ensure_ascii=False)[1:-1]
            # The arguments of a call are JSON inside JSON.
            assert written in whole or json.dumps(written, ensure_ascii=False)[1:-1] in whole, exchange.id

    assert translated >= least
    assert [str(each) for each in refused if not CURE.search(str(each))] == []
    assert {each.param for each in refused} <= {
        *("background", "container", "input", "mcp_servers", "messages", "previous_response_id", "store", "tools")
    }


def test_every_recorded_message_says_the_same_as_a_chat_completion() -> None:
    """Text, calls and counts of every real answer of Anthropic's arrive with OpenAI's clients."""
    played = [exchange for exchange in exchanges("wire_native", "anthropic") if answered(exchange)]
    for exchange in played:
        if exchange.streamed:
            made = messages_events.ChunksOfEvents(7, include_usage=True)
            chunks = [chunk for event in exchange.events for chunk in made.feed(event)]
            translated = Exchange("", "", "", {}, 200, streamed=True, body=framed(chunks))
            before = in_messages(framed(exchange.events).encode(), streamed=True)
        else:
            translated = Exchange("", "", "", {}, 200, streamed=False, body=messages_answers.to_chat(exchange.body, 7))
            before = in_messages(json.dumps(exchange.body).encode(), streamed=False)
        assert in_chat(translated) == before, exchange.id

    assert len(played) > 130


def framed(events: Iterable[Any]) -> str:
    """Return events as the stream that they are the data of."""
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events)
