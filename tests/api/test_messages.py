"""Anthropic's clients in front: `/v1/messages` over targets of Anthropic's, of OpenAI's wire, and of both at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.api import endpoint
from tests.support import anthropic_server
from tests.support.gateways import Reply, Running, gateways
from tests.support.simulators import eventually
from tests.support.wire_server import Received, WireServer
from tests.support.wire_server import Reply as Scripted

pytestmark = pytest.mark.anyio

HEAD = "  anth: {api: anthropic, base_url: '{sim}', api_key: sk-ant-canary}"
ROUTES = """
  claude: {targets: [anth/a]}
  chat: {targets: [sim/a]}
  mixed: {targets: [anth/a, sim/a, sim/b], select: {defer: majority}}
  slow: {targets: ['sim/a?latency=0.1', 'sim/b?latency=0.1'], select: {defer: priority}}
  broken: {targets: ['anth/a?cut=1&cut_by=fin&tokens=5', 'anth/a?cut=1&cut_by=fin&tokens=5'], retries: 0}
"""
SCRIPT = {"a": {"answer": "Paris"}, "b": {"answer": "Rome"}}
HELLO = [{"role": "user", "content": "What is the capital of France?"}]
ASK = {"max_tokens": 100, "messages": HELLO}


def read(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream, having checked that each is named after its type."""
    events = []
    for block in body.decode().split("\n\n")[:-1]:
        name, _, data = block.partition("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def text_of(events: list[dict[str, Any]]) -> str:
    """Return the words of a stream."""
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


@asynccontextmanager
async def anthropic(reply: Scripted, more: str = "") -> AsyncIterator[tuple[Running, WireServer]]:
    """Run a gateway before one scripted server that speaks Anthropic's wire; its route is `one`."""

    def answer(_: Received) -> Scripted:
        return reply

    async with WireServer(answer) as server:
        head = f"  anth: {{api: anthropic, base_url: '{server.url}', api_key: sk-ant-canary}}"
        async with gateways(f"  one: {{targets: [anth/claude-haiku-4-5], retries: 0{more}}}", head=head) as running:
            yield running, server


async def test_a_client_of_anthropic_s_gets_the_upstream_s_own_body_and_sends_its_own_fields() -> None:
    """Nothing is lost: only `model` is another, both ways; the client's versions go along, its key does not."""
    body = {
        **json.loads(anthropic_server.message(anthropic_server.thinking("Hm."), anthropic_server.text("Paris")).body),
        "context_management": {"applied_edits": []},
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 9, "output_tokens": 1, "service_tier": "standard"},
    }
    asked = {
        "model": "one",
        "max_tokens": 2048,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [*HELLO, {"role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "x"}]}],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "top_k": 5,
        "unheard_of": {"deep": [1, None]},
    }
    headers = {"anthropic-beta": "b-1", "anthropic-version": "2024-01-01", "x-api-key": "client-key", "cookie": "a=b"}
    async with anthropic(Scripted(body=json.dumps(body).encode())) as (running, server):
        reply = await running.post(asked, "/v1/messages", headers=headers)
        [sent] = server.received

    assert reply.json == body | {"model": "one"}
    assert sent.json == asked | {"model": "claude-haiku-4-5"}
    assert sent.path == "/v1/messages"
    told = {name.lower(): value for name, value in sent.headers.items()}
    assert (told["anthropic-beta"], told["anthropic-version"], told["x-api-key"]) == (
        "b-1",
        "2024-01-01",
        "sk-ant-canary",
    )
    assert "cookie" not in told
    assert reply.headers["request-id"] == reply.headers["x-request-id"]
    assert running.sample("hedgerow_tokens_total", route="one", target="anth/claude-haiku-4-5", kind="prompt") in {
        0,
        12,
    }


async def test_a_stream_of_anthropic_s_passes_event_by_event_as_it_came() -> None:
    """Pings, signatures, padding and events nobody has heard of stay where they are; only `model` is another."""
    ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}, "new": None}
    frames = [
        *anthropic_server.frames(anthropic_server.thinking("Let me see."), anthropic_server.text("Paris"))[:-2],
        b'event: unheard_of\ndata: {"type":"unheard_of","index":9 }      \n\n',
        anthropic_server.frame(ended),
        b'event: message_stop\ndata: {"type":"message_stop"   }\n\n',
    ]
    async with anthropic(anthropic_server.stream(frames)) as (running, server):
        reply = await running.post({**ASK, "model": "one", "stream": True}, "/v1/messages")
        assert server.received[0].json["stream"] is True

    first, _, rest = reply.body.partition(b"\n\n")
    assert rest == b"".join(frames).partition(b"\n\n")[2]
    assert json.loads(first.partition(b"data: ")[2])["message"]["model"] == "one"


