"""OpenAI's Responses in front: mapped onto chat targets, passed through verbatim to a target that has it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from gateway.api import endpoint
from tests.support.gateways import Running, gateways
from tests.support.wire_server import Received, Reply, WireServer

pytestmark = pytest.mark.anyio

ROUTES = """
  chat: {targets: [sim/a]}
  vote: {targets: [sim/a, 'sim/a?latency=0.01', sim/b], select: {defer: majority}}
  slow: {targets: ['sim/a?latency=0.1', 'sim/b?latency=0.1'], select: {defer: priority}}
  broken: {targets: ['sim/a?cut=1&cut_by=fin&tokens=5'], retries: 0}
  all: {targets: [sim/a, sim/b], select: collect}
"""
SCRIPT = {"a": {"answer": "Paris"}, "b": {"answer": "Rome"}}
QUESTION = "What is the capital of France?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "description": "Tells it.", "parameters": SCHEMA, "strict": True}


def read(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream, having checked their names and that their numbers count up from 0."""
    events = []
    for number, block in enumerate(body.decode().split("\n\n")[:-1]):
        name, _, data = block.partition("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
        assert events[-1]["sequence_number"] == number
    return events


@asynccontextmanager
async def native(reply: Reply, targets: str = "[own/gpt-5]") -> AsyncIterator[tuple[Running, WireServer]]:
    """Run a gateway before one scripted server that has `/responses` itself; its route is `one`."""

    def answer(_: Received) -> Reply:
        return reply

    async with WireServer(answer) as server:
        head = f"  own: {{api: openai, base_url: '{server.url}/v1', api_key: sk-canary, responses: true}}"
        async with gateways(f"  one: {{targets: {targets}, retries: 0}}", SCRIPT, head=head) as running:
            yield running, server


@pytest.mark.parametrize("model", ["chat", "vote"])
async def test_openai_s_client_gets_a_response_over_chat_targets(model: str) -> None:
    """The SDK reads what it would read from OpenAI: an item with the text, the usage, what was asked for."""
    async with gateways(ROUTES, SCRIPT) as running, running.client() as client:
        raw = await client.responses.with_raw_response.create(
            model=model, input=QUESTION, instructions="Be brief.", max_output_tokens=50, metadata={"a": "b"}
        )
        response = raw.parse()
        received = running.received()[0]

    assert response.output_text == "Paris"
    assert (response.status, response.model, response.object) == ("completed", model, "response")
    assert (response.instructions, response.max_output_tokens, response.metadata) == ("Be brief.", 50, {"a": "b"})
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert raw.headers["x-hedgerow-route"] == model
    assert received["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
    ]
    assert received["max_completion_tokens"] == 50
    assert received.keys() <= {"model", "messages", "max_completion_tokens"}


@pytest.mark.parametrize("model", ["chat", "vote"])
async def test_a_stream_has_the_events_of_openai_s_in_their_order(model: str) -> None:
    """Live or replayed: created, in progress, an item with its part that grows, and the whole response at the end."""
    async with gateways(ROUTES, SCRIPT) as running, running.client() as client:
        asked = {"model": model, "input": QUESTION, "stream": True, "hedgerow": {"explain": True}}
        events = read((await running.post(asked, "/v1/responses")).body)
        async with client.responses.stream(model=model, input=QUESTION) as stream:
            response = await stream.get_final_response()

    assert [event["type"] for event in events if not event["type"].endswith("delta")] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    final = events[-1]["response"]
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == "Paris"
    assert final["output"] == [events[-2]["item"]]
    assert final["output"][0]["content"][0]["text"] == "Paris"
    assert final["usage"]["output_tokens"] > 0
    assert final["hedgerow"]["winner"].startswith("sim/a")
    assert {event["response"]["id"] for event in events if "response" in event} == {final["id"]}
    assert response.output_text == "Paris"


async def test_a_tool_s_call_and_its_output_round_trip() -> None:
    """Calls are items with ids of their own; sent back with their outputs they are one chat message again."""
    script = {"a": {"call": {"name": "weather", "arguments": '{"city": "Paris"}'}}}
    asked: dict[str, Any] = {
        "model": "chat",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
    }
    async with gateways(ROUTES, script) as running, running.client() as client:
        response = await client.responses.create(input=QUESTION, **asked)
        call = response.output[0]
        async with client.responses.stream(input=QUESTION, **asked) as stream:
            streamed = (await stream.get_final_response()).output[0]
        history: Any = [
            {"role": "user", "content": QUESTION},
            call.model_dump(exclude_none=True),
            {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"},  # type: ignore[union-attr]
        ]
        await client.responses.create(input=history, **asked)
        [first, *_, last] = running.received()

    assert (call.type, streamed.type) == ("function_call", "function_call")
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Paris"}
    assert streamed.type == "function_call"
    assert json.loads(streamed.arguments) == {"city": "Paris"}
    function = {"name": "weather", "description": "Tells it.", "parameters": SCHEMA, "strict": True}
    assert first["tools"] == [{"type": "function", "function": function}]
    assert first["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    told = {"id": call.call_id, "type": "function", "function": {"name": "weather", "arguments": call.arguments}}
    assert last["messages"] == [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": None, "tool_calls": [told]},
        {"role": "tool", "tool_call_id": call.call_id, "content": "Sunny"},
    ]


async def test_the_shape_that_codex_sends_is_understood() -> None:
    """Typed input items, encrypted reasoning of another provider's, `store: false`, fields of the client's own."""
    asked = {
        "model": "chat",
        "instructions": "You are a coding agent.",
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandbox: off"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA", "id": "rs_1"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "name": "shell", "arguments": "{}", "call_id": "c1"},
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin", "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "done"}]},
        ],
        "tools": [
            WEATHER,
            {
                "type": "custom",
                "name": "apply_patch",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
            },
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "text": {"verbosity": "low"},
        "client_metadata": {"session": "s"},
    }
    async with gateways(ROUTES, SCRIPT) as running:
        reply = await running.post(asked, "/v1/responses")
        [received] = running.received()

    assert read(reply.body)[-1]["type"] == "response.completed"
    assert reply.headers["x-hedgerow-dropped"] == "client_metadata,include,reasoning.summary"
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "shell", "arguments": "{}"}},
        {"id": "c2", "type": "custom", "custom": {"name": "apply_patch", "input": "*** Begin"}},
    ]
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: x"}}
    function = {key: value for key, value in WEATHER.items() if key != "type"}
    assert received == {
        "model": "a",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "You are a coding agent."},
            {"role": "system", "content": "Sandbox: off"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "I look.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"},
            {"role": "tool", "tool_call_id": "c2", "content": "done"},
        ],
        "tools": [
            {"type": "function", "function": function},
            {"type": "custom", "custom": {"name": "apply_patch", "format": grammar}},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning_effort": "medium",
        "prompt_cache_key": "k",
        "verbosity": "low",
    }


