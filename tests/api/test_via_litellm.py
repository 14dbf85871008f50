"""Providers behind litellm that answer: what goes onto the wire, and that what comes back has OpenAI's shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanin import Candidate, ToolCall
from gateway.domain import FailureKind, Target, Usage
from gateway.providers import via_litellm
from gateway.providers.via_litellm import LitellmProvider
from gateway.settings import ProviderSettings, Secret
from tests.support import anthropic_server as anthropic
from tests.support import gemini_server as gemini
from tests.support.behind_litellm import CLAUDE, FLASH, KEY, QUIET, Upstream, ask, events, fields, upstream_server

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings(QUIET)]

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Look it up",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with upstream_server() as upstream:
        yield upstream


async def test_a_whole_answer_of_anthropic_is_a_chat_completion(upstream: Upstream) -> None:
    """The candidate carries text, tool calls and the target's weight; its payload is OpenAI's object, no more."""
    reply = anthropic.message(
        anthropic.text("Paris"), anthropic.tool_use("get_weather", {"city": "Paris"}), stop_reason="tool_use"
    )
    candidate = await upstream.ask(CLAUDE, ask(), reply)
    assert (candidate.target, candidate.text, candidate.finish_reason) == ("claude", "Paris", "tool_calls")
    assert candidate.tool_calls == (ToolCall("get_weather", '{"city": "Paris"}', "toolu_01"),)
    assert (candidate.weight, candidate.priority) == (2.0, 3)
    assert candidate.payload.usage == Usage(12, 7)
    body = fields(candidate)
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    call = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    assert body == {
        "object": "chat.completion",
        "model": anthropic.MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Paris",
                    "refusal": None,
                    "tool_calls": [{"id": "toolu_01", "type": "function", "function": call}],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 7,
            "total_tokens": 19,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


async def test_a_whole_answer_of_gemini_is_a_chat_completion(upstream: Upstream) -> None:
    """The same object, whatever litellm hangs onto it for this provider."""
    candidate = await upstream.ask(FLASH, ask(), gemini.answer(gemini.content(gemini.text("Paris"))))
    assert candidate == Candidate("flash", "Paris", finish_reason="stop")
    body = fields(candidate)
    assert body.keys() == {"id", "object", "created", "model", "choices", "usage"}
    message = {"role": "assistant", "content": "Paris", "refusal": None}
    assert body["choices"] == [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"] == {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}


async def test_thoughts_are_kept_with_their_signature(upstream: Upstream) -> None:
    """A conversation with a thinking model goes on only with the signature of its thoughts."""
    reply = anthropic.message(anthropic.thinking("hmm", "sig"), anthropic.text("Paris"))
    message = fields(await upstream.ask(CLAUDE, ask(), reply))["choices"][0]["message"]
    assert message["reasoning_content"] == "hmm"
    assert message["thinking_blocks"] == [{"type": "thinking", "thinking": "hmm", "signature": "sig"}]


async def test_a_request_reaches_anthropic_translated_and_complete(upstream: Upstream) -> None:
    """Model, prompt, tools, the key and the allowed headers arrive as Anthropic wants them."""
    target = Target("claude", "anthropic", "team/claude:x", prompt="Be brief.", params={"temperature": 0.5})
    messages = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": "Weather in Paris?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "toolu_9", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_9", "content": "rain"},
    ]
    request = ask(
        messages=messages,
        tools=[TOOL],
        temperature=1.0,
        max_tokens=99,
        stop=["END"],
        headers={"traceparent": "00-1-2-01"},
    )
    await upstream.ask(target, request, anthropic.message(anthropic.text("Il pleut")), headers={"x-team": "blue"})
    received = upstream.server.received[-1]
    headers = {name.lower(): value for name, value in received.headers.items()}
    assert received.path == "/v1/messages"
    assert headers["x-api-key"] == KEY
    assert headers["traceparent"] == "00-1-2-01"
    assert headers["x-team"] == "blue"
    body = received.json
    assert body["model"] == "team/claude:x"
    assert [part["text"] for part in body["system"]] == ["Be brief.", "Answer in French."]
    assert (body["temperature"], body["max_tokens"], body["stop_sequences"]) == (0.5, 99, ["END"])
    assert body["tools"][0]["name"] == "get_weather"
    assert body["tools"][0]["input_schema"]["required"] == ["city"]
    assert body["messages"][1]["content"][0]["id"] == "toolu_9"
    assert body["messages"][2]["content"][0]["type"] == "tool_result"
    assert "metadata" not in body


async def test_a_request_reaches_gemini_translated_and_complete(upstream: Upstream) -> None:
    """Prompt, tools and parameters arrive where Gemini wants them, the key in a header and not in the address."""
    target = Target("flash", "gemini", gemini.MODEL, prompt="Be brief.")
    await upstream.ask(
        target, ask(tools=[TOOL], max_tokens=99, seed=4), gemini.answer(gemini.content(gemini.text("x")))
    )
    received = upstream.server.received[-1]
    headers = {name.lower(): value for name, value in received.headers.items()}
    assert received.path == f"/models/{gemini.MODEL}:generateContent"
    assert headers["x-goog-api-key"] == KEY
    assert not received.query
    body = received.json
    assert body["system_instruction"]["parts"] == [{"text": "Be brief."}]
    assert body["generationConfig"] == {"max_output_tokens": 99, "seed": 4}
    assert body["tools"][0]["function_declarations"][0]["name"] == "get_weather"


@pytest.mark.parametrize("target", [CLAUDE, FLASH], ids=["anthropic", "gemini"])
async def test_a_field_that_nobody_knows_goes_onto_the_wire_as_it_is(upstream: Upstream, target: Target) -> None:
    """Unknown fields pass through, never into litellm's own controls, and overwrite nothing that litellm wrote."""
    request = ask(
        new_field={"big": 12345678901234567890, "x": [1.50]},
        mock_response="never sent",
        fallbacks=["openai/gpt-5"],
        api_base="http://127.0.0.1:9/evil",
        num_retries=5,
        contents="forged",
        model="forged",
    )
    reply = {
        "claude": anthropic.message(anthropic.text("Paris")),
        "flash": gemini.answer(gemini.content(gemini.text("Paris"))),
    }[target.name]
    assert (await upstream.ask(target, request, reply)).text == "Paris"
    raw = upstream.server.received[-1].raw
    assert b'{"big": 12345678901234567890, "x": [1.5]}' in raw
    body = upstream.body
    assert body.get("model") in {anthropic.MODEL, "forged"} if target is FLASH else body["model"] == anthropic.MODEL
    if target is FLASH:
        assert body["contents"][0]["parts"] == [{"text": "Capital of France?"}]