@pytest.mark.parametrize("model", ["chat", "claude", "mixed"])
async def test_a_whole_answer_is_a_message_whatever_the_targets_speak(model: str) -> None:
    """The same request works over every route, and says in its headers how it was decided."""
    async with gateways(ROUTES, SCRIPT, head=HEAD) as running:
        reply = await running.post({**ASK, "model": model, "hedgerow": {"explain": True}}, "/v1/messages")
        [*_, received] = running.received()

    answer = reply.json
    assert answer["type"] == "message"
    assert answer["model"] == model
    assert answer["content"] == [{"type": "text", "text": "Paris"}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("end_turn", None)
    assert answer["usage"]["input_tokens"] > 0 < answer["usage"]["output_tokens"]
    assert reply.headers["x-hedgerow-route"] == model
    assert answer["hedgerow"]["winner"] == reply.headers["x-hedgerow-target"]
    assert "hedgerow" not in received
    if model == "mixed":
        assert reply.headers["x-hedgerow-branches"] == "3/3"
        assert answer["hedgerow"]["tally"]["paris"] == 2


@pytest.mark.parametrize("model", ["chat", "claude", "mixed"])
async def test_a_stream_has_anthropic_s_events_in_their_order(model: str) -> None:
    """Live, translated or replayed: a message starts, its blocks start, grow and stop, and it says why it stopped."""
    async with gateways(ROUTES, SCRIPT, head=HEAD) as running:
        body = {**ASK, "model": model, "stream": True, "hedgerow": {"explain": True}}
        events = read((await running.post(body, "/v1/messages")).body)

    kinds = [event["type"] for event in events if event["type"] not in {"ping", "content_block_delta"}]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    assert events[0]["message"]["model"] == model
    assert text_of(events) == "Paris"
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] > 0
    assert events[-1]["hedgerow"]["winner"]


