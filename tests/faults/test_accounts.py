"""Every token that an upstream generates is on the books, won or lost, and what is not known exactly is flagged."""

from __future__ import annotations

import pytest

from gateway.providers.simulator.journal import Account
from tests.support.gateways import Running, gateways
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Say something."}]
PRICED = "price: {input: 1000000, output: 1000000}"
"""A dollar a token: the dollars by basis are the tokens by basis."""
TIMES = 10


def completion(running: Running, model: str, fate: str, **basis: str) -> float:
    return running.sample("hedgerow_tokens_total", target=f"sim/{model}", kind="completion", fate=fate, **basis)


def prompt(running: Running, model: str, fate: str, **basis: str) -> float:
    return running.sample("hedgerow_tokens_total", target=f"sim/{model}", kind="prompt", fate=fate, **basis)


def dollars(running: Running, model: str, fate: str, basis: str) -> float:
    return running.sample("hedgerow_cost_dollars_total", target=f"sim/{model}", fate=fate, basis=basis)


def account(running: Running, model: str) -> Account:
    return running.sim.ledger[model]


def targets(*models: str) -> str:
    return "targets: [" + ", ".join(f"{{model: 'sim/{model}', {PRICED}}}" for model in models) + "]"


async def ask(running: Running, *, stream: bool = False, **fields: object) -> None:
    await eventually(lambda: running.gateway.metrics._routes["r"].prices)
    for _ in range(TIMES):
        assert (await running.post({"model": "r", "messages": HELLO, "stream": stream, **fields})).status == 200
    await eventually(lambda: running.sim.running == 0)
    await eventually(lambda: running.sample("hedgerow_requests_total", route="r", status="200") == TIMES)


@pytest.mark.parametrize("stream", [False, True])
async def test_whole_answers_are_on_the_books_to_the_token(stream: bool) -> None:
    """All that a vote has asked for, the winner's and the others', equals what was generated, and is exact."""
    models = ("a?tokens=7", "b?tokens=11", "c?tokens=13")
    async with gateways(f"  r: {{{targets(*models)}, select: {{defer: majority}}}}") as running:
        await ask(running, stream=stream)
        for model in models:
            booked = completion(running, model, "won") + completion(running, model, "lost")
            assert booked == account(running, model).generated == TIMES * int(model.partition("=")[2])
            exact = dollars(running, model, "won", "exact") + dollars(running, model, "lost", "exact")
            assert exact == booked + account(running, model).prompt_tokens
            assert dollars(running, model, "lost", "at_least") == 0
            assert completion(running, model, "lost", basis="at_least") == 0


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream_is_booked_as_its_upstream_counts_or_as_we_do(usage: bool) -> None:
    """With its usage the figure is exact; without, the deltas are counted, which is flagged."""
    model = "a?tokens=17"
    asked = {"stream_options": {"include_usage": True}} if usage else {}
    async with gateways(f"  r: {{{targets(model)}}}") as running:
        await ask(running, stream=True, **asked)
        assert completion(running, model, "won") == account(running, model).generated == TIMES * 17
        assert (dollars(running, model, "won", "exact") > 0) is usage
        assert (dollars(running, model, "won", "at_least") > 0) is not usage
        assert completion(running, model, "won", basis="exact" if usage else "at_least") == TIMES * 17


async def test_a_loser_that_was_cut_off_is_booked_with_what_came_and_flagged() -> None:
    """Siblings that stood by a stream: never more than they have generated, and said to be the least it was."""
    won, lost = "a?tokens=20&gap=0.005", "b?tokens=20000&gap=0.005&ttft=0.01"
    async with gateways(f"  r: {{{targets(won, lost)}, standby: warm}}") as running:
        await ask(running, stream=True)
        assert completion(running, won, "won") == account(running, won).generated == TIMES * 20
        generated = account(running, lost).generated
        assert 0 < completion(running, lost, "lost") <= generated
        # What it went on to say until it saw that nobody listens is all that is missing, of 20,000 tokens each.
        assert generated - completion(running, lost, "lost") <= 200 * TIMES
        assert completion(running, lost, "lost", basis="exact") == 0
        assert dollars(running, lost, "lost", "at_least") == completion(running, lost, "lost")
        assert dollars(running, lost, "lost", "exact") == 0


async def test_a_whole_answer_that_was_cut_off_is_booked_with_its_prompt() -> None:
    """Nobody says what was generated of it: the prompt was read, so that much is the least it costs."""
    won, lost = "a?tokens=5&latency=0.05", "b?silent"
    async with gateways(f"  r: {{{targets(won, lost)}}}") as running:
        await ask(running)
        assert completion(running, won, "won") == account(running, won).generated == TIMES * 5
        assert completion(running, lost, "lost") == account(running, lost).generated == 0
        assert dollars(running, lost, "lost", "at_least") == account(running, lost).prompt_tokens > 0
        assert prompt(running, lost, "lost", basis="at_least") == account(running, lost).prompt_tokens
