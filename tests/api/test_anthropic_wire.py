"""OpenAI's clients before targets of Anthropic's: what is asked, what comes back, and how it fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support import anthropic_server
from tests.support.gateways import Running, gateways
from tests.support.wire_server import Received, Reply, WireServer

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "What is the capital of France?"}]


@asynccontextmanager
async def upstream(reply: Reply, target: str = "anth/claude-haiku-4-5") -> AsyncIterator[tuple[Running, WireServer]]:
    """Run a gateway before one scripted server that speaks Anthropic's wire; its route is `one`."""

    def answer(_: Received) -> Reply:
        return reply

    async with WireServer(answer) as server:
        settings = "api_key: sk-ant-canary, headers: {anthropic-beta: b}"
        head = f"  anth: {{api: anthropic, base_url: '{server.url}/v1', {settings}}}"
        async with gateways(f"  one: {{targets: [{target}], retries: 0}}", head=head) as running:
            yield running, server


async def sent(target: str = "anth/claude-haiku-4-5", **fields: Any) -> Any:
    """Return what an OpenAI request becomes on Anthropic's wire."""
    async with upstream(anthropic_server.message(anthropic_server.text("{}")), target) as (running, server):
        reply = await running.post({"model": "one", "messages": HELLO, **fields})
        assert reply.status == 200, reply.body
        [received] = server.received
        headers = {name.lower(): value for name, value in received.headers.items()}
        assert (received.path, headers["x-api-key"], headers["anthropic-version"], headers["anthropic-beta"]) == (
            "/v1/messages",
            "sk-ant-canary",
            "2023-06-01",
            "b",
        )
        return received.json


async def test_a_conversation_is_translated_with_its_tools_and_results() -> None:
    """System texts go ahead, calls and results become blocks, and results stand with what the user says next."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    body = await sent(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "It is"},
        ],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": schema, "strict": True}}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        max_completion_tokens=77,
        stop="END",
        temperature=0.5,
        user="u-1",
        seed=None,
        n=1,
        stream_options=None,
        top_k=3,
    )
    source = {"type": "base64", "media_type": "image/png", "data": "QUJD"}
    assert body == {
        "model": "claude-haiku-4-5",
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "What is this?"}, {"type": "image", "source": source}],
            },
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "Sunny"}]},
                    {"type": "text", "text": "And?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "It is"}]},
        ],
        "tools": [{"name": "weather", "input_schema": schema, "strict": True}],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        "max_tokens": 77,
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "metadata": {"user_id": "u-1"},
        "top_k": 3,
    }


async def test_effort_format_prompt_and_params_are_translated() -> None:
    """A reasoning effort is a budget with room for the answer behind it; the operator's params win."""
    params = "{temperature: 0, thinking: {type: enabled, budget_tokens: 1024}}"
    target = f"{{model: anth/claude, prompt: Be kind., params: {params}}}"
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    thinking = await sent(reasoning_effort="medium", response_format=wanted)
    prompted = await sent(target, temperature=1)

    assert thinking["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    assert thinking["max_tokens"] == 8192 + 8192
    assert thinking["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert (prompted["system"], prompted["temperature"]) == ("Be kind.", 0)
    assert prompted["max_tokens"] == 8192 + 1024


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "messages"),
        ({"messages": ["hello"]}, "messages"),
    ],
)
async def test_what_anthropic_has_nothing_like_fails_the_branch_and_names_the_field(
    fields: dict[str, Any], param: str
) -> None:
    """It is never silently left out: alone it is the client's 400, among others it costs one branch."""
    async with upstream(anthropic_server.message(anthropic_server.text("Paris"))) as (running, server):
        reply = await running.post({"model": "one", "messages": HELLO, **fields})
        assert server.received == []

    assert reply.status == 400
    assert reply.json["error"]["param"] == param