@pytest.mark.parametrize("model", ["chat", "claude"])
async def test_tools_work_over_every_wire(model: str) -> None:
    """A call comes as a `tool_use` block with its input; its result reaches the target in the target's own words."""
    script = {"a": {"call": {"name": "weather", "arguments": '{"city": "Paris"}'}}}
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"name": "weather", "description": "Tells it.", "input_schema": schema}]
    asked = {**ASK, "model": model, "tools": tools, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    async with gateways(ROUTES, script, head=HEAD) as running:
        whole = (await running.post(asked, "/v1/messages")).json
        streamed = read((await running.post({**asked, "stream": True}, "/v1/messages")).body)
        call = whole["content"][0]
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "Sunny"}]}
        turns = [*HELLO, {"role": "assistant", "content": whole["content"]}]
        turns.append({"role": "user", "content": [result, {"type": "text", "text": "And now?"}]})
        await running.post({**asked, "messages": turns}, "/v1/messages")
        [first, *_, last] = running.received()

    assert (call["type"], call["name"], call["input"]) == ("tool_use", "weather", {"city": "Paris"})
    assert whole["stop_reason"] == "tool_use"
    pieces = [event["delta"]["partial_json"] for event in streamed if event["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"city": "Paris"}
    assert streamed[-2]["delta"]["stop_reason"] == "tool_use"
    if model == "chat":
        function = {"name": "weather", "description": "Tells it.", "parameters": schema}
        assert first["tools"] == [{"type": "function", "function": function}]
        assert (first["tool_choice"], first["parallel_tool_calls"]) == ("required", False)
        assert [message["role"] for message in last["messages"]] == ["user", "assistant", "tool", "user"]
        assert last["messages"][2] == {"role": "tool", "tool_call_id": call["id"], "content": "Sunny"}
    else:
        assert last["messages"] == turns


async def test_what_only_anthropic_can_do_is_refused_where_another_target_is_asked_too() -> None:
    """A hosted tool in a mixed route is a 400 that names it and the cure; no upstream is asked."""
    async with gateways(ROUTES, SCRIPT, head=HEAD) as running:
        body = {**ASK, "model": "mixed", "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
        reply = await running.post(body, "/v1/messages")
        assert len(running.sim.journal) == 0

    assert reply.status == 400
    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert "`web_search_20250305`" in reply.json["error"]["message"]
    assert "ask a route whose targets all are" in reply.json["error"]["message"]
    assert reply.json["request_id"] == reply.headers["request-id"]


async def test_what_is_left_out_is_named_in_a_header() -> None:
    """A field without an equal that changes nothing of the question is dropped, and said to be."""
    async with gateways(ROUTES, SCRIPT, head=HEAD) as running:
        body = {**ASK, "model": "chat", "top_k": 3, "cache_control": {"type": "ephemeral"}, "vendor": 1}
        reply = await running.post(body, "/v1/messages")
        [received] = running.received()

    assert reply.headers["x-hedgerow-dropped"] == "cache_control,top_k"
    assert received == {"model": "a", "messages": HELLO, "max_completion_tokens": 100, "vendor": 1}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (429, "rate_limit_error"), (401, "api_error"), (529, "api_error")],
)
async def test_errors_have_anthropic_s_shape(status: int, kind: str) -> None:
    """The status is fused as always; the object is the one that the SDK maps to its exceptions."""
    async with gateways(f"  one: {{targets: ['anth/a?status={status}'], retries: 0}}", SCRIPT, head=HEAD) as running:
        reply = await running.post({**ASK, "model": "one"}, "/v1/messages")
        lost = await running.post({**ASK, "model": "nobody"}, "/v1/messages")

    assert reply.json["type"] == "error"
    assert reply.json["error"]["type"] == kind
    assert reply.headers["x-hedgerow-branches"] == "0/1"
    assert "canary" not in reply.body.decode()
    assert (lost.status, lost.json["error"]["type"]) == (404, "not_found_error")


async def test_a_refused_key_is_told_in_anthropic_s_words() -> None:
    """What is refused before the endpoint is reached speaks the dialect, too; `x-api-key` is a key like any."""
    head = HEAD + "\nkeys: {app: '${KEY}'}"
    key = "hr-" + hashlib.sha256(b"a test").hexdigest()
    async with gateways(ROUTES, SCRIPT, head=head, environ={"KEY": key}) as running:
        refused = await running.post({**ASK, "model": "chat"}, "/v1/messages")
        served = await running.post({**ASK, "model": "chat"}, "/v1/messages", headers={"x-api-key": key})

    assert (refused.status, refused.json["error"]["type"]) == (401, "authentication_error")
    assert served.status == 200


async def test_a_waiting_stream_is_kept_alive_with_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """While votes are out the client hears Anthropic's own sign of life."""
    monkeypatch.setattr(endpoint, "KEEP_ALIVE_EVERY", 0.02)
    async with gateways(ROUTES, SCRIPT, head=HEAD) as running:
        events = read((await running.post({**ASK, "model": "slow", "stream": True}, "/v1/messages")).body)

    assert events[0] == {"type": "ping"}
    assert text_of(events) == "Paris"


async def test_a_stream_that_breaks_ends_in_an_error_event_and_no_message_stop() -> None:
    """After the first words nothing is made up: the client is told."""
    async with gateways(ROUTES, {"a": {"answer": "one two three four five"}}, head=HEAD) as running:
        reply = await running.post({**ASK, "model": "broken", "stream": True}, "/v1/messages")

    events = read(reply.body)
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "error"
    assert "broke off" in events[-1]["error"]["message"]
    assert "message_stop" not in {event["type"] for event in events}


async def test_an_error_event_of_the_upstream_s_is_a_failure_with_its_kind() -> None:
    """`overloaded_error` inside a 200 before the first words is the branch's failure, not the client's stream."""
    frames = [anthropic_server.frames()[0], anthropic_server.frame(anthropic_server.error("overloaded_error", "Busy"))]
    async with anthropic(anthropic_server.stream(frames)) as (running, _):
        reply = await running.post({**ASK, "model": "one", "stream": True}, "/v1/messages")

    assert reply.status == 502
    assert reply.json["error"]["hedgerow"]["branches"][0]["kind"] == "transient"


async def test_a_client_that_leaves_stops_the_upstream() -> None:
    """Cancellation goes through to the connection."""
    reply = anthropic_server.stream(anthropic_server.frames(anthropic_server.text("Paris"))[:4], end="hang")
    async with anthropic(reply) as (running, server):
        body = json.dumps({**ASK, "model": "one", "stream": True}).encode()
        async with running.http.post(f"{running.base_url}/messages", data=body) as response:
            await response.content.readany()
        await eventually(lambda: server.received[0].gone_at is not None)


async def test_tokens_are_counted_by_the_provider_or_estimated() -> None:
    """The first target's provider counts if it can; else the answer is an estimate and says so."""
    counted = Scripted(body=b'{"input_tokens": 14, "vendor": true}')
    body = {"model": "one", "messages": HELLO, "system": "Be brief."}
    async with anthropic(counted) as (running, server):
        exact = await running.post(body, "/v1/messages/count_tokens", headers={"anthropic-beta": "b"})
        [sent] = server.received
    async with gateways(ROUTES, SCRIPT, head=HEAD) as running:
        guess: Reply = await running.post({**body, "model": "chat"}, "/v1/messages/count_tokens")
        refused = await running.post({**body, "model": "chat", "messages": 5}, "/v1/messages/count_tokens")
        assert running.received() == []

    assert exact.json == {"input_tokens": 14, "vendor": True}
    assert sent.path == "/v1/messages/count_tokens"
    assert sent.json == {**body, "model": "claude-haiku-4-5"}
    assert "x-hedgerow-estimate" not in exact.headers
    assert 10 <= guess.json["input_tokens"] <= 20
    assert guess.headers["x-hedgerow-estimate"] == "true"
    assert (refused.status, refused.json["type"]) == (400, "error")


async def test_several_answers_come_as_the_blocks_of_one_message() -> None:
    """`collect` has no `n` here: what all said stands side by side."""
    routes = "  all: {targets: [anth/a, sim/b], select: collect}"
    async with gateways(routes, SCRIPT, head=HEAD) as running:
        answer = (await running.post({**ASK, "model": "all"}, "/v1/messages")).json

    assert [block["text"] for block in answer["content"]] == ["Paris", "Rome"]