@pytest.mark.parametrize("live", [False, True], ids=["whole", "stream"])
async def test_a_parameter_without_translation_is_the_callers_matter(upstream: Upstream, live: bool) -> None:
    """What would change the answer is neither dropped nor forced through: the client hears which field it is."""
    failure = await upstream.ask(CLAUDE, ask(live=live, seed=7), anthropic.message(anthropic.text("x")))
    assert failure.kind is FailureKind.CALLER_FAULT
    assert failure.error["param"] == "seed"
    assert failure.error["code"] == "unsupported_parameter"
    assert upstream.server.received == []


@pytest.mark.parametrize(
    ("api", "model"),
    [
        ("bedrock", "us.amazon.nova-pro-v1:0"),
        ("cohere_chat", "command-r-plus"),
        ("cohere", "command-r-plus"),
        ("gemini", "gemini-2.5-flash"),
        ("ollama_chat", "llama3"),
        ("replicate", "meta/llama"),
        ("vertex_ai", "gemini-2.5-pro"),
        ("watsonx", "ibm/granite-3"),
    ],
)
def test_what_litellm_names_and_leaves_out_is_not_taken_for_translated(api: str, model: str) -> None:
    """It lists parameters that it forgets without a word: these would be lost, so they count as unsupported."""
    litellm = via_litellm._litellm()

    def made(**fields: Any) -> Any:
        return litellm.utils.get_optional_params(model=model, custom_llm_provider=api, drop_params=False, **fields)

    values: dict[str, Any] = {"frequency_penalty": 0.5, "functions": [TOOL["function"]], "max_tokens": 9, "n": 2}
    values |= {"presence_penalty": 0.5, "seed": 3, "stop": ["x"], "temperature": 0.3, "tool_choice": "required"}
    values |= {"tools": [TOOL], "top_p": 0.4}
    taken = values.keys() & via_litellm._parameters(api, model)
    beside = {"tool_choice": {"tools": [TOOL]}}
    forgotten = {
        name for name in taken if made(**beside.get(name, {}), **{name: values[name]}) == made(**beside.get(name, {}))
    }
    assert taken
    assert forgotten == set()