async def test_formats_images_and_log_probabilities_are_translated() -> None:
    """`text.format` is the response format, parts keep their data, log probabilities come where they are asked for."""
    shape = {"type": "json_schema", "name": "x", "schema": {"type": "object"}, "strict": True}
    parts = [
        {"type": "input_text", "text": "What?"},
        {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
    ]
    asked = {
        "model": "chat",
        "input": [{"role": "user", "content": parts}],
        "text": {"format": shape},
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    }
    async with gateways(ROUTES, {"a": {"answer": "{}"}}) as running:
        response = (await running.post(asked, "/v1/responses")).json
        [received] = running.received()

    assert received["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True},
    }
    assert received["messages"][0]["content"] == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
    ]
    assert (received["logprobs"], received["top_logprobs"]) == (True, 2)
    assert response["output"][0]["content"][0]["logprobs"][0]["logprob"] < 0
    assert response["text"] == {"format": shape}


@pytest.mark.parametrize(
    ("fields", "param", "cure"),
    [
        ({"store": True}, "store", "say `store: false`"),
        ({"previous_response_id": "resp_1"}, "previous_response_id", "send the whole conversation"),
        ({"background": True}, "background", "leave it out"),
        ({"tools": [{"type": "web_search"}]}, "tools", "take it out"),
        ({"input": [{"type": "web_search_call", "id": "w"}]}, "input", "whose provider has `responses: true`"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "http://x"}]}]},
            "input",
            "the data",
        ),
        ({"input": 5}, "input", "expected a list of objects"),
    ],
)
@pytest.mark.parametrize("model", ["chat", "vote"])
async def test_what_one_provider_would_keep_or_run_is_refused_with_its_cure(
    model: str, fields: dict[str, Any], param: str, cure: str
) -> None:
    """A race cannot share a memory: the client is told which field, and what to do, before anybody is asked."""
    async with gateways(ROUTES, SCRIPT) as running, running.client() as client:
        with pytest.raises(openai.BadRequestError, match=cure) as refused:
            await client.responses.create(**{"model": model, "input": QUESTION, **fields})
        assert running.received() == []

    assert refused.value.param == param


