"""The example configurations over the real OpenAI client: reviewers with one score, translators side by side."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.gateways import gateways

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
TEXT = [{"role": "user", "content": "We keep every log line for ever."}]


def routes_of(name: str) -> str:
    """Return the routes of an example, each target of it a model of the simulator's."""
    _, _, routes = (EXAMPLES / f"{name}.yaml").read_text().partition("\nroutes:\n")
    return re.sub(r"(?:openai|anthropic|mistral)/", "sim/", routes)


async def test_reviewers_give_one_score_and_every_review() -> None:
    """Three prompts reach one model, each with its own parameters; the score is a header, each review a choice."""
    script = {"gpt-5": {"answer": '{"score": 7, "why": "-"}'}}
    async with gateways(routes_of("perspectives"), script) as running, running.client() as client:
        raw = await client.chat.completions.with_raw_response.create(model="review", messages=TEXT)  # type: ignore[arg-type]
        sent = running.received()
    completion = raw.parse()
    assert raw.headers["x-hedgerow-score"] == "7"
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert all((choice.message.content or "").startswith('{"score"') for choice in completion.choices)
    assert completion.usage is not None
    prompts = [body["messages"][0]["content"] for body in sent]
    assert {prompt.split(":")[0].rpartition(" ")[2] for prompt in prompts} == {"engineer", "product", "lawyer"}
    assert [body.get("reasoning_effort") for body in sent].count("low") == 1


async def test_the_lawyers_score_counts_twice() -> None:
    """8, 6 and 2 of weight 1, 1 and 2 are 4.5."""
    routes = routes_of("perspectives")
    for name in ("technical", "business", "legal"):
        routes = re.sub(rf"(name: {name}\n\s+model: sim/)gpt-5", rf"\1{name}", routes)
    script = {
        name: {"answer": f'{{"score": {score}}}'} for name, score in (("technical", 8), ("business", 6), ("legal", 2))
    }
    async with gateways(routes, script) as running, running.client() as client:
        raw = await client.chat.completions.with_raw_response.create(model="review", messages=TEXT)  # type: ignore[arg-type]
    assert raw.headers["x-hedgerow-score"] == "4.5"


async def test_translations_come_side_by_side_and_one_that_fails_is_left_out() -> None:
    """Each translator's text is a choice of its own, in the order of the file."""
    script = {
        "gpt-5-mini": {"answer": "Wir behalten alles."},
        "claude-haiku-4-5": {"status": 400},
        "mistral-small-latest": {"answer": "Alles wird behalten."},
    }
    async with gateways(routes_of("translation"), script) as running, running.client() as client:
        completion = await client.chat.completions.create(model="translation", messages=TEXT)  # type: ignore[arg-type]
    assert [(choice.index, choice.message.content) for choice in completion.choices] == [
        (0, "Wir behalten alles."),
        (1, "Alles wird behalten."),
    ]