@pytest.mark.parametrize("live", [False, True], ids=["whole", "stream"])
async def test_a_client_of_legacy_functions_reads_a_function_call(upstream: Upstream, live: bool) -> None:
    """Who sends `functions` reads no `tool_calls`."""
    call = gemini.content(gemini.function_call("get_weather", {"city": "Paris"}))
    reply = gemini.stream([call]) if live else gemini.answer(call)
    candidate = await upstream.ask(FLASH, ask(live=live, functions=[TOOL["function"]]), reply)
    assert [called.name for called in candidate.tool_calls] == ["get_weather"]
    heard = await events(candidate) if live else [fields(candidate)]
    choices = [choice for each in heard for choice in each["choices"]]
    told = [(choice.get("message") or choice["delta"]) for choice in choices]
    assert not any(said.get("tool_calls") for said in told)
    assert [said["function_call"]["name"] for said in told if said.get("function_call")] == ["get_weather"]
    assert choices[-1]["finish_reason"] == "function_call"


async def test_bookkeeping_and_defaults_never_cost_a_provider(upstream: Upstream) -> None:
    """Fields that change nothing about the answer are left out where a provider does not know them."""
    request = ask(
        n=1, store=False, prompt_cache_key="k", safety_identifier="s", logprobs=False, presence_penalty=0, user=None
    )
    assert (await upstream.ask(CLAUDE, request, anthropic.message(anthropic.text("x")))).text == "x"
    assert upstream.body.keys() == {"model", "messages", "max_tokens"}


async def test_log_probabilities_are_asked_for_only_where_there_are_any(upstream: Upstream) -> None:
    """A selector's wish for logprobs reaches Gemini and leaves Anthropic, which has none, in the race."""
    await upstream.ask(FLASH, ask(logprobs=True), gemini.answer(gemini.content(gemini.text("x"))))
    assert upstream.body["generationConfig"]["responseLogprobs"] is True
    outcome = await upstream.ask(CLAUDE, ask(logprobs=True), anthropic.message(anthropic.text("x")))
    assert outcome.text == "x"


async def test_each_call_gets_fresh_metadata(upstream: Upstream) -> None:
    """What it is given litellm writes into: neither the request nor the next call may see it."""
    request = ask(metadata={"user_id": "u1", "guardrails": ["x"], "n": 5})
    before = {name: bytes(raw) for name, raw in request.fields.items()}
    for _ in range(2):
        await upstream.ask(CLAUDE, request, anthropic.message(anthropic.text("x")))
    assert {name: bytes(raw) for name, raw in request.fields.items()} == before
    assert upstream.server.received[0].raw == upstream.server.received[1].raw
    assert upstream.body["metadata"] == {"user_id": "u1"}


