"""The dashboards and rules against a real Prometheus that scrapes a real gateway under load: nothing stays empty."""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp
import pytest
import yaml

from deploy.grafana.__main__ import FOLDER
from deploy.grafana.boards import BOARDS
from tests.e2e.test_command import started
from tests.support.ports import free_port
from tests.support.prometheus import RULES, Prometheus, installed, prometheus
from tests.support.simulators import ROOT

PICTURES = os.environ.get("HEDGEROW_PICTURES")
SECONDS = 90 if PICTURES else 20
"""How long the load goes on: a picture wants more to show."""

SCRIPT = f"""
alpha: {{answer: Paris, latency: 0.06..0.4, status: 503, after: {SECONDS * 0.4}, until: {SECONDS * 0.7}, gap: 0.01}}
bravo: {{answer: Paris, latency: 0.15..0.3, gap: 0.02}}
tailed: {{answer: Paris, latency: "tail:0.05:0.3:1.5"}}
charlie: {{answer: Paris, latency: 0.04..0.2, wrong: 0.3, wrong_answers: [Lyon], gap: 0.01}}
flaky: {{answer: Paris, latency: 0.05, status: 503, rate: 0.3}}
narrow: {{answer: Paris, latency: 0.3}}
writer: {{ttft: 0.05..0.2, tokens: 20, gap: 0.005..0.04}}
cut: {{tokens: 20, gap: 0.01, cut: 5, rate: 0.5}}
twin: {{ttft: 0.05, tokens: 20, gap: 0.01}}
locked: {{status: 401}}
spent: {{error: quota}}
broken: {{status: 500}}
"""
CONFIG = """
providers:
  sim: {{api: openai, base_url: "{upstream}", concurrency: 64}}
  shut: {{api: openai, base_url: "{upstream}", api_key: refused}}  # a refused key is not called again: it stands alone
  poor: {{api: openai, base_url: "{upstream}"}}
  down: {{api: openai, base_url: "{upstream}"}}
  small: {{api: openai, base_url: "{upstream}", concurrency: 1}}
routes:
  race:
    targets:
      - {{model: sim/alpha, name: alpha, price: {{input: 300, output: 1200}}}}
      - {{model: sim/bravo, name: bravo, price: {{input: 200, output: 800}}}}
    retries: 0
  vote:
    targets:
      - {{model: sim/alpha, name: alpha, price: {{input: 300, output: 1200}}}}
      - {{model: sim/bravo, name: bravo, price: {{input: 200, output: 800}}}}
      - {{model: sim/charlie, name: charlie, price: {{input: 100, output: 400}}}}
    select: majority
    retries: 0
  hedge:
    targets: [{{model: sim/tailed, name: tailed}}, {{model: sim/bravo, name: bravo}}]
    launch: {{initial: 1, stagger: 150ms}}
    retries: 0
  strict:
    targets: [{{model: sim/charlie, name: charlie}}, {{model: sim/flaky, name: flaky}}]
    select: {{quorum: {{k: 2, of: majority}}}}
    retries: 0
  tell: {{targets: [{{model: sim/writer, name: writer}}]}}
  steady: {{targets: [{{model: sim/cut, name: cut}}, {{model: sim/twin, name: twin}}], standby: warm}}
  checked:
    targets: [{{model: sim/bravo, name: bravo}}, {{model: sim/charlie, name: charlie}}]
    select: majority
    stream: verify
  unhelped:  # late, and its help is in no state for extra calls
    targets: [{{model: sim/bravo, name: bravo}}, {{model: down/broken, name: down}}]
    launch: {{initial: 1, stagger: 50ms}}
  storm: {{targets: [{{model: down/broken, name: down}}]}}
  owing:
    targets: [{{model: poor/spent, name: poor}}, {{model: sim/bravo, name: bravo}}]
    launch: fallback
  sole:
    targets: [{{model: shut/locked, name: locked}}, {{model: sim/broken, name: broken}}]
    retries: 0
  queued: {{targets: [{{model: small/narrow, name: narrow}}]}}
  spare:
    targets: [{{model: shut/locked, name: locked}}, {{model: sim/bravo, name: bravo}}]
    launch: fallback
"""
TRAFFIC = ("race",) * 6 + ("vote",) * 6 + ("hedge",) * 4 + ("strict",) * 2 + ("spare", "tell") * 2 + ("sole", "nobody")
TRAFFIC += ("steady", "checked") * 3 + ("unhelped", "storm", "owing") + ("queued",) * 3

needs_prometheus = pytest.mark.skipif(
    not installed(), reason="needs Prometheus and promtool: `make dashboards` installs them"
)


def test_the_committed_dashboards_are_what_the_code_makes() -> None:
    """`python -m deploy.grafana` writes them anew."""
    for board in BOARDS:
        assert (FOLDER / f"{board.uid}.json").read_text() == board.json(), f"{board.uid} is out of date"
    assert len(list(FOLDER.glob("*.json"))) == len(BOARDS)


PROMTOOL = ("check rules rules.yml", "check config prometheus.yml", "test rules rules_test.yml")


