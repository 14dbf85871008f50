"""Every fault of a provider, played over real sockets on the first of two targets, with and without streaming.

Each row says what the client gets: the whole right answer, or (once words were passed on) an error it cannot overlook.
A naive proxy in the gateway's place is the control: for every row it does worse, or the row would prove nothing.
"""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from tests.support.gateways import gateways
from tests.support.naive import naive_proxies

pytestmark = pytest.mark.anyio

RIGHT = "The answer to the question is three hundred and ninety one."
SCRIPT = {"good": {"answer": RIGHT}, "bad": {"answer": RIGHT, "gap": 0.002}}
OTHER = "  other: {api: openai, base_url: '{sim}', api_key: sk-other}"
"""A provider of its own for the good target: a key that is refused is refused for all targets that share it."""
PATIENCE = 5.0
"""Seconds that the client waits before it gives up: a busy machine is no fault of the gateway's."""

ALWAYS_WRONG = "wrong=1&wrong_answers=forty-two"
BOTH = [
    "status=429",
    "status=429&retry_after=30",
    "status=429&retry_after=30000&retry_as=ms",
    "status=500",
    "status=503",
    "status=503&retry_after=60",
    "status=529",
    "status=401",
    "error=context_length",
    "error=overloaded&error_in=body",
    "redirect=http://localhost:1/",
    "reset",
    "silent",
    "html",
    "empty=null",
    "empty=text",
    "empty=choices",
    "reasoning_only",
    "ttft=5",
    ALWAYS_WRONG,
]
WHOLE = ["truncated", "short", "cut=3", "cut=3&cut_by=fin", "stall=5"]
BEFORE_WORDS = [
    "early=headers&ttft=5",
    "early=role&ttft=5",
    "error=overloaded&error_in=stream",
    "cut=0&cut_by=eof",
    "malformed=0",
]
AFTER_WORDS = [
    "cut=3&cut_by=rst",
    "cut=3&cut_by=fin",
    "cut=3&cut_by=eof",
    "stall=5&stall_at=3",
    "malformed=3",
]


async def verdict(base_url: str, model: str, *, stream: bool, patience: float = PATIENCE) -> str:
    """Ask as a client with some patience; say `served`, `error`, or what else it had to make do with."""
    body = {"model": model, "messages": [{"role": "user", "content": "17 * 23?"}], "stream": stream}
    try:
        async with (
            asyncio.timeout(patience),
            aiohttp.ClientSession() as session,
            session.post(f"{base_url}/chat/completions", json=body) as response,
        ):
            raw, status = await response.text(), response.status
    except (TimeoutError, aiohttp.ClientError):
        return "hung or broken off"
    if status != 200:
        return "error"
    try:
        return _streamed(raw) if stream else _whole(raw)
    except (ValueError, KeyError, IndexError, TypeError):
        return "unreadable"


def _whole(raw: str) -> str:
    return "served" if json.loads(raw)["choices"][0]["message"]["content"] == RIGHT else "wrong"


def _streamed(raw: str) -> str:
    data = [line.removeprefix("data: ") for line in raw.split("\n") if line.startswith("data: ")]
    chunks = [json.loads(event) for event in data if event != "[DONE]"]
    if any("error" in chunk for chunk in chunks):
        return "error"
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    ended = data[-1:] == ["[DONE]"] and any(c["finish_reason"] for chunk in chunks for c in chunk["choices"])
    return "served" if text == RIGHT and ended else "wrong"


def routes(words: str) -> str:
    """A route whose first target has the fault; a vote of three where the fault is a wrong answer."""
    shared = "timeout: 1s, idle: 700ms, deadline: 4s, retries: 0"
    if words.startswith("wrong"):
        return f"  r: {{targets: ['sim/bad?{words}', sim/good, 'sim/good?latency=0.01'], select: majority, {shared}}}"
    return f"  r: {{targets: ['sim/bad?{words}', other/good], launch: fallback, select: first, {shared}}}"


async def both(words: str, *, stream: bool) -> tuple[str, str]:
    """The verdict on the gateway, and on the naive proxy."""
    async with (
        gateways(routes(words), SCRIPT, head=OTHER) as running,
        naive_proxies(running.sim.base_url, f"bad?{words}") as naive,
        asyncio.TaskGroup() as group,
    ):
        ours = group.create_task(verdict(running.base_url, "r", stream=stream))
        theirs = group.create_task(verdict(naive, "r", stream=stream, patience=1.0))
    return ours.result(), theirs.result()


