"""Reliability learned online, over real sockets: a lying target loses its weight, and what is learned is not lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import config
from gateway.__main__ import app
from gateway.app import Gateway
from gateway.config import ConfigError
from gateway.engine.plan import describe
from gateway.observe.log import Log
from tests.support.gateways import Running, gateways
from tests.support.simulators import eventually

pytestmark = pytest.mark.anyio

HELLO: list[Any] = [{"role": "user", "content": "How many?"}]
ROUTE = (
    "  learning:\n"
    "    targets: [sim/liar, sim/b, sim/c]\n"
    "    reliability: {half_life: 50}\n"
    "    select: {defer: {weighted: {key: number, calibration: learned}}}\n"
    "    retries: 0\n"
)


def script(count: int = 60) -> dict[str, Any]:
    """Two that agree, and one that says something else each time."""
    honest = [{"answer": f"It is {number}."} for number in range(count)]
    return {"liar": [{"answer": f"It is {1000 + number}."} for number in range(count)], "b": honest, "c": honest}


async def ask(running: Running, times: int, **body: Any) -> list[str]:
    """The answers, one request after another."""
    texts = []
    for _ in range(times):
        answer = await running.post({"model": "learning", "messages": HELLO, **body})
        assert answer.status == 200, answer.body
        texts.append(answer.json["choices"][0]["message"]["content"] if not body.get("stream") else "")
    return texts


def known(running: Running) -> dict[str, float]:
    """How often each target is right, as far as the gateway knows."""
    [(_, told)] = running.gateway.learning.told()
    return {target: estimate.reliability for target, estimate in told.targets.items()}


async def test_a_target_that_lies_loses_its_weight_and_the_metrics_show_it() -> None:
    """After two dozen votes it is outvoted by either of the others alone; who agrees has gained."""
    async with gateways(ROUTE, {**script(), "b": [*script()["b"][:24], {"status": 503}]}) as running:
        await ask(running, 24)
        await eventually(lambda: running.sample("hedgerow_reliability_votes", route="learning", target="sim/liar") > 20)
        right = running.sample("hedgerow_reliability_right", route="learning", target="sim/liar")
        await eventually(lambda: running.gateway.learning.taught() == {})  # the rule has been renewed
        [alone] = await ask(running, 1)  # b is down: the liar, who has priority, against c
        told = known(running)
    assert right < 4
    assert told["sim/liar"] < 0.35
    assert min(told["sim/b"], told["sim/c"]) > 0.8
    assert alone == "It is 24."


async def test_the_same_votes_without_learning_go_by_priority() -> None:
    """The control: with weights as written one liar and one honest target are a tie, which the liar wins."""
    routes = ROUTE.replace("    reliability: {half_life: 50}\n", "").replace(", calibration: learned", "")
    async with gateways(routes, {**script(), "b": [*script()["b"][:24], {"status": 503}]}) as running:
        await ask(running, 24)
        assert await ask(running, 1) == ["It is 1024."]


async def test_nothing_is_learned_from_streams_that_have_only_begun_nor_from_flawed_answers() -> None:
    """A truncated answer is no vote, and a verified stream is decided on its first words."""
    routes = "  learning: {targets: [sim/liar, sim/b, sim/c], reliability: learn, select: majority, stream: verify}"
    async with gateways(routes, script()) as running:
        await ask(running, 3, stream=True)
        await ask(running, 3, max_tokens=1)
        assert running.sample("hedgerow_requests_total", route="learning", status="200") == 6
        assert known(running) == dict.fromkeys(["sim/liar", "sim/b", "sim/c"], 0.7)


async def test_what_is_learned_survives_a_new_configuration_and_is_forgotten_on_demand() -> None:
    """A target whose model is another begins anew, another `since` forgets everything."""
    async with gateways(ROUTE, script()) as running:
        await ask(running, 12)
        await eventually(lambda: known(running)["sim/liar"] < 0.5)
        before = known(running)
        text = f"providers:\n  sim: {{api: openai, base_url: '{running.sim.base_url}'}}\nroutes:\n"

        current = running.gateway

        async def reloaded(routes: str) -> dict[str, float]:
            nonlocal current
            settings = config.parse(text + routes, {})
            current = await asyncio.to_thread(Gateway, settings, Log(running.written, []), current)
            [(_, told)] = current.learning.told()
            return {target: estimate.reliability for target, estimate in told.targets.items()}

        assert await reloaded(ROUTE) == before
        assert list(running.gateway.learning.told()) == []
        wider = ROUTE.replace("sim/c]", "sim/c, sim/d]")
        assert await reloaded(wider) == {**before, "sim/d": 0.7}
        assert await reloaded(wider.replace("[sim/liar,", "[{model: sim/honest, name: sim/liar},")) == {
            **before,
            "sim/liar": 0.7,
            "sim/d": 0.7,
        }
        assert set((await reloaded(ROUTE.replace("half_life: 50", "half_life: 50, since: today"))).values()) == {0.7}


async def test_what_is_learned_is_read_from_the_metrics_as_a_calibration(tmp_path: Path) -> None:
    """The command prints it and writes a file that a route loads; the shares are merged from counts."""
    out = tmp_path / "learned.yaml"
    async with gateways(ROUTE, script()) as running:
        stop, port = serve_metrics(running)
        try:
            await ask(running, 12)
            await eventually(
                lambda: running.sample("hedgerow_reliability_votes", route="learning", target="sim/b") > 11
            )
            told = known(running)
            arguments = ["reliability", "learning", "--metrics", f"http://127.0.0.1:{port}"]
            shown = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--out", str(out)])
            wrong = await asyncio.to_thread(CliRunner().invoke, app, ["reliability", "other", *arguments[2:]])
            async with running.http.get(f"http://127.0.0.1:{port}/metrics") as response:
                scraped = await response.text()
        finally:
            await asyncio.to_thread(stop)
    assert shown.exit_code == 0, shown.output
    assert "sim/liar" in shown.output
    assert (wrong.exit_code, "those that do: learning" in wrong.output) == (2, True)
    assert 'hedgerow_reliability{route="learning",target="sim/b"}' in scraped
    text = "providers: {sim: {base_url: 'http://127.0.0.1:1'}}\nroutes:\n  r: {targets: [sim/liar, sim/b, sim/c], "
    (tmp_path / "hedgerow.yaml").write_text(text + "select: {guarded: {key: number, calibration: learned.yaml}}}")
    config.load(tmp_path / "hedgerow.yaml", {})
    written = out.read_text()
    assert f"sim/liar: {round(told['sim/liar'], 4)}" in written


def serve_metrics(running: Running) -> tuple[Callable[[], None], int]:
    """Serve the gateway's metrics on a free port."""
    for port in itertools.count(20_000 + id(running) % 20_000):
        try:
            return running.gateway.metrics.serve("127.0.0.1", port), port
        except OSError:
            continue
    raise AssertionError


