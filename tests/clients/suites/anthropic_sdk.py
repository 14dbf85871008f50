"""The anthropic SDK: messages, streams, tools and counting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from place import ANTHROPIC_URL, CLAUDE, KEY, WEATHER

ASKED: list[Any] = [{"role": "user", "content": "Who are you?"}]
TOOLS: list[Any] = [{"name": "weather", "description": "The weather.", "input_schema": WEATHER}]


@pytest.fixture
def client() -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=ANTHROPIC_URL, api_key=KEY, max_retries=0) as client:
        yield client


def test_a_message(client: anthropic.Anthropic) -> None:
    """Text, stop reason, model and usage."""
    message = client.messages.create(model=CLAUDE, max_tokens=100, system="Be brief.", messages=ASKED)
    assert message.content[0].type == "text"
    assert message.content[0].text
    assert message.stop_reason == "end_turn"
    assert message.model == CLAUDE
    assert message.usage.output_tokens > 0


def test_a_stream_adds_up(client: anthropic.Anthropic) -> None:
    """The SDK's own accumulator takes the events."""
    with client.messages.stream(model=CLAUDE, max_tokens=100, messages=ASKED) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text  # type: ignore[union-attr]
    assert final.stop_reason == "end_turn"


def test_the_events_come_in_their_order(client: anthropic.Anthropic) -> None:
    """message_start, the blocks, message_delta, message_stop."""
    names = [e.type for e in client.messages.create(model=CLAUDE, max_tokens=100, messages=ASKED, stream=True)]
    told = [name for name in names if name != "ping"]
    assert told[:2] == ["message_start", "content_block_start"]
    assert told[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_tools_are_called_and_their_results_answered(client: anthropic.Anthropic) -> None:
    """The whole round over blocks."""
    first = client.messages.create(model=CLAUDE, max_tokens=100, messages=ASKED, tools=TOOLS)
    call = next(block for block in first.content if block.type == "tool_use")
    assert call.input["city"]
    assert first.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    given = [
        *ASKED,
        {"role": "assistant", "content": [block.model_dump() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    second = client.messages.create(model=CLAUDE, max_tokens=100, messages=given, tools=TOOLS)
    assert any(block.type == "text" for block in second.content)


def test_a_streamed_tool_call_adds_up(client: anthropic.Anthropic) -> None:
    """The pieces of its input are JSON together."""
    with client.messages.stream(model=CLAUDE, max_tokens=100, messages=ASKED, tools=TOOLS) as stream:
        final = stream.get_final_message()
    call = next(block for block in final.content if block.type == "tool_use")
    assert call.input["city"]


async def test_the_asynchronous_client() -> None:
    """Over asyncio, too."""
    async with anthropic.AsyncAnthropic(base_url=ANTHROPIC_URL, api_key=KEY, max_retries=0) as client:
        message = await client.messages.create(model=CLAUDE, max_tokens=100, messages=ASKED)
        assert message.content
