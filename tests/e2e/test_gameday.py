"""`hedgerow gameday`: a scorecard of the operator's own routes, for people and for CI."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import config, gameday
from gateway.__main__ import app
from gateway.domain import Route
from gateway.settings import Settings
from tests.support.naive import naive_proxies

CONFIG = """
providers:
  a: {api: openai, base_url: "http://127.0.0.1:1/v1", api_key: k}
  b: {api: anthropic, api_key: k}
routes:
"""
LIMITS = "timeout: 3s, first_token: 2s, idle: 2s, deadline: 20s"
BUFFERED = f"  buffered: {{targets: [a/m, b/n], launch: fallback, buffer: full, retries: 2, {LIMITS}}}\n"
WARM = f"  warm: {{targets: [a/m, b/n], standby: warm, {LIMITS}}}\n"
LIVE = f"  live: {{targets: [a/m, b/n], launch: fallback, {LIMITS}}}\n"
QUICK = {"S01", "S06", "S08", "S12", "S16"}


def played(tmp_path: Path, routes: str, *options: str) -> Any:
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG + routes)
    return CliRunner().invoke(app, ["gameday", "--config", str(file), *options])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gameday, "SCENARIOS", tuple(s for s in gameday.SCENARIOS if s.id in QUICK))


def test_there_are_sixteen_scenarios() -> None:
    """S01 to S16, each once."""
    assert [scenario.id for scenario in gameday.SCENARIOS] == [f"S{number:02}" for number in range(1, 17)]


@pytest.mark.usefixtures("quick")
def test_the_scorecard_of_the_operator_s_routes(tmp_path: Path) -> None:
    """What breaks after the first words is an error without siblings that stand by, and an answer with them."""
    table = played(tmp_path, BUFFERED + WARM + LIVE)
    assert table.exit_code == 0, table.output
    assert "14 pass, 0 partial, 1 safe, 0 fail" in table.output
    assert any(line.startswith("S08") and "live" in line and "safe" in line for line in table.output.splitlines())


@pytest.mark.usefixtures("quick")
def test_programs_get_one_verdict_for_each_scenario(tmp_path: Path) -> None:
    """The worst of all routes, with the reason."""
    document = json.loads(played(tmp_path, WARM + LIVE, "--json").output)
    assert {each["id"]: each["verdict"] for each in document["scenarios"]} == {
        "S01": "pass", "S06": "pass", "S08": "safe", "S12": "pass", "S16": "pass",
    }  # fmt: skip
    assert [each["why"] for each in document["scenarios"] if each["id"] == "S08"] == [
        "the client got an error (in the stream)"
    ]
    assert len(document["routes"]) == 2 * len(QUICK)
    assert document["left_out"] == []


def test_programs_are_told_what_was_left_out() -> None:
    """By route, with the reason."""
    day = gameday.Day([gameday.Judged(each, "live", "pass", "") for each in gameday.SCENARIOS], {"joined": "because"})
    assert gameday.document(day)["left_out"] == [{"route": "joined", "why": "because"}]


@pytest.mark.usefixtures("quick")
def test_a_proxy_that_passes_on_what_comes_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: half an answer that ends like a whole one, or a hang, is a `fail`, and the command's exit is 1."""

    class Naive:
        def __init__(self, settings: Settings, log: object) -> None:
            self.asgi = settings

    @asynccontextmanager
    async def served(settings: Settings) -> AsyncIterator[str]:
        (route,) = settings.routes.values()
        async with naive_proxies(settings.providers["a"].base_url or "", route.targets[0].model) as url:
            yield url.removesuffix("/v1")

    async def suited(settings: Settings, route: Route) -> gameday._Part:
        return gameday._Part(settings, route, gameday.ANSWERS[0])

    monkeypatch.setattr(gameday, "Gateway", Naive)
    monkeypatch.setattr(gameday, "serving", served)
    monkeypatch.setattr(gameday, "_suited", suited)
    monkeypatch.setattr(gameday, "GRACE", -19.0)
    result = played(tmp_path, LIVE)
    assert result.exit_code == 1, result.output
    failed = {line[:3] for line in result.output.splitlines() if " fail " in line}
    assert {"S06", "S08"} <= failed


@pytest.mark.usefixtures("quick")
def test_routes_are_played_with_an_answer_that_they_accept(tmp_path: Path) -> None:
    """JSON where only JSON wins; side by side, a target that fails ends its own choice and the others stand."""
    wants = "select: {valid: {check: json, of: first}}, on_abstain: fail"
    routes = f"""
  documents: {{targets: [a/m, b/n], {wants}, {LIMITS}}}
  all: {{targets: [a/m, b/n], select: collect, {LIMITS}}}
"""
    document = json.loads(played(tmp_path, routes, "--json").output)
    assert {(each["route"], each["verdict"]) for each in document["routes"]} == {("documents", "pass"), ("all", "pass")}


@pytest.mark.usefixtures("quick")
def test_routes_that_are_left_out_are_told_with_the_reason(tmp_path: Path) -> None:
    """What no text of ours suits, and what is made of several answers; the exit code is that of the others."""
    wants = "select: {score_aggregate: {field: s}}, on_abstain: fail"
    routes = f"""
  scores: {{targets: [a/m, b/n], {wants}, {LIMITS}}}
  joined: {{targets: [a/m, b/n], select: concat, {LIMITS}}}
"""
    table = played(tmp_path, LIVE + routes)
    assert table.exit_code == 0
    told = [line for line in table.output.splitlines() if line.startswith("left out: ")]
    assert told == [
        "left out: scores: all are well, and the client gets an error (502): no text of ours is what it asks for",
        "left out: joined: its answer is made of several providers' answers, or is no chat's",
    ]


def test_a_configuration_without_a_route_to_play_on_is_told(tmp_path: Path) -> None:
    """Exit 2, and a sentence for each route."""
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG.replace("routes:", "adhoc_routes: true"))
    result = CliRunner().invoke(app, ["gameday", "--config", str(file)])
    assert result.exit_code == 2
    assert "gameday needs a route" in result.output
    result = played(tmp_path, f"  joined: {{targets: [a/m, b/n], select: concat, {LIMITS}}}\n")
    assert result.exit_code == 2
    assert "joined: its answer is made of several" in result.output


@pytest.mark.slow
def test_all_sixteen_pass_with_buffered_streams_and_with_siblings_that_stand_by() -> None:
    """And none fails live."""
    settings = config.parse(CONFIG + BUFFERED + WARM + LIVE, {})
    verdicts = {(each.route, each.scenario.id): each.verdict for each in gameday.run(settings).judged}
    assert {key for key, verdict in verdicts.items() if verdict != "pass" and key[0] != "live"} == set()
    assert set(verdicts.values()) <= {"pass", "safe"}