@pytest.mark.parametrize("address", ["image", "image.png"])
@pytest.mark.parametrize("target", [CLAUDE, FLASH], ids=["anthropic", "gemini"])
async def test_no_address_in_a_request_is_ever_fetched(
    upstream: Upstream, target: Target, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that litellm's own rules would allow: the data comes with the request or not at all."""
    outcome = await upstream.ask(target, ask(), anthropic.message(anthropic.text("x")))  # imports litellm
    import litellm

    upstream.server.received.clear()
    host = upstream.server.url.removeprefix("http://")
    monkeypatch.setattr(litellm, "user_url_allowed_hosts", [host])
    image = {"type": "image_url", "image_url": {"url": f"{upstream.server.url}/{address}"}}
    request = ask(messages=[{"role": "user", "content": [{"type": "text", "text": "what is it?"}, image]}])
    outcome = await upstream.ask(target, request, anthropic.message(anthropic.text("x")))
    assert outcome.kind is FailureKind.CALLER_FAULT
    assert "data: URL" in outcome.error["message"]
    assert upstream.server.received == []


async def test_bedrocks_own_way_to_images_is_shut_too() -> None:
    """It does not pass the limits of the other providers, but the same gate."""
    await LitellmProvider(ProviderSettings("bedrock", "bedrock")).warm_up()
    import litellm
    from litellm.litellm_core_utils.prompt_templates.factory import BedrockImageProcessor

    with pytest.raises(litellm.ImageFetchError):
        BedrockImageProcessor.get_image_details("http://127.0.0.1:9/image.png")


async def test_a_stream_of_anthropic_has_openais_chunks(upstream: Upstream) -> None:
    """Role first, then words, then the pieces of the tool call, then one finish_reason; no litellm field in between."""
    frames = anthropic.frames(
        anthropic.text("Paris is"), anthropic.tool_use("get_weather", {"city": "Paris"}), stop_reason="tool_use"
    )
    candidate = await upstream.ask(CLAUDE, ask(live=True, tools=[TOOL]), anthropic.stream(frames))
    assert (candidate.target, candidate.weight) == ("claude", 2.0)
    chunks = await events(candidate)
    assert all(chunk.keys() == {"id", "object", "created", "model", "choices"} for chunk in chunks)
    assert {(chunk["id"], chunk["created"], chunk["object"]) for chunk in chunks} == {
        (chunks[0]["id"], chunks[0]["created"], "chat.completion.chunk")
    }
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert all(choice.keys() == {"index", "delta", "logprobs", "finish_reason"} for choice in choices)
    deltas = [choice["delta"] for choice in choices]
    assert deltas[0]["role"] == "assistant"
    assert not any("role" in delta for delta in deltas[1:])
    assert "".join(delta.get("content") or "" for delta in deltas) == "Paris is"
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert calls[0] == {
        "index": 0,
        "id": "toolu_01",
        "type": "function",
        "function": {"name": "get_weather", "arguments": ""},
    }
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city": "Paris"}'
    assert all(call.keys() == {"index", "function"} for call in calls[1:])
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls"]
    assert choices[-1]["delta"] == {}
    assert candidate.payload.usage == Usage(12, 7)


async def test_a_stream_of_gemini_has_openais_chunks(upstream: Upstream) -> None:
    """Words and a function call of Gemini, which come whole, become the same kind of chunks."""
    bodies = [
        gemini.content(gemini.text("Let me "), finish=None),
        gemini.content(gemini.text("see."), finish=None),
        gemini.content(gemini.function_call("get_weather", {"city": "Paris"}), finish=None),
        gemini.content(gemini.text("")),
    ]
    candidate = await upstream.ask(FLASH, ask(live=True, tools=[TOOL]), gemini.stream(bodies))
    assert upstream.server.received[-1].query == {"alt": "sse"}
    choices = [choice for chunk in await events(candidate) for choice in chunk["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "Let me see."
    (call,) = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Paris"})
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls"]
    assert candidate.payload.usage == Usage(12, 7)


async def test_a_stream_is_committed_at_its_first_words_and_not_before(upstream: Upstream) -> None:
    """Message starts, pings and thoughts are read before the candidate exists, and handed on with it."""
    frames = anthropic.frames(anthropic.thinking("hm hm"), anthropic.text("Paris"))
    candidate = await upstream.ask(CLAUDE, ask(live=True), anthropic.stream(frames, pause=0.02, end="hang"))
    sent = upstream.server.received[-1].sent
    assert candidate.text == "Pa"
    assert sent < len(frames)
    stream = aiter(candidate.payload)
    first = json.loads((await anext(stream))[0])
    assert first["choices"][0]["delta"]["reasoning_content"] == "hm"
    await stream.aclose()
    await candidate.payload.aclose()


async def test_a_tool_call_alone_is_a_first_word_too(upstream: Upstream) -> None:
    """An answer that only calls a tool commits at the call."""
    frames = anthropic.frames(anthropic.tool_use("get_weather", {"city": "Paris"}), stop_reason="tool_use")
    candidate = await upstream.ask(CLAUDE, ask(live=True, tools=[TOOL]), anthropic.stream(frames))
    assert candidate.tool_calls[0].name == "get_weather"
    await candidate.payload.aclose()


async def test_the_usage_chunk_is_sent_only_where_the_client_asked_for_it(upstream: Upstream) -> None:
    """`include_usage` gives one last chunk without choices, as OpenAI's; the gateway counts either way."""
    reply = anthropic.stream(anthropic.frames(anthropic.text("Paris")))
    asked = await upstream.ask(CLAUDE, ask(live=True, stream_options={"include_usage": True}), reply)
    last = (await events(asked))[-1]
    assert (last["choices"], last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == ([], 12, 7)
    silent = await upstream.ask(CLAUDE, ask(live=True), reply)
    assert not any("usage" in chunk for chunk in await events(silent))
    assert silent.payload.usage == asked.payload.usage == Usage(12, 7)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
async def test_every_character_of_a_stream_survives_however_the_bytes_are_cut(upstream: Upstream, size: int) -> None:
    """Line separators inside JSON strings (U+0085, U+2028, U+2029) cost litellm the rest of the answer; not us."""
    words = "a\u2028b\u2029c\u0085d é € 𝄞 â â\u0080 end"
    wire = b"".join(anthropic.frames(anthropic.text(words), pieces=1))
    pieces = [wire[start : start + size] for start in range(0, len(wire), size)]
    candidate = await upstream.ask(CLAUDE, ask(live=True), anthropic.stream(pieces))
    chunks = await events(candidate)
    assert "".join(choice["delta"].get("content") or "" for c in chunks for choice in c["choices"]) == words


async def test_litellm_alone_loses_the_rest_of_an_answer_at_a_line_separator(upstream: Upstream) -> None:
    """The reason for our escaping, and the proof that the test above can fail."""
    await upstream.ask(CLAUDE, ask(), anthropic.message(anthropic.text("x")))
    import litellm

    upstream.replies = [anthropic.stream(anthropic.frames(anthropic.text("one\u2028two"), pieces=1))]
    stream = await litellm.acompletion(
        model=f"anthropic/{anthropic.MODEL}",
        api_base=upstream.server.url,
        api_key="k",
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
    )
    read = [chunk async for chunk in stream]
    await stream.aclose()
    await litellm.close_litellm_async_clients()
    assert "two" not in "".join(chunk.choices[0].delta.content or "" for chunk in read)
    assert read[-1].choices[0].finish_reason == "stop"


async def test_connections_are_kept_for_the_next_call(upstream: Upstream) -> None:
    """A whole answer and a stream that were read to their ends leave their connection to the next one."""
    provider = LitellmProvider(ProviderSettings("anthropic", "anthropic", upstream.server.url, Secret("k")))
    upstream.replies = [
        anthropic.message(anthropic.text("x")),
        anthropic.stream(anthropic.frames(anthropic.text("y"))),
        anthropic.message(anthropic.text("z")),
    ]
    deadline = asyncio.get_running_loop().time() + 30
    assert (await provider(CLAUDE, ask(), deadline)).text == "x"  # type: ignore[union-attr]
    candidate = await provider(CLAUDE, ask(live=True), deadline)
    assert isinstance(candidate, Candidate)
    await events(candidate)
    assert (await provider(CLAUDE, ask(), deadline)).text == "z"  # type: ignore[union-attr]
    assert len({received.client for received in upstream.server.received}) == 1
    await provider.aclose()


async def test_a_closed_stream_says_so_once(upstream: Upstream) -> None:
    """Who waits for the end of a stream hears of it exactly once, however often it is closed."""
    candidate = await upstream.ask(
        CLAUDE, ask(live=True), anthropic.stream(anthropic.frames(anthropic.text("x"))), options={"api_version": "1"}
    )
    heard: list[int] = []
    candidate.payload.on_close(lambda: heard.append(1))
    await candidate.payload.aclose()
    await candidate.payload.aclose()
    assert heard == [1]
