"""The simulator seen by the real OpenAI client: it must take the simulator for the real thing, faults included."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from pydantic import BaseModel

from gateway.providers.simulator import Simulator
from tests.support.simulators import simulators

pytestmark = pytest.mark.anyio

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["C", "F"]}},
                "required": ["city", "unit"],
                "additionalProperties": False,
            },
        },
    }
]


@asynccontextmanager
async def connected(script: Any = None, *, retries: int = 0) -> AsyncIterator[tuple[AsyncOpenAI, Simulator]]:
    async with (
        simulators(script) as (sim,),
        AsyncOpenAI(api_key="sk-test", base_url=sim.base_url, max_retries=retries, timeout=2) as client,
    ):
        yield client, sim


async def test_a_plain_answer_is_a_chat_completion() -> None:
    """Text, usage, id and request id arrive typed."""
    async with connected({"paris": {"answer": "Paris."}}) as (client, sim):
        answer = await client.chat.completions.create(model="paris", messages=QUESTION, user="me", seed=1)
        assert answer.choices[0].message.content == "Paris."
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 2
        assert answer._request_id is not None
        assert answer._request_id.startswith("req_")
        assert sim.journal[0].headers["authorization"] == "Bearer sk-test"
        assert [model.id async for model in client.models.list()] == ["paris"]


async def test_a_stream_is_a_sequence_of_chunks() -> None:
    """The streaming helper puts text, usage and finish_reason together again."""
    async with connected() as (client, _):
        async with client.chat.completions.stream(
            model="m?tokens=20&tps=400", messages=QUESTION, stream_options={"include_usage": True}
        ) as stream:
            text = "".join([event.delta async for event in stream if event.type == "content.delta"])
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == text
        assert final.choices[0].finish_reason == "stop"
        assert final.usage is not None
        assert final.usage.completion_tokens == 20


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_called(stream: bool) -> None:
    """Tool calls arrive in both forms and their arguments satisfy the strict schema."""
    async with connected() as (client, _):
        if stream:
            async with client.chat.completions.stream(model="m", messages=QUESTION, tools=TOOLS) as events:
                message: Any = (await events.get_final_completion()).choices[0].message
        else:
            message = (
                (await client.chat.completions.create(model="m", messages=QUESTION, tools=TOOLS)).choices[0].message
            )
    (call,) = message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert (call.function.name, set(arguments), arguments["unit"]) == ("get_weather", {"city", "unit"}, "C")


async def test_logprobs_are_typed() -> None:
    """The confidence of an answer can be computed from what the client shows."""
    async with connected() as (client, _):
        answer = await client.chat.completions.create(
            model="m?tokens=30&confidence=0.8", messages=QUESTION, logprobs=True, top_logprobs=2
        )
        stream = await client.chat.completions.create(
            model="m?tokens=30&confidence=0.8", messages=QUESTION, logprobs=True, stream=True
        )
        streamed = [
            entry.logprob
            async for c in stream
            if c.choices[0].logprobs
            for entry in c.choices[0].logprobs.content or ()
        ]
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content is not None
    for values in ([entry.logprob for entry in answer.choices[0].logprobs.content], streamed):
        assert math.exp(sum(values) / 30) == pytest.approx(0.8)


async def test_a_structured_output_is_parsed() -> None:
    """`parse` makes the scripted provider's JSON an object of the class asked for."""

    class Capital(BaseModel):
        name: str
        population: int | None
        districts: list[int]

    async with connected() as (client, _):
        answer = await client.chat.completions.parse(model="m", messages=QUESTION, response_format=Capital)
    assert isinstance(answer.choices[0].message.parsed, Capital)


async def test_images_are_accepted() -> None:
    """Vision parts go through and arrive as they were sent."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]
    async with connected() as (client, sim):
        answer = await client.chat.completions.create(model="m?answer={question}", messages=messages)
        assert answer.choices[0].message.content == "What is this?"
        assert sim.journal[0].json["messages"] == messages


@pytest.mark.parametrize(
    ("model", "expected", "code"),
    [
        ("m?error=context_length", openai.BadRequestError, "context_length_exceeded"),
        ("m?status=401", openai.AuthenticationError, "invalid_api_key"),
        ("m?status=403", openai.PermissionDeniedError, "model_not_found"),
        ("m?status=404", openai.NotFoundError, "model_not_found"),
        ("m?status=422", openai.UnprocessableEntityError, "unprocessable_entity"),
        ("m?status=429", openai.RateLimitError, "rate_limit_exceeded"),
        ("m?status=503", openai.InternalServerError, None),
        ("m?ttfb=1", openai.BadRequestError, "unknown_behaviour"),
    ],
)
async def test_refusals_become_the_clients_errors(
    model: str, expected: type[openai.APIStatusError], code: str | None
) -> None:
    """Each status raises its class, with code and message."""
    async with connected() as (client, _):
        with pytest.raises(expected) as caught:
            await client.chat.completions.create(model=model, messages=QUESTION)
    assert caught.value.code == code
    assert caught.value.body


async def test_the_client_comes_back_after_the_time_it_was_told() -> None:
    """The client's own retries honour the scripted Retry-After, as the journal's clock shows."""
    script = {
        "m": [
            {"status": 429, "retry_after": 0.1, "retry_as": "ms"},
            {"status": 500, "headers": "retry-after-ms:1"},
            "answer=ok",
        ]
    }
    async with connected(script, retries=2) as (client, sim):
        answer = await client.chat.completions.create(model="m", messages=QUESTION)
        first, second, third = sim.journal
    assert answer.choices[0].message.content == "ok"
    assert first.ended is not None
    assert 0.1 <= second.started - first.ended < 0.5
    assert [entry.headers["x-stainless-retry-count"] for entry in (first, second, third)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("m?reset", openai.APIConnectionError),
        ("m?short", openai.APIConnectionError),
        ("m?html&status=502", openai.InternalServerError),
    ],
)
async def test_broken_connections_become_connection_errors(model: str, expected: type[Exception]) -> None:
    """A reset and a short body are connection errors, a page with 502 is a server error."""
    async with connected() as (client, _):
        with pytest.raises(expected):
            await client.chat.completions.create(model=model, messages=QUESTION)


async def test_an_error_in_a_stream_is_raised() -> None:
    """The client raises what the stream tells, after the tokens before it."""
    async with connected() as (client, _):
        stream = await client.chat.completions.create(
            model="m?tokens=9&error=server_error&error_in=stream&error_at=2", messages=QUESTION, stream=True
        )
        seen = []
        with pytest.raises(openai.APIError, match="The server had an error"):
            seen.extend([chunk.choices[0].delta.content async for chunk in stream])


async def test_azures_paths_lead_to_the_same_place() -> None:
    """A deployment's path and an api-key header are understood."""
    async with (
        simulators({"m": {"key": "azure"}}) as (sim,),
        AsyncAzureOpenAI(api_key="azure", azure_endpoint=sim.url, api_version="2024-10-21", max_retries=0) as client,
    ):
        answer = await client.chat.completions.create(model="m", messages=QUESTION)
        assert answer.choices[0].finish_reason == "stop"
        assert sim.journal[0].path.startswith("/openai/deployments/")
