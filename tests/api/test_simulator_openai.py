"""The simulator on OpenAI's wire: byte shapes, judged by OpenAI's own document and by recorded answers."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulators import Exchange, chat, exchange, simulators

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}

pytestmark = pytest.mark.anyio


async def ask(model: str, script: Any = None, **fields: Any) -> Exchange:
    async with simulators(script) as (sim,):
        return await exchange(sim, chat(model, **fields))


async def test_a_plain_answer_has_openais_members_in_openais_order() -> None:
    """The body of a plain answer is what api.openai.com would send, with the tokens counted."""
    answer = await ask("m?answer=Paris.&answer_model=m-2025")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    body = answer.json
    assert list(body) == [
        "id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"
    ]  # fmt: skip
    assert body["id"].startswith("chatcmpl-")
    assert len(body["id"]) == 38
    assert body["model"] == "m-2025"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Paris.", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    usage = body["usage"]
    assert (usage["completion_tokens"], usage["total_tokens"]) == (2, usage["prompt_tokens"] + 2)


async def test_a_stream_tells_the_role_first_the_end_in_an_empty_delta_and_the_usage_without_choices() -> None:
    """Chunks have one id; usage is null until its own chunk, and absent where it was not asked for."""
    asked, plain = await ask("m?answer=Paris.", **STREAM), await ask("m?answer=Paris.", stream=True)
    assert asked.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert asked.events[-1] == plain.events[-1] == "[DONE]"
    assert asked.whole
    assert [chunk["choices"][0]["delta"] for chunk in plain.chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Paris"},
        {"content": "."},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in plain.chunks] == [None, None, None, "stop"]
    assert all("usage" not in chunk for chunk in plain.chunks)
    *before, last = asked.chunks
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 2
    assert all(chunk["usage"] is None for chunk in before)
    assert {(chunk["id"], chunk["created"]) for chunk in before} == {(last["id"], last["created"])}


async def test_a_stream_says_what_the_whole_answer_says() -> None:
    """The same script gives the same text and usage in both forms."""
    model = "m?tokens=60&reasoning=Let me see."
    async with simulators() as (sim,):
        whole, stream = await exchange(sim, chat(model)), await exchange(sim, chat(model, **STREAM))
        assert [entry.generated for entry in sim.journal] == [64, 64]
    assert stream.text == whole.json["choices"][0]["message"]["content"]
    assert stream.chunks[-1]["usage"] == whole.json["usage"]
    assert whole.json["usage"]["completion_tokens"] == 60 + 4
    assert whole.json["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4
    thought = "".join(c["choices"][0]["delta"].get("reasoning_content", "") for c in stream.chunks[:-1])
    assert thought == whole.json["choices"][0]["message"]["reasoning_content"] == "Let me see."


async def test_several_answers_are_streamed_in_turn() -> None:
    """`n` gives as many choices, each with its own role, end and place in the stream."""
    whole, stream = await ask("m?answer=a b", n=2), await ask("m?answer=a b", n=2, stream=True)
    assert [choice["index"] for choice in whole.json["choices"]] == [0, 1]
    assert whole.json["usage"]["completion_tokens"] == 4
    assert [chunk["choices"][0]["index"] for chunk in stream.chunks] == [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_have_the_scripted_mean(stream: bool) -> None:
    """exp(mean logprob) is the scripted confidence exactly, and the alternatives are in order and less likely."""
    answer = await ask("m?tokens=40&confidence=0.7", stream=stream, logprobs=True, top_logprobs=3)
    found = (
        [entry for c in answer.chunks for entry in (c["choices"][0]["logprobs"] or {}).get("content", [])]
        if stream
        else answer.json["choices"][0]["logprobs"]["content"]
    )
    values = [entry["logprob"] for entry in found]
    assert len(values) == 40
    assert max(values) <= 0
    assert len(set(values)) == 40
    assert math.exp(sum(values) / 40) == pytest.approx(0.7)
    for entry in found:
        top = [other["logprob"] for other in entry["top_logprobs"]]
        assert top == sorted(top, reverse=True)
        assert entry["top_logprobs"][0] == {key: entry[key] for key in ("token", "logprob", "bytes")}
        assert sum(math.exp(value) for value in top) < 1.4
        assert bytes(entry["bytes"]).decode() == entry["token"]


async def test_wrong_answers_are_less_confident() -> None:
    """A wrong answer comes from the list and carries the confidence of wrong answers; without asking there is none."""
    model = "m?answer=Paris&wrong=1&wrong_answers=Lyon|Nice&wrong_confidence=0.4"
    choice = (await ask(model, logprobs=True)).json["choices"][0]
    assert choice["message"]["content"] in {"Lyon", "Nice"}
    assert math.exp(choice["logprobs"]["content"][0]["logprob"]) == pytest.approx(0.4)
    assert (await ask(model)).json["choices"][0]["logprobs"] is None
    assert (await ask(f"{model}&logprobs=0", logprobs=True)).json["choices"][0]["logprobs"] is None


async def test_the_answer_may_come_from_a_table_or_a_template() -> None:
    """The first question that matches answers; templates know the question, the system prompt, model and call."""
    script = {"m": {"answers": {"(?i)capital of france": "Paris", "": "{n} {model}: {question} ({system}) {x}"}}}
    async with simulators(script) as (sim,):
        messages = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
        ]
        assert (await exchange(sim, chat("m"))).json["choices"][0]["message"]["content"] == "Paris"
        other = await exchange(sim, chat("m") | {"messages": messages})
        assert other.json["choices"][0]["message"]["content"] == "2 m: Why? (Be brief.) {x}"


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_called_with_arguments_that_fit(stream: bool) -> None:
    """An offered tool is called with schema-valid arguments, and after its result the model answers in words."""
    answer = await ask("m", tools=[WEATHER], stream=stream)
    if stream:
        deltas = [chunk["choices"][0]["delta"] for chunk in answer.chunks]
        assert deltas[0] == {"role": "assistant", "content": None}
        parts = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        call = parts[0] | {
            "function": parts[0]["function"] | {"arguments": "".join(p["function"]["arguments"] for p in parts)}
        }
        assert call.pop("index") == 0
        finish = answer.chunks[-1]["choices"][0]["finish_reason"]
    else:
        (choice,) = answer.json["choices"]
        assert choice["message"]["content"] is None
        (call,) = choice["message"]["tool_calls"]
        finish = choice["finish_reason"]
    assert finish == "tool_calls"
    assert call["id"].startswith("call_")
    assert call["type"] == "function"
    assert call["function"]["name"] == "get_weather"
    assert isinstance(json.loads(call["function"]["arguments"])["city"], str)


async def test_a_tool_result_is_answered_in_words() -> None:
    """The loop of an agent comes to an end: what follows a tool's result is text."""
    history = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "Sunny"},
    ]
    for model in ("m", 'm?call=get_weather:{"city":"Paris"}'):
        async with simulators() as (sim,):
            answer = await exchange(sim, {"model": model, "messages": history, "tools": [WEATHER]})
        assert answer.json["choices"][0]["message"]["content"] == "This is a scripted answer."