async def test_a_target_that_has_responses_gets_and_gives_its_own_bytes() -> None:
    """Hosted tools, memory and fields nobody has heard of pass both ways; only `model` is another."""
    body = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "error": None,
        "model": "gpt-5-2025",
        "output": [
            {"type": "web_search_call", "id": "w", "status": "completed"},
            {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Paris", "annotations": []}]},
        ],
        "usage": {"input_tokens": 4, "output_tokens": 3, "vendor": 1.50},
        "unheard_of": [1],
    }
    asked = {
        "model": "one",
        "input": QUESTION,
        "store": True,
        "previous_response_id": "resp_0",
        "tools": [{"type": "web_search"}],
        "vendor": {"deep": None},
    }
    async with native(Reply(body=json.dumps(body).encode())) as (running, server):
        reply = await running.post(asked, "/v1/responses")
        [sent] = server.received
        tokens = running.sample("hedgerow_requests_total", route="one", status="200")

    assert reply.json == body | {"model": "one"}
    assert sent.path == "/v1/responses"
    assert sent.json == asked | {"model": "gpt-5"}
    assert tokens == 1


async def test_a_target_shapes_what_is_passed_on() -> None:
    """The operator's prompt, params and dropped fields hold for responses as for chats, and the client is told."""
    body = {"id": "r", "status": "completed", "output": [{"type": "message", "content": [{"text": "Paris"}]}]}
    params = "{max_tokens: 9, reasoning_effort: low, temperature: 0}"
    target = f"[{{model: own/gpt-5, prompt: Be kind., drop: [user], params: {params}}}]"
    asked = {
        "model": "one",
        "input": QUESTION,
        "instructions": "Be brief.",
        "user": "u",
        "reasoning": {"summary": "auto"},
    }
    async with native(Reply(body=json.dumps(body).encode()), target) as (running, server):
        reply = await running.post(asked, "/v1/responses")
        [sent] = server.received

    assert sent.json == {
        "model": "gpt-5",
        "input": QUESTION,
        "instructions": "Be kind.\n\nBe brief.",
        "max_output_tokens": 9,
        "reasoning": {"summary": "auto", "effort": "low"},
        "temperature": 0,
    }
    assert reply.headers["x-hedgerow-dropped"] == "user"


async def test_a_stream_of_a_target_that_has_responses_passes_event_by_event() -> None:
    """Every event keeps its name, its number and its bytes; only the response's `model` is another."""
    response = {"id": "resp_1", "model": "gpt-5-2025", "status": "in_progress", "output": []}
    done = {**response, "status": "completed", "output": [{"type": "message", "content": []}], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.web_search_call.searching", "item_id": "w", "output_index": 0},
        {"type": "response.output_text.delta", "delta": "Paris", "obfuscation": "x7"},
        {"type": "response.completed", "response": done},
    ]
    frames = [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n".encode()
        for number, event in enumerate(events)
    ]
    reply = Reply(headers={"content-type": "text/event-stream"}, frames=frames)
    async with native(reply) as (running, server):
        body = (await running.post({"model": "one", "input": QUESTION, "stream": True}, "/v1/responses")).body
        assert server.received[0].json["stream"] is True

    read(body)
    assert body.split(b"\n\n")[1:3] == b"".join(frames).split(b"\n\n")[1:3]
    assert json.loads(body.split(b"\n\n")[3].partition(b"data: ")[2])["response"] == {**done, "model": "one"}


