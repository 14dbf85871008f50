"""The simulator on Anthropic's wire: messages, named events, tool use and errors in Anthropic's envelope."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulators import Exchange, exchange, simulators

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TOOL = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

pytestmark = pytest.mark.anyio


def message(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}], **fields}


async def ask(model: str, **fields: Any) -> Exchange:
    async with simulators() as (sim,):
        return await exchange(sim, message(model, **fields), "/v1/messages")


def names(answer: Exchange) -> list[str]:
    """The names of the events, checking that each equals the type in its data."""
    found = [block.partition("\n")[0].removeprefix("event: ") for block in answer.body.decode().split("\n\n")[:-1]]
    assert found == [chunk["type"] for chunk in answer.chunks]
    return found


async def test_a_message_has_anthropics_shape() -> None:
    """Content blocks, stop reason and usage stand where Anthropic puts them."""
    answer = await ask("m?answer=Hi there.&reasoning=Hm.")
    assert answer.headers["request-id"].startswith("req_")
    body = answer.json
    assert body["id"].startswith("msg_")
    assert (body["type"], body["role"], body["model"]) == ("message", "assistant", "m?answer=Hi there.&reasoning=Hm.")
    thinking, text = body["content"]
    assert (thinking["type"], thinking["thinking"]) == ("thinking", "Hm.")
    assert thinking["signature"]
    assert text == {"type": "text", "text": "Hi there."}
    assert (body["stop_reason"], body["stop_sequence"], body["usage"]["output_tokens"]) == ("end_turn", None, 5)


async def test_a_stream_has_anthropics_events_in_order() -> None:
    """message_start, a block with its deltas, message_delta with the usage, message_stop; a ping goes between."""
    answer = await ask("m?answer=Hi there.", stream=True)
    assert names(answer) == [
        "message_start", "content_block_start", "ping",
        "content_block_delta", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    chunks = answer.chunks
    assert chunks[0]["message"]["content"] == []
    assert "".join(c["delta"]["text"] for c in chunks if c["type"] == "content_block_delta") == "Hi there."
    assert chunks[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert chunks[-2]["usage"] == {"output_tokens": 3}
    assert answer.whole


async def test_tools_are_used_in_both_forms() -> None:
    """A tool use carries an input that fits its schema; a stream writes it as input_json_delta."""
    async with simulators() as (sim,):
        bodies = [message("m", tools=[TOOL], stream=stream) for stream in (False, True)]
        whole, stream = [await exchange(sim, body, "/v1/messages") for body in bodies]
        generated = [entry.generated for entry in sim.journal]
    (block,) = whole.json["content"]
    assert (block["type"], block["name"], whole.json["stop_reason"]) == ("tool_use", "get_weather", "tool_use")
    assert isinstance(block["input"]["city"], str)
    started = next(c["content_block"] for c in stream.chunks if c["type"] == "content_block_start")
    assert started | {"id": ""} == {"type": "tool_use", "id": "", "name": "get_weather", "input": {}}
    deltas = [c["delta"] for c in stream.chunks if c["type"] == "content_block_delta"]
    assert {delta["type"] for delta in deltas} == {"input_json_delta"}
    assert json.loads("".join(delta["partial_json"] for delta in deltas)) == block["input"]
    assert [whole.json["usage"]["output_tokens"], stream.chunks[-2]["usage"]["output_tokens"]] == generated


@pytest.mark.parametrize(
    ("fields", "stop_reason"),
    [
        ({"tool_choice": {"type": "any"}}, "tool_use"),
        ({"tool_choice": {"type": "tool", "name": "get_weather"}}, "tool_use"),
        ({"tool_choice": {"type": "auto"}}, "end_turn"),
        ({"tool_choice": {"type": "none"}}, "end_turn"),
    ],
)
async def test_the_tool_choice_is_obeyed(fields: dict[str, Any], stop_reason: str) -> None:
    """A required tool is used although an answer is scripted, and only then."""
    assert (await ask("m?answer=No.", tools=[TOOL], **fields)).json["stop_reason"] == stop_reason


async def test_a_tool_result_is_answered_in_words() -> None:
    """What follows a tool_result block is text."""
    history = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "Sunny"}]}]
    assert (await ask("m", tools=[TOOL], messages=history)).json["content"][0]["type"] == "text"


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("m?status=400", 400, "invalid_request_error"),
        ("m?error=credit", 400, "invalid_request_error"),
        ("m?status=401", 401, "authentication_error"),
        ("m?status=403", 403, "permission_error"),
        ("m?status=404", 404, "not_found_error"),
        ("m?status=413", 413, "request_too_large"),
        ("m?status=429&retry_after=2", 429, "rate_limit_error"),
        ("m?status=500", 500, "api_error"),
        ("m?status=504", 504, "timeout_error"),
        ("m?status=529", 529, "overloaded_error"),
    ],
)
async def test_errors_come_in_anthropics_envelope(model: str, status: int, kind: str) -> None:
    """The error's type is the one that Anthropic documents for its status."""
    answer = await ask(model)
    assert answer.status == status
    assert (answer.json["type"], answer.json["error"]["type"]) == ("error", kind)
    assert answer.json["error"]["message"]
    assert answer.json["request_id"] == answer.headers["request-id"]