@pytest.mark.parametrize(
    ("model", "choice", "calls"),
    [
        ("m", "none", False),
        ("m?answer=No.", "auto", False),
        ("m?answer=No.", "required", True),
        ("m?answer=No.&tools=always", "auto", True),
        ("m?tools=never", "required", False),
        ('m?call=get_weather:{"city":"Rome"}', "auto", True),
        ("m", {"type": "function", "function": {"name": "get_weather"}}, True),
    ],
)
async def test_whether_tools_are_called_follows_script_and_request(model: str, choice: Any, calls: bool) -> None:
    """A scripted answer is preferred to a call nobody requires, a required call to a scripted answer."""
    other = {"type": "function", "function": {"name": "other", "parameters": {}}}
    tools = [WEATHER] if isinstance(choice, str) else [other, WEATHER]
    (found,) = (await ask(model, tools=tools, tool_choice=choice)).json["choices"]
    assert found["finish_reason"] == ("tool_calls" if calls else "stop")
    if calls:
        assert found["message"]["tool_calls"][0]["function"]["name"] == "get_weather"


async def test_scripted_calls_come_as_they_are_written() -> None:
    """Several calls of a script file are made at once, with their own ids and arguments."""
    script = {"m": {"call": [{"name": "a", "arguments": {"x": 1}}, {"name": "b", "arguments": '{"y": '}]}}
    calls = (await ask("m", script)).json["choices"][0]["message"]["tool_calls"]
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("a", '{"x":1}'),
        ("b", '{"y": '),
    ]
    assert calls[0]["id"] != calls[1]["id"]