@needs_prometheus
@pytest.mark.parametrize("arguments", PROMTOOL)
def test_promtool_finds_no_fault(arguments: str) -> None:
    """Rules, configuration, and the rules' own tests."""
    ended = subprocess.run(
        ["promtool", *arguments.split()], cwd=RULES.parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_fires_in_a_test_and_has_a_line_that_says_what_to_do() -> None:
    """A rule whose alert was never seen to fire may never fire; whoever is woken by it looks into docs/alerts.md."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((RULES.parent / "rules_test.yml").read_text())["tests"]
    checked = [check for test in tests for check in test.get("alert_rule_test", ())]
    assert {check["alertname"] for check in checked if check["exp_alerts"]} == alerts
    table = (ROOT / "docs" / "alerts.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == alerts


@contextmanager
def watched(folder: Path) -> Iterator[tuple[Prometheus, str, str]]:
    """A simulated provider, a gateway of two workers before it, and a Prometheus that scrapes them."""
    (folder / "script.yaml").write_text(SCRIPT)
    simulator = folder / "simulator.log"
    with started(simulator, "listening on", "simulate", "--port", "0", "--script", str(folder / "script.yaml")):
        found = re.search(r"http://\S+", simulator.read_text())
        assert found
        (folder / "hedgerow.yaml").write_text(CONFIG.format(upstream=found.group() + "/v1"))
        port, metrics, watching = free_port(), free_port(), free_port()
        arguments = ("--config", str(folder / "hedgerow.yaml"), "--port", str(port), "--metrics-port", str(metrics))
        with (
            started(folder / "gateway.log", "base_url", "serve", *arguments, "--workers", "2"),
            prometheus(folder, watching, f"127.0.0.1:{metrics}") as server,
        ):
            yield server, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics}/metrics"


async def load(url: str, seconds: float) -> None:
    """Ask every route, some as streams, from a dozen clients; now and then one leaves."""
    end = time.monotonic() + seconds
    chance = random.Random(1)  # noqa: S311 -- repeatable

    async def client(http: aiohttp.ClientSession) -> None:
        while time.monotonic() < end:
            route, question = chance.choice(TRAFFIC), {"role": "user", "content": "The capital of France?"}
            body = {"model": route, "messages": [question], "stream": chance.random() < 0.4}
            patience = 0.03 if chance.random() < 0.03 else 20
            try:
                async with asyncio.timeout(patience), http.post(f"{url}/v1/chat/completions", json=body) as answer:
                    await answer.read()
            except TimeoutError:
                pass
            await asyncio.sleep(chance.uniform(0.0, 0.3))

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(client(http))


@needs_prometheus
@pytest.mark.slow
def test_every_panel_and_rule_shows_something_under_mixed_load(tmp_path: Path) -> None:
    """Failures, races, hedges, votes, streams, abstentions, refused keys: no expression stays empty."""
    with watched(tmp_path) as (server, url, metrics):
        start = time.time()  # noqa: TID251 -- Prometheus speaks of Unix time
        asyncio.run(load(url, SECONDS))
        asyncio.run(asyncio.sleep(5))  # the last scrape and the rules over it
        end = time.time()  # noqa: TID251
        exposed = urlopen(metrics, timeout=10).read()
        empty = [
            f"{board.title}: {panel.title}: {query}"
            for board in BOARDS
            for panel in board.panels()
            for query in panel.queries.values()
            if not _numbers(server.query(_filled(query, end - start)))
        ]
        assert not empty, "\n".join(empty)
        assert not [rule for rule in server.rules() if rule["health"] != "ok"]
        assert not _silent(server)
        if PICTURES:
            _draw(server, start, end - 6, Path(PICTURES))  # while the load still went on
    checked = subprocess.run(["promtool", "check", "metrics"], input=exposed, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _filled(query: str, seconds: float) -> str:
    """Put values where Grafana puts its variables."""
    filled = query.replace("$__rate_interval", "15s" if PICTURES else "30s")
    return re.sub(r"\$(route|target)\b", ".*", filled.replace("$__range", f"{math.ceil(seconds)}s"))


def _numbers(found: list[Any]) -> list[Any]:
    return [one for one in found if one["value"][1] not in {"NaN", "+Inf"}]


SERIES = re.compile(r"(?:[\w:]*hedgerow[\w:]*|\bup)(?:\{[^}]*\})?")


def _silent(server: Prometheus) -> list[str]:
    """Return the recording rules without a value, and series of alerts that do not exist: such an alert never fires."""
    silent = []
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            parts = [rule["record"]] if "record" in rule else SERIES.findall(rule["expr"])
            assert parts, rule
            silent += [f"{rule.get('alert', 'record')}: {part}" for part in parts if not server.query(part)]
    return silent


def _draw(server: Prometheus, start: float, end: float, folder: Path) -> None:
    from tests.support.pictures import draw, taken

    def found(query: str) -> list[Any]:
        return server.over(_filled(query, end - start), start + 10, end, 1.0)

    for board in BOARDS:
        drawn = {
            panel.title: taken({name: found(query) for name, query in panel.queries.items()}, start)
            for panel in board.panels()
        }
        draw(board, drawn, folder / f"{board.uid.removeprefix('hedgerow-')}.png")