async def test_overload_may_come_as_an_event_after_a_200() -> None:
    """An error in the stream is an `error` event and the last one."""
    answer = await ask("m?tokens=9&error=overloaded&error_in=stream&error_at=2", stream=True)
    assert answer.status == 200
    assert names(answer)[-2:] == ["content_block_delta", "error"]
    assert answer.chunks[-1]["error"]["type"] == "overloaded_error"
    assert answer.whole


@pytest.mark.parametrize(
    ("model", "present", "absent"),
    [("m?no_done", "message_delta", "message_stop"), ("m?finish=none", "message_stop", "message_delta")],
)
async def test_a_stream_may_lack_its_end(model: str, present: str, absent: str) -> None:
    """`no_done` leaves out message_stop, finish=none the message_delta."""
    found = names(await ask(model, stream=True))
    assert present in found
    assert absent not in found


@pytest.mark.parametrize(
    ("model", "stop_reason", "content"),
    [
        ("m?finish=length", "max_tokens", [{"type": "text", "text": "This is a scripted answer."}]),
        ("m?refusal=I cannot.", "refusal", [{"type": "text", "text": "I cannot."}]),
        ("m?empty=null", "end_turn", []),
        ("m?empty=text", "end_turn", [{"type": "text", "text": ""}]),
        ("m?answer=a b c&tokens=2", "end_turn", [{"type": "text", "text": "a b"}]),
    ],
)
async def test_stop_reasons_and_empty_answers_are_translated(model: str, stop_reason: str, content: Any) -> None:
    """The words of a script mean the same on this wire."""
    body = (await ask(model)).json
    assert (body["stop_reason"], body["content"]) == (stop_reason, content)


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
async def test_what_anthropic_requires_is_required(missing: str) -> None:
    """A missing field is named in Anthropic's words."""
    body = {key: value for key, value in message("m").items() if key != missing}
    async with simulators() as (sim,):
        answer = await exchange(sim, body, "/v1/messages")
    assert (answer.status, answer.json["error"]["message"]) == (400, f"{missing}: Field required")


async def test_the_system_prompt_and_attachments_count_as_prompt() -> None:
    """Input tokens grow with the system prompt and with every block that is no text."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    bare = (await ask("m")).json["usage"]["input_tokens"]
    system = (await ask("m", system=[{"type": "text", "text": "x" * 40}])).json["usage"]["input_tokens"]
    content = [{"type": "text", "text": "Hello"}, image]
    seen = (await ask("m", messages=[{"role": "user", "content": content}])).json["usage"]["input_tokens"]
    assert (system - bare, seen - bare) == (4 + 10, 85)


@pytest.mark.skipif(not (DATA / "wire_native.jsonl.gz").exists(), reason="recorded answers are not at hand")
async def test_events_have_members_that_recorded_ones_have() -> None:
    """Every member of our events, by event and path, is in recorded events of the same name."""

    def paths(value: Any, path: str = "") -> set[str]:
        if isinstance(value, dict):
            return set().union(*(paths(item, f"{path}.{key}") for key, item in value.items())) | {path}
        return set().union(*(paths(item, f"{path}[]") for item in value)) if isinstance(value, list) else {path}

    def members(answer: Exchange) -> set[str]:
        return set().union(*(paths(chunk, chunk["type"]) for chunk in answer.chunks))

    with gzip.open(DATA / "wire_native.jsonl.gz", "rt", encoding="utf-8") as file:
        recorded = (json.loads(line) for line in file)
        real = [
            Exchange(b"\r\n\r\n" + r["body"].encode(), "eof", 0)
            for r in recorded
            if r["sse"] and "anthropic" in r["host"]
        ]
    known = set().union(*(members(answer) for answer in real))
    for model, fields in (("m?reasoning=Hm.", {}), ("m", {"tools": [TOOL]})):
        assert members(await ask(model, stream=True, **fields)) <= known | {"content_block_start.content_block.input"}
