"""pydantic-ai, OpenAI Agents, instructor, litellm as a client and simonw/llm: one agent's errand each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import agents
import instructor
import openai
from place import BASE_URL, KEY, MODEL
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def _pydantic(kind: type[Any]) -> Any:
    return kind(MODEL, provider=OpenAIProvider(base_url=BASE_URL, api_key=KEY))


async def test_pydantic_ai_gives_an_object() -> None:
    """`output_type` is a tool of its own."""
    result = await Agent(_pydantic(OpenAIChatModel), output_type=Person).run("Who?")
    assert isinstance(result.output, Person)


async def test_pydantic_ai_calls_a_tool() -> None:
    """The tool is called and its result answered."""
    agent, cities = Agent(_pydantic(OpenAIChatModel)), []

    @agent.tool_plain
    def weather(city: str) -> str:
        """Tell the weather."""
        cities.append(city)
        return "sunny"

    result = await agent.run("Weather?")
    assert cities
    assert result.output


async def test_pydantic_ai_streams() -> None:
    """Text as it comes."""
    async with Agent(_pydantic(OpenAIChatModel)).run_stream("Who?") as result:
        assert [text async for text in result.stream_text(delta=True)]


async def test_pydantic_ai_over_responses() -> None:
    """The same agent over `/v1/responses`."""
    assert (await Agent(_pydantic(OpenAIResponsesModel)).run("Who?")).output


@agents.function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def _client() -> openai.AsyncOpenAI:
    agents.set_tracing_disabled(disabled=True)
    return openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)


async def test_openai_agents_over_responses() -> None:
    """Their default: tools over `/v1/responses`."""
    model = agents.OpenAIResponsesModel(model=MODEL, openai_client=_client())
    result = await agents.Runner.run(agents.Agent(name="a", model=model, tools=[weather]), "Weather?")
    assert result.final_output


async def test_openai_agents_over_chat_completions() -> None:
    """The same over chat completions."""
    model = agents.OpenAIChatCompletionsModel(model=MODEL, openai_client=_client())
    result = await agents.Runner.run(agents.Agent(name="a", model=model, tools=[weather]), "Weather?")
    assert result.final_output


async def test_openai_agents_stream() -> None:
    """Events of a streamed run."""
    model = agents.OpenAIResponsesModel(model=MODEL, openai_client=_client())
    run = agents.Runner.run_streamed(agents.Agent(name="a", model=model), "Who?")
    assert [event async for event in run.stream_events()]
    assert run.final_output


def test_instructor_with_tools() -> None:
    """The object comes out of a tool call."""
    client = instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=KEY), mode=instructor.Mode.TOOLS)
    assert client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Who?"}], response_model=Person, max_retries=1
    )


def test_instructor_with_a_schema() -> None:
    """The object comes out of a structured answer."""
    client = instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=KEY), mode=instructor.Mode.JSON_SCHEMA)
    assert client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Who?"}], response_model=Person, max_retries=1
    )


_LITELLM = """
import litellm
from place import BASE_URL, MODEL

messages = [{"role": "user", "content": "Who?"}]
asked = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": "k", "messages": messages}
assert litellm.completion(**asked).choices[0].message.content
assert "".join(chunk.choices[0].delta.content or "" for chunk in litellm.completion(stream=True, **asked))
"""


def test_litellm_as_a_client() -> None:
    """Whole and streamed, in a process of its own, since it takes seconds to import."""
    done = subprocess.run(
        [sys.executable, "-c", _LITELLM],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_simonw_llm(tmp_path: Path) -> None:
    """A prompt from the command line."""
    models = f"- model_id: mine\n  model_name: {MODEL}\n  api_base: {BASE_URL}\n  api_key_name: mine\n"
    (tmp_path / "extra-openai-models.yaml").write_text(models)
    (tmp_path / "keys.json").write_text('{"mine": "k"}')
    command = [str(Path(sys.executable).with_name("llm")), "-m", "mine", "Who are you?"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={"LLM_USER_PATH": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