async def test_structured_outputs_are_valid() -> None:
    """A JSON schema or `json_object` in the request gets JSON of that form unless the script says otherwise."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads((await ask("m", response_format=wanted)).json["choices"][0]["message"]["content"]) == {"n": 3}
    loose = (await ask("m", response_format={"type": "json_object"})).json["choices"][0]["message"]["content"]
    assert isinstance(json.loads(loose), dict)
    assert (await ask("m?answer=no", response_format=wanted)).json["choices"][0]["message"]["content"] == "no"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_limit_of_tokens_cuts_the_answer(field: str) -> None:
    """A longer answer ends at the limit with finish_reason length, a shorter one as it would."""
    (cut,) = (await ask("m?tokens=9", **{field: 4})).json["choices"]
    assert (cut["finish_reason"], cut["message"]["content"]) == ("length", "This is a scripted")
    assert (await ask("m?tokens=9", **{field: 9})).json["choices"][0]["finish_reason"] == "stop"
    (thought,) = (await ask("m?reasoning=Let me&tokens=9", **{field: 3})).json["choices"]
    assert (thought["message"]["reasoning_content"], thought["message"]["content"]) == ("Let me", "This")


@pytest.mark.parametrize(
    ("usage", "asked", "told"),
    [
        ("asked", False, []), ("asked", True, [True]), ("always", False, [True]), ("always", True, [True]),
        ("never", True, []), ("last", False, [False]), ("last", True, [False]),
    ],
)  # fmt: skip
async def test_a_stream_tells_its_usage_where_the_script_wants_it(usage: str, asked: bool, told: list[bool]) -> None:
    """In a chunk of its own (True), in the chunk of the end (False) or not at all."""
    fields = STREAM if asked else {"stream": True}
    answer = await ask(f"m?usage={usage}", **fields)
    assert [chunk["choices"] == [] for chunk in answer.chunks if chunk.get("usage")] == told


async def test_the_claimed_usage_may_be_a_lie() -> None:
    """`usage_tokens` is claimed, `usage=never` claims nothing; the ledger knows better."""
    async with simulators() as (sim,):
        lie = await exchange(sim, chat("m?answer=Paris.&usage_tokens=999"))
        nothing = await exchange(sim, chat("m?usage=never"))
        assert lie.json["usage"]["completion_tokens"] == 999
        assert "usage" not in nothing.json
        assert sim.ledger["m?answer=Paris.&usage_tokens=999"].generated == 2


async def test_images_and_audio_are_accepted_and_counted() -> None:
    """Parts that are no text are taken as they are and cost a fixed number of prompt tokens."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [
        {"type": "text", "text": "What is this?"},
        image,
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    async with simulators() as (sim,):
        answer = await exchange(sim, {"model": "m", "messages": [{"role": "user", "content": parts}]})
        text_only = await exchange(sim, {"model": "m", "messages": [{"role": "user", "content": parts[:1]}]})
        assert sim.journal[0].json["messages"][0]["content"] == parts
    assert answer.json["usage"]["prompt_tokens"] == text_only.json["usage"]["prompt_tokens"] + 2 * 85


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({"messages": [{"role": "user", "content": "hi"}]}, None),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["hi"]}, "messages"),
        ({"model": 7, "messages": [{"role": "user", "content": "hi"}]}, "model"),
        ({"model": "m", "messages": [{"role": "user"}], "stream": "yes"}, "stream"),
        ({"model": "m", "messages": [{"role": "user"}], "n": 0}, "n"),
        ({"model": "m", "messages": [{"role": "user"}], "max_tokens": True}, "max_tokens"),
        ({"model": "m", "messages": [{"role": "user"}], "tool_choice": "maybe"}, "tool_choice"),
        ({"model": "m", "messages": [{"role": "user"}], "tool_choice": {"function": {"name": "x"}}}, "tool_choice"),
        ({"model": "m?ttfb=1", "messages": [{"role": "user"}]}, "model"),
    ],
)
async def test_a_request_that_is_not_valid_gets_a_400(body: Any, param: str | None) -> None:
    """The error is OpenAI's: a message, its type, and the parameter at fault."""
    async with simulators() as (sim,):
        answer = await exchange(sim, body)
        assert sim.journal[0].status == 400
    assert answer.status == 400
    assert list(answer.json["error"]) == ["message", "type", "param", "code"]
    assert (answer.json["error"]["type"], answer.json["error"]["param"]) == ("invalid_request_error", param)