async def test_in_a_mixed_route_each_target_is_asked_in_its_own_words() -> None:
    """One has the endpoint, the other has not: both answer, and either answer may win."""
    body = {"id": "r", "status": "completed", "output": [{"type": "message", "content": [{"text": "Paris"}]}]}
    async with native(Reply(body=json.dumps(body).encode()), "['sim/b?latency=0.2', own/gpt-5]") as (running, server):
        first = await running.post({"model": "one", "input": QUESTION}, "/v1/responses")
        refused = await running.post({"model": "one", "input": QUESTION, "store": True}, "/v1/responses")

    assert first.json["output"][0]["content"][0]["text"] == "Paris"
    assert first.headers["x-hedgerow-target"] == "own/gpt-5"
    assert server.received[0].json["input"] == QUESTION
    assert (refused.status, refused.json["error"]["param"]) == (400, "store")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": "server_error", "message": "x"}, "output": []}, "transient"),
        ({"status": "completed", "output": []}, "empty"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}, "filtered"),
        ({"object": "chat.completion"}, "malformed"),
    ],
)
async def test_a_response_that_is_none_fails_its_branch(body: dict[str, Any], kind: str) -> None:
    """A success status does not make an answer."""
    async with native(Reply(body=json.dumps(body).encode())) as (running, _):
        reply = await running.post({"model": "one", "input": QUESTION}, "/v1/responses")

    assert reply.json["error"]["hedgerow"]["branches"][0]["kind"] == kind


async def test_a_native_stream_that_ends_early_is_broken() -> None:
    """Without `response.completed` the answer is not complete, however cleanly the connection closes."""
    event = {"type": "response.output_text.delta", "delta": "Pa", "sequence_number": 4}
    frame = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    async with native(Reply(headers={"content-type": "text/event-stream"}, frames=[frame])) as (running, _):
        body = (await running.post({"model": "one", "input": QUESTION, "stream": True}, "/v1/responses")).body

    last = json.loads(body.split(b"\n\n")[-2].partition(b"data: ")[2])
    assert (last["type"], last["code"], last["sequence_number"]) == ("error", "stream_broken", 5)


async def test_a_stream_that_breaks_ends_in_a_failed_response() -> None:
    """After the first words nothing is made up: an error, then the response as failed with what there was of it."""
    async with gateways(ROUTES, {"a": {"answer": "one two three four five"}}) as running:
        reply = await running.post({"model": "broken", "input": QUESTION, "stream": True}, "/v1/responses")

    events = read(reply.body)
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-1]["response"]["status"] == "failed"
    assert "broke off" in events[-1]["response"]["error"]["message"]


async def test_a_waiting_stream_is_kept_alive_and_then_numbered_from_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments are no events: the numbers begin with the first event."""
    monkeypatch.setattr(endpoint, "KEEP_ALIVE_EVERY", 0.02)
    async with gateways(ROUTES, SCRIPT) as running:
        body = (await running.post({"model": "slow", "input": QUESTION, "stream": True}, "/v1/responses")).body

    assert body.startswith(b": keep-alive\n\n")
    assert read(body.replace(b": keep-alive\n\n", b""))[-1]["type"] == "response.completed"


async def test_several_answers_are_several_items() -> None:
    """`collect` gives every answer an item of its own, whole and streamed."""
    async with gateways(ROUTES, SCRIPT) as running:
        whole = (await running.post({"model": "all", "input": QUESTION}, "/v1/responses")).json
        body = (await running.post({"model": "all", "input": QUESTION, "stream": True}, "/v1/responses")).body

    for output in (whole["output"], read(body)[-1]["response"]["output"]):
        assert [item["content"][0]["text"] for item in output] == ["Paris", "Rome"]
        assert len({item["id"] for item in output}) == 2