async def test_an_answer_keeps_its_thinking_its_sources_and_its_counts() -> None:
    """Signed thinking stays beside its text, so that the conversation can go on with the same model."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-2",
        "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "text", "text": "It is "},
            {"type": "text", "text": "Paris.", "citations": [{"type": "web", "url": "http://x", "title": "X"}]},
            {"type": "tool_use", "id": "toolu_1", "name": "map", "input": {"city": "Paris"}},
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 3,
            "cache_read_input_tokens": 10,
            "cache_creation_input_tokens": 2,
            "output_tokens": 7,
        },
    }
    async with upstream(Reply(body=json.dumps(body).encode())) as (running, server):
        answer = (await running.post({"model": "one", "messages": HELLO})).json
        again = {"role": "assistant", **answer["choices"][0]["message"]}
        await running.post(
            {"model": "one", "messages": [*HELLO, again, {"role": "tool", "tool_call_id": "toolu_1", "content": "ok"}]}
        )
        history = server.received[1].json["messages"]

    message = answer["choices"][0]["message"]
    assert (answer["id"], answer["model"], answer["object"]) == ("msg_1", "one", "chat.completion")
    assert (message["content"], message["reasoning_content"]) == ("It is Paris.", "Hm.")
    cited = {"url": "http://x", "title": "X", "start_index": 6, "end_index": 12}
    assert message["annotations"] == [{"type": "url_citation", "url_citation": cited}]
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert answer["usage"]["prompt_tokens"] == 15
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 10, "cache_write_tokens": 2}
    assert history[1]["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


async def test_a_stream_is_translated_for_openai_s_own_client() -> None:
    """The SDK puts the same message together that the events told, with the usage it asked for."""
    blocks = (anthropic_server.thinking("Let me see."), anthropic_server.text("It is Paris."))
    called = anthropic_server.tool_use("map", {"city": "Paris"})
    frames = anthropic_server.frames(*blocks, called, stop_reason="tool_use")
    async with upstream(anthropic_server.stream(frames)) as (running, _), running.client() as client:
        stream = client.chat.completions.stream(
            model="one",
            messages=HELLO,  # type: ignore[arg-type]
            stream_options={"include_usage": True},
        )
        async with stream as events:
            completion = await events.get_final_completion()

    choice = completion.choices[0]
    assert choice.message.content == "It is Paris."
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "Paris"}
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (12, 7)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (anthropic_server.refusal(529, "overloaded_error", "Overloaded"), "transient"),
        (anthropic_server.refusal(429, "rate_limit_error", "Slow down", {"retry-after": "7"}), "rate_limited"),
        (anthropic_server.refusal(401, "authentication_error", "invalid x-api-key"), "credential"),
        (anthropic_server.refusal(404, "not_found_error", "model: claude-9"), "model_gone"),
        (anthropic_server.message(), "empty"),
        (anthropic_server.message(stop_reason="refusal"), "filtered"),
        (Reply(body=b'{"type": "message"}'), "malformed"),
        (Reply(body=b"<html>"), "malformed"),
        (Reply(body=b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'), "transient"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_failure_has_its_kind(reply: Reply, kind: str) -> None:
    """The wire says what went wrong, and the client is told in OpenAI's words."""
    async with upstream(reply) as (running, _):
        answer = await running.post({"model": "one", "messages": HELLO})

    assert answer.status >= 400
    assert answer.json["error"]["hedgerow"]["branches"][0]["kind"] == kind
    if kind == "rate_limited":
        assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("cut", [3, -3])
async def test_a_stream_that_ends_before_the_answer_does_is_broken(cut: int) -> None:
    """However cleanly the connection closes: without a stop reason the answer is not complete."""
    frames = anthropic_server.frames(anthropic_server.text("It is Paris."))[:cut]
    async with upstream(anthropic_server.stream(frames)) as (running, _):
        reply = await running.post({"model": "one", "messages": HELLO, "stream": True})

    assert b"[DONE]" not in reply.body
    assert b'"error"' in reply.body


async def test_a_stream_without_its_last_event_is_complete_all_the_same() -> None:
    """The stop reason says that the answer is whole."""
    frames = anthropic_server.frames(anthropic_server.text("It is Paris."))[:-1]
    async with upstream(anthropic_server.stream(frames)) as (running, _):
        reply = await running.post({"model": "one", "messages": HELLO, "stream": True})

    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert b'"error"' not in reply.body


FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


async def test_a_client_of_legacy_functions_reads_a_function_call() -> None:
    """Who sends `functions` reads no `tool_calls`, whole or streamed, and has room for one call."""
    call = anthropic_server.tool_use("weather", {"city": "Paris"})
    whole = anthropic_server.message(call, stop_reason="tool_use")
    async with upstream(whole) as (running, server):
        completion = await running.client().chat.completions.create(model="one", messages=HELLO, functions=[FUNCTION])
        assert server.received[0].json["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    [choice] = completion.choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("function_call", None)
    assert choice.message.function_call is not None
    assert choice.message.function_call.name == "weather"
    assert json.loads(choice.message.function_call.arguments) == {"city": "Paris"}

    live = anthropic_server.stream(anthropic_server.frames(call, stop_reason="tool_use"))
    async with upstream(live) as (running, _):
        stream = await running.client().chat.completions.create(
            model="one", messages=HELLO, functions=[FUNCTION], stream=True
        )
        choices = [chunk.choices[0] async for chunk in stream]
    told = [choice.delta.function_call for choice in choices if choice.delta.function_call]
    assert [part.name for part in told if part.name] == ["weather"]
    assert json.loads("".join(part.arguments or "" for part in told)) == {"city": "Paris"}
    assert choices[-1].finish_reason == "function_call"
    assert not any(choice.delta.tool_calls for choice in choices)