async def test_the_models_are_those_of_the_script() -> None:
    """GET /v1/models lists the script's names; a name without an entry is unknown there and to chat."""
    async with simulators({"b/x": {}, "a": {}}) as (sim,):
        listed = await exchange(sim, {}, "/v1/models", method="GET")
        one = await exchange(sim, {}, "/v1/models/b/x", method="GET")
        missing = await exchange(sim, {}, "/v1/models/zzz", method="GET")
        unknown = await exchange(sim, chat("zzz"))
        lost = await exchange(sim, {}, "/v1/nothing")
    assert [model["id"] for model in listed.json["data"]] == ["b/x", "a"]
    assert one.json["object"] == "model"
    assert missing.status == unknown.status == lost.status == 404
    assert missing.json["error"]["code"] == unknown.json["error"]["code"] == "model_not_found"
    assert "`zzz`" in unknown.json["error"]["message"]


def _nullable(schema: Any) -> Any:
    """Turn OpenAPI 3.0's `nullable`, which the document still uses, into JSON Schema."""
    if isinstance(schema, list):
        return [_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _nullable(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [{"type": "null"}, plain]} if schema.get("nullable") is True else plain


@pytest.mark.skipif(not (DATA / "openai_openapi.json.gz").exists(), reason="OpenAI's document is not at hand")
async def test_answers_chunks_and_errors_are_valid_by_openais_own_document() -> None:
    """Bodies in every form satisfy the schemas of OpenAI's OpenAPI document."""
    jsonschema = pytest.importorskip("jsonschema", reason="the judge")
    with gzip.open(DATA / "openai_openapi.json.gz") as file:
        components = _nullable(json.load(file)["components"])

    def faults(name: str, body: Any) -> list[str]:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(body)]

    assert faults("CreateChatCompletionResponse", {}), "the judge is asleep"
    for model in ("m", "m?refusal=No.", "m?reasoning=Hm.", "m?finish=length", "m?finish=content_filter"):
        for fields in ({}, {"logprobs": True, "top_logprobs": 2, "n": 2}, {"tools": [WEATHER]}):
            whole = await ask(model, **fields)
            assert faults("CreateChatCompletionResponse", whole.json) == []
            for chunk in (await ask(model, **STREAM, **fields)).chunks:
                assert faults("CreateChatCompletionStreamResponse", chunk) == []
    assert faults("ErrorResponse", (await ask("m?status=429")).json) == []


@pytest.mark.skipif(not (DATA / "wire_chat.jsonl.gz").exists(), reason="recorded answers are not at hand")
async def test_chunks_have_the_members_of_recorded_ones_in_their_order() -> None:
    """A streamed text has, chunk by chunk, the members of a real one, but for the padding called obfuscation."""

    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return [(key, shape(item)) for key, item in value.items() if key != "obfuscation"]
        return [shape(item) for item in value] if isinstance(value, list) else None

    def shapes(chunks: list[Any]) -> list[str]:
        return list(dict.fromkeys(repr(shape(chunk)) for chunk in chunks))

    with gzip.open(DATA / "wire_chat.jsonl.gz", "rt", encoding="utf-8") as file:
        recorded = (json.loads(line) for line in file)
        real = [
            Exchange(b"\r\n\r\n" + row["body"].encode(), "eof", 0)
            for row in recorded
            if row["sse"] and row["host"] == "api.openai.com" and row["request"].get("stream_options")
            and '"choices":[],"usage"' in row["body"] and '"tool_calls"' not in row["body"]
            and '"service_tier"' in row["body"]
        ]  # fmt: skip
    assert real
    ours = shapes((await ask("m", **STREAM)).chunks)
    assert ours in [shapes(answer.chunks) for answer in real]
