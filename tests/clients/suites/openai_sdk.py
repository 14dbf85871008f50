"""openai-python, 3.x and 2.x: what an application does with it all day."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from place import BASE_URL, EMBEDDING, KEY, MODEL, WEATHER
from pydantic import BaseModel

ASKED: list[Any] = [{"role": "user", "content": "Who are you?"}]
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]


class Person(BaseModel):
    """The structured output of the tests."""

    name: str
    age: int


@pytest.fixture
def client() -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as client:
        yield client


def test_a_chat_completion(client: openai.OpenAI) -> None:
    """Text, finish reason, model and usage."""
    answer = client.chat.completions.create(model=MODEL, messages=ASKED)
    assert answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == MODEL
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream(client: openai.OpenAI) -> None:
    """The role in the first chunk only, one id, one finish reason."""
    chunks = list(client.chat.completions.create(model=MODEL, messages=ASKED, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_a_stream_tells_its_usage_when_asked(client: openai.OpenAI) -> None:
    """The last chunk has no choices and the tokens."""
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=ASKED, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0


def test_tools_are_called_and_their_results_answered(client: openai.OpenAI) -> None:
    """The whole round: call, result, words."""
    first = client.chat.completions.create(model=MODEL, messages=ASKED, tools=TOOLS)
    (call,) = first.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"]
    assert first.choices[0].finish_reason == "tool_calls"
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*ASKED, first.choices[0].message.model_dump(exclude_none=True), result]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert second.choices[0].message.content


def test_streamed_tool_calls_add_up(client: openai.OpenAI) -> None:
    """The SDK's own accumulator takes the deltas: index, id and name where they belong."""
    with client.chat.completions.stream(model=MODEL, messages=ASKED, tools=TOOLS) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert call.id
    assert json.loads(call.function.arguments)["city"]


def test_structured_output_is_parsed(client: openai.OpenAI) -> None:
    """`parse` validates the answer against the model's schema."""
    answer = client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Person)
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_json_mode(client: openai.OpenAI) -> None:
    """`json_object` gives an object."""
    answer = client.chat.completions.create(model=MODEL, messages=ASKED, response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_several_choices(client: openai.OpenAI) -> None:
    """`n` choices with an index each."""
    answer = client.chat.completions.create(model=MODEL, messages=ASKED, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_everything_that_a_request_may_carry(client: openai.OpenAI) -> None:
    """Parameters old and new, vendor fields and images pass."""
    image = "data:image/png;base64," + base64.b64encode(b"\x89PNG" + bytes(64)).decode()
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": image}}]
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": content}],  # type: ignore[list-item,misc]
        temperature=0.2,
        top_p=0.9,
        seed=7,
        stop=["\n\n"],
        max_completion_tokens=50,
        reasoning_effort="low",
        user="someone",
        metadata={"team": "a"},
        extra_body={"vendor_field": {"nested": [1, 2]}},
        extra_headers={"x-custom": "1"},
    )
    assert answer.choices[0].message.content


def test_the_raw_response_has_its_headers(client: openai.OpenAI) -> None:
    """`with_raw_response` gives the status, the headers and the parsed object."""
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASKED)
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.parse().choices


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    """The model that is asked is in the list."""
    assert MODEL in {model.id for model in client.models.list()}


def test_embeddings_of_several_texts(client: openai.OpenAI) -> None:
    """A vector a text, in order."""
    answer = client.embeddings.create(model=EMBEDDING, input=["one", "two"], encoding_format="float")
    assert [item.index for item in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == len(answer.data[1].embedding) > 0


def test_a_response(client: openai.OpenAI) -> None:
    """The Responses API gives its text."""
    answer = client.responses.create(model=MODEL, input="Who are you?", instructions="Be brief.")
    assert answer.output_text
    assert answer.status == "completed"
    assert answer.usage is not None


def test_a_streamed_response(client: openai.OpenAI) -> None:
    """Its events begin, add up to the text and end as completed."""
    events = list(client.responses.create(model=MODEL, input="Who are you?", stream=True))
    types = [event.type for event in events]
    assert types[0] == "response.created"
    assert types[-1] == "response.completed"
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == events[-1].response.output_text  # type: ignore[union-attr]


def test_a_response_calls_a_function(client: openai.OpenAI) -> None:
    """The whole round over items."""
    tools: list[Any] = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}]
    first = client.responses.create(model=MODEL, input="Weather?", tools=tools)
    call = next(item for item in first.output if item.type == "function_call")
    assert json.loads(call.arguments)["city"]
    given: list[Any] = [
        {"role": "user", "content": "Weather?"},
        call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    assert client.responses.create(model=MODEL, input=given, tools=tools).output_text


def test_a_response_is_parsed(client: openai.OpenAI) -> None:
    """`responses.parse` validates the answer."""
    answer = client.responses.parse(model=MODEL, input="Who?", text_format=Person)
    assert isinstance(answer.output_parsed, Person)


async def test_the_asynchronous_client_streams() -> None:
    """Over asyncio, too."""
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=ASKED, stream=True)
        assert [chunk async for chunk in stream]


async def test_the_aiohttp_transport() -> None:
    """The SDK's other HTTP client."""
    async with openai.AsyncOpenAI(
        base_url=BASE_URL, api_key=KEY, max_retries=0, http_client=openai.DefaultAioHttpClient()
    ) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=ASKED)
        assert answer.choices[0].message.content