@pytest.mark.parametrize(
    ("route", "fault"),
    [
        (
            "select: {weighted: {calibration: learned}}",
            "nothing is learned, expected `reliability: learn` on the route",
        ),
        ("reliability: learn", "expected off with `select: first`, or a selector that votes on a key"),
        ("reliability: learn, select: collect", "expected off with `select: collect`, or a selector that votes"),
        ("reliability: learn, select: majority, launch: {map: {}}", "whose parts are no answers to one question"),
        ("reliability: always, select: majority", "expected off, learn or a mapping such as {half_life: 500}"),
        ("reliability: {choices: 1}, select: majority", "expected a whole number from 2 to 1000"),
    ],
)
def test_a_route_that_cannot_learn_is_refused(route: str, fault: str) -> None:
    """With the place, what is wrong and what would be right."""
    text = "providers: {sim: {base_url: 'http://127.0.0.1:1'}}\nroutes:\n  r: {targets: [sim/a, sim/b], "
    with pytest.raises(ConfigError) as refused:
        config.parse(f"{text}{route}}}", {})
    assert fault in str(refused.value)


def test_explain_says_what_is_learned_and_whether_it_is_used() -> None:
    """Weights that change by themselves must not come as a surprise."""
    text = "providers: {sim: {base_url: 'http://127.0.0.1:1'}}\nroutes:\n"
    used = describe(config.parse(text + ROUTE, {}).routes["learning"])
    shown = describe(config.parse(text + ROUTE.replace(", calibration: learned", ""), {}).routes["learning"])
    assert "learns    how often each target is right, from its votes; the selector uses it" in used
    assert "learns    how often each target is right, from its votes; for the metrics only" in shown


def test_one_target_has_nobody_to_learn_from() -> None:
    """It would be right for ever."""
    text = "providers: {sim: {base_url: 'http://127.0.0.1:1'}}\nroutes:\n  r: {targets: [sim/a], "
    with pytest.raises(ConfigError, match="expected off, or more than one target"):
        config.parse(f"{text}reliability: learn, select: majority}}", {})