@pytest.mark.parametrize("words", [*BOTH, *WHOLE])
async def test_a_fault_of_one_target_is_not_the_client_s(words: str) -> None:
    """Without streaming, every fault of the first target is made good by the second."""
    ours, naive = await both(words, stream=False)
    assert ours == "served"
    assert naive != "served"


@pytest.mark.parametrize("words", [*BOTH, *BEFORE_WORDS])
async def test_a_fault_before_the_first_words_of_a_stream_is_not_the_client_s(words: str) -> None:
    """As long as nothing was passed on, the next target's stream takes over unseen."""
    ours, naive = await both(words, stream=True)
    assert ours == "served"
    assert naive != "served"


LAUNCHES = {
    "race": ("['sim/bad?{0}', 'other/good?latency=0.03', 'other/good?latency=0.05']", "select: first"),
    "vote": ("['sim/bad?{0}', other/good, 'other/good?latency=0.01']", "select: majority"),
    "hedge": ("['sim/bad?{0}', other/good]", "launch: {initial: 1, stagger: 100ms}"),
    "buffered": ("['sim/bad?{0}', other/good]", "launch: fallback, buffer: full"),
}


@pytest.mark.slow
@pytest.mark.parametrize("words", [*BOTH, *WHOLE, *BEFORE_WORDS, *AFTER_WORDS])
async def test_a_fault_of_one_target_is_not_the_client_s_in_any_launch_mode(words: str) -> None:
    """Raced, voted on, hedged or buffered, streaming or not; what is wrong but looks right, only a vote finds out."""
    shared = "timeout: 2s, idle: 500ms, deadline: 10s, retries: 0"
    made = "\n".join(
        f"  {name}: {{targets: {targets.format(words)}, {how}, {shared}}}" for name, (targets, how) in LAUNCHES.items()
    )
    cases = [(name, stream) for name in LAUNCHES for stream in (False, True)]
    if words == ALWAYS_WRONG:
        cases = [("vote", False), ("vote", True)]
    if words in WHOLE or words in AFTER_WORDS:  # in a live stream they are the business of `standby` and error events
        cases = [case for case in cases if case[0] in {"vote", "buffered"} or not case[1]]
    async with gateways(made, SCRIPT, head=OTHER) as running, asyncio.TaskGroup() as group:
        asked = {
            case: group.create_task(verdict(running.base_url, case[0], stream=case[1], patience=20.0)) for case in cases
        }
    assert {case: task.result() for case, task in asked.items()} == dict.fromkeys(cases, "served")


@pytest.mark.parametrize("words", AFTER_WORDS)
async def test_a_fault_after_the_first_words_of_a_stream_is_never_sold_as_an_answer(
    words: str,
) -> None:
    """The stream ends in an error event; the naive proxy hangs, breaks off or passes half an answer on as a whole."""
    ours, naive = await both(words, stream=True)
    assert ours == "error"
    assert naive not in {"served", "error"}


@pytest.mark.parametrize("words", AFTER_WORDS)
async def test_a_fault_after_the_first_words_is_made_good_where_a_sibling_stands_by(
    words: str,
) -> None:
    """Both are asked at once, and the one that is a little slower goes on where the first breaks off."""
    shared = "timeout: 1s, deadline: 4s, retries: 0, standby: warm, idle: 700ms"
    async with gateways(f"  r: {{targets: ['sim/bad?{words}', 'sim/good?ttft=0.03'], {shared}}}", SCRIPT) as running:
        assert await verdict(running.base_url, "r", stream=True) == "served"


async def test_half_of_all_calls_failing_hardly_shows() -> None:
    """Two targets that each fail half of their calls, with one retry: 37 or 38 of 40 on average (1 - 0.5^4)."""
    script = {"a": {"answer": RIGHT, "status": 503, "rate": 0.5}, "b": {"answer": RIGHT, "reset": True, "rate": 0.5}}
    async with gateways("  r: {targets: [sim/a, sim/b], select: first, retries: 1}", script) as running:
        # Nothing hangs here: the patience is for a busy machine.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(verdict(running.base_url, "r", stream=False, patience=30.0)) for _ in range(40)]
        alone = [await verdict(running.sim.base_url, "a", stream=False) for _ in range(40)]
    served = sum(task.result() == "served" for task in tasks)
    assert served >= 30
    assert alone.count("served") < 30
