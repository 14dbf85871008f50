"""The metrics: what redundancy gave and cost, under OpenTelemetry's names too, over several workers, never growing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import string
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fanin import Ballot, Candidate, Selection
from gateway.domain import Answer, Usage
from gateway.engine.events import Finished, Launched, Selected, Spent, Superseded
from gateway.observe.metrics import forget, serve_merged
from tests.support.gateways import Running, gateways
from tests.support.ports import free_port
from tests.support.simulators import ROOT, eventually
from tests.support.stages import DONE, delta, stages

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "The capital of France?"}]
PRICED = "price: {input: 1000, output: 2000}"


def ask(route: str, **fields: Any) -> dict[str, Any]:
    return {"model": route, "messages": HELLO, **fields}


async def test_a_rescue_is_what_the_first_target_alone_would_have_failed() -> None:
    """Counterfactual: of two requests the first target alone fails one route and answers the other."""
    routes = "  bad: {targets: ['sim/a?status=503', sim/b], retries: 0}\n  good: {targets: [sim/a, 'sim/b?silent']}"
    async with gateways(routes) as running:
        assert (await running.post(ask("bad"))).status == 200
        assert (await running.post(ask("good"))).status == 200
        assert running.sample("hedgerow_first_target_total", route="bad", outcome="failed") == 1
        assert running.sample("hedgerow_rescues_total", route="bad") == 1
        kinds = {"route": "bad", "target": "sim/a?status=503", "kind": "transient"}
        assert running.sample("hedgerow_failures_total", **kinds) == 1
        assert running.sample("hedgerow_first_target_total", route="good", outcome="answered") == 1
        assert running.sample("hedgerow_first_target_seconds_count", route="good") == 1


async def test_a_hedge_is_started_by_its_time_and_not_by_a_failure() -> None:
    """A slow first target is hedged and beaten; what follows a failed one is no hedge, nor is a race."""
    routes = (
        "  slow: {targets: ['sim/a?latency=2', sim/b], launch: {initial: 1, stagger: 50ms}}\n"
        "  bad: {targets: ['sim/a?status=503', sim/b], launch: {initial: 1, stagger: 2s}, retries: 0}\n"
        "  both: {targets: [sim/a, sim/b]}"
    )
    async with gateways(routes) as running:
        for route in ("slow", "bad", "both"):
            assert (await running.post(ask(route))).status == 200
        fired = [running.sample("hedgerow_hedges_fired_total", route=route) for route in ("slow", "bad", "both")]
        won = [running.sample("hedgerow_hedges_won_total", route=route) for route in ("slow", "bad", "both")]
    assert fired == won == [1, 0, 0]


async def test_latency_saved_is_estimated_from_what_the_first_target_took_before() -> None:
    """It is slow and loses: its cancelled calls are booked as longer, by its own past, than the answer that won."""
    routes = "  race: {targets: ['sim/a?latency=0.05', 'sim/b?latency=0.15']}"
    async with gateways(routes) as running:
        for _ in range(32):  # it wins: 50 ms are known
            await running.post(ask("race"))
        residual = running.gateway.metrics.listener("race")._of.whole
        for _ in range(64):
            residual.ended.append(1.0)  # and now and then it takes a second
        counts = running.gateway.metrics.listener("race")
        counts._compare(Superseded("sim/a?latency=0.05", 1.0, 0.2), 0.2, residual)
        saved = running.sample("hedgerow_latency_saved_seconds_total", route="race")
    assert 0.6 < saved < 1.0


async def test_every_token_has_a_price_and_a_fate() -> None:
    """Winner and losers add up to the header; a cancelled branch is booked with its prompt at least."""
    routes = (
        f"  vote: {{targets: [{{model: sim/a, {PRICED}}}, {{model: sim/b, {PRICED}}}], select: {{defer: majority}}}}\n"
        f"  race: {{targets: [{{model: sim/a, name: quick, {PRICED}}}, {{model: 'sim/b?silent', {PRICED}}}]}}\n"
        "  unpriced: {targets: [{model: sim/a, name: free}]}"
    )
    async with gateways(routes) as running:
        await eventually(lambda: b"prices.unknown" in running.written.getvalue())
        vote = await running.post(ask("vote"))
        usage = vote.json["usage"]
        dollars = (usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 2000) / 1e6
        won = sum(_cost(running, f"sim/{name}", "won", "exact") for name in "ab")
        lost = sum(_cost(running, f"sim/{name}", "lost", "exact") for name in "ab")
        assert won == lost == pytest.approx(dollars)
        assert float(vote.headers["x-hedgerow-cost"]) == pytest.approx(won + lost, rel=0.01)

        race = await running.post(ask("race"))
        assert race.headers["x-hedgerow-target"] == "quick"
        assert _cost(running, "sim/b?silent", "lost", "at_least") == pytest.approx(usage["prompt_tokens"] / 1000)

        assert "x-hedgerow-cost" not in (await running.post(ask("unpriced"))).headers
        families = {family.name: family for family in running.gateway.metrics.registry.collect()}
        assert "free" not in {sample.labels["target"] for sample in families["hedgerow_cost_dollars"].samples}
        assert running.written.getvalue().count(b"prices.unknown") == 1


async def test_an_answer_that_comes_after_the_decision_is_booked_once() -> None:
    """A probe goes on when it is overtaken: its prompt is booked with the decision, the rest when it is known."""
    routes = "  r: {targets: [sim/a, sim/b], launch: fallback}"
    async with gateways(routes) as running:
        hear = running.gateway.metrics.listener("r").hear
        won = Candidate("sim/b", "Paris", payload=Answer({}, Usage(7, 2)))
        for event in (
            Launched("sim/a", 0.0),
            Launched("sim/b", 0.0),
            Superseded("sim/a", 0.1, 0.1),
            Selected(Selection(won, ""), Ballot(2, (won,)), 0.1, rescued=False),
            Spent("sim/b", Usage(7, 2), won=True),
            Finished(200, 0.1, None),
            Spent("sim/a", Usage(7, 9), won=False),
        ):
            hear(event)

        def booked(kind: str, basis: str) -> float:
            return running.sample("hedgerow_tokens_total", target="sim/a", kind=kind, fate="lost", basis=basis)

        assert (booked("prompt", "at_least"), booked("prompt", "exact"), booked("completion", "exact")) == (7, 0, 9)


async def test_a_target_that_only_a_request_names_has_the_price_of_the_list() -> None:
    """Its cost is in the response's header, and in one series for all that are not configured."""
    head = "  groq: {api: openai, base_url: '{sim}', api_key: sk-groq-canary}\nadhoc_routes: true"
    async with gateways("  r: {targets: [sim/a]}", head=head) as running:
        await eventually(lambda: b"prices.unknown" in running.written.getvalue())
        reply = await running.post(ask("groq/openai/gpt-oss-20b"))
        assert reply.status == 200, reply.body
        dollars = float(reply.headers["x-hedgerow-cost"])
        assert 0 < dollars < 1e-3
        assert _cost(running, "_other", "won", "exact") == pytest.approx(dollars, rel=0.01)
        assert "x-hedgerow-cost" not in (await running.post(ask("groq/made-up"))).headers


def _cost(running: Running, target: str, fate: str, basis: str) -> float:
    return running.sample("hedgerow_cost_dollars_total", target=target, fate=fate, basis=basis)


async def test_an_abstention_is_counted_whether_another_rule_decides_or_an_error_is_given() -> None:
    """A quorum of two abstains when one of two fails."""
    vote = "targets: [sim/a, 'sim/b?status=503'], retries: 0, select: {quorum: {k: 2, of: majority}}"
    routes = f"  soft: {{{vote}}}\n  hard: {{{vote}, on_abstain: fail}}"
    async with gateways(routes) as running:
        assert (await running.post(ask("soft"))).status == 200
        assert (await running.post(ask("hard"))).status == 502
        assert running.sample("hedgerow_abstentions_total", route="soft", outcome="fell_back") == 1
        assert running.sample("hedgerow_abstentions_total", route="hard", outcome="failed") == 1
        hard = {"route": "hard", "outcome": "failed", "operation": "chat"}
        assert running.sample("hedgerow_request_duration_seconds_count", **hard) == 1


async def test_a_live_stream_tells_its_first_token() -> None:
    """As the client waits for it, and by target."""
    async with gateways("  live: {targets: ['sim/a?ttft=0.05']}") as running:
        assert (await running.post(ask("live", stream=True))).status == 200
        await eventually(lambda: running.sample("hedgerow_requests_total", route="live", status="200") == 1)
        assert running.sample("hedgerow_time_to_first_token_seconds_sum", route="live", operation="chat") >= 0.045
        assert running.sample("hedgerow_target_first_token_seconds_count", target="sim/a?ttft=0.05") == 1


async def test_a_live_stream_tells_its_rhythm() -> None:
    """The mean gap and the longest silence; the next words are said once the client has the last ones."""
    async with (
        stages() as stage,
        gateways("  live: {targets: [s/a]}", head=f"  s: {{api: openai, base_url: '{stage.url}'}}") as running,
    ):
        stage.say("a", delta("one"))
        async with running.http.post(f"{running.base_url}/chat/completions", json=ask("live", stream=True)) as response:
            for pause, words in ((0.02, delta("two")), (0.05, delta("three", "stop") + DONE)):
                await response.content.readuntil(b"\n\n")
                await asyncio.sleep(pause)
                stage.say("a", words)
            assert (await response.read()).endswith(DONE)
        await eventually(lambda: running.sample("hedgerow_requests_total", route="live", status="200") == 1)
        assert 0.03 < running.sample("hedgerow_token_gap_seconds_sum", target="s/a", operation="chat") < 10
        assert 0.045 < running.sample("hedgerow_longest_gap_seconds_sum", target="s/a") < 10


async def test_in_flight_is_counted_while_a_request_runs_and_not_after() -> None:
    """Requests by route; the sample is taken twice a second, here at once."""
    async with gateways("  slow: {targets: ['sim/a?latency=5']}") as running:
        counts = running.gateway.metrics._routes["slow"]
        asked = asyncio.get_running_loop().create_task(running.post(ask("slow")))
        await eventually(lambda: counts.in_flight == 1 and running.gateway._bulkhead.in_flight["sim"] == 1)
        asked.cancel()
        await eventually(lambda: counts.in_flight == 0 and running.gateway._bulkhead.in_flight["sim"] == 0)


async def test_opentelemetry_s_names_say_the_same() -> None:
    """The server's duration by route, the client's tokens by provider and model, in the conventions' buckets.

    Embeddings that are asked of the same route are another operation.
    """
    async with gateways("  one: {targets: [{model: sim/a, name: mine}]}") as running:
        usage = (await running.post(ask("one"))).json["usage"]
        for _ in range(2):
            assert (await running.post({"model": "one", "input": "hello"}, path="/v1/embeddings")).status == 200
        port = free_port()
        stop = running.gateway.metrics.serve("127.0.0.1", port)
        try:
            found = await asyncio.to_thread(_scrape, port)
        finally:
            await asyncio.to_thread(stop)
    server = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "hedgerow", "gen_ai_request_model": "one"}
    assert found["gen_ai_server_request_duration_seconds_count", *sorted(server.items())] == 1
    client = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "sim", "gen_ai_request_model": "a"}
    for name, labels in (("server_request", server), ("client_operation", client)):
        embedded = sorted({**labels, "gen_ai_operation_name": "embeddings"}.items())
        assert found[f"gen_ai_{name}_duration_seconds_count", *embedded] == 2
    for kind, field in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        labels = {**client, "gen_ai_token_type": kind}
        assert found["gen_ai_client_token_usage_sum", *sorted(labels.items())] == usage[field]
    edges = {dict(labels).get("le") for name, *labels in found if name.startswith("gen_ai_server_request")}
    assert "81.92" in edges
    assert "163.84" not in edges


def _scrape(port: int) -> dict[tuple[Any, ...], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.slow
async def test_ten_thousand_models_paths_and_users_make_no_new_series() -> None:
    """Whatever clients invent shares `_other`."""
    chance = random.Random(7)  # noqa: S311 -- repeatable
    async with gateways("  one: {targets: [sim/a]}", head="adhoc_routes: true") as running:
        await _strange(running, chance)
        before = _series(running)
        for _ in range(2_500):
            await _strange(running, chance)
        assert _series(running) == before


async def _strange(running: Running, chance: random.Random) -> None:
    """One request with an invented model, one on an invented path, one of an invented user, one of an own route."""
    word = "".join(chance.choices(string.printable, k=12))
    path = "/" + "".join(chance.choices(string.ascii_letters + "/%.", k=12))
    body = ask(word, user=word, hedgerow={"select": word})
    await _asgi(running, "/v1/chat/completions", body)
    await _asgi(running, path, body)
    await _asgi(running, "/v1/chat/completions", ask("one", user=word, messages=1, stream=word))
    await _asgi(running, "/v1/chat/completions", ask(f"sim/{word},nobody/{word}"))


async def _asgi(running: Running, path: str, body: Any) -> None:
    """Hand the application a request without a socket, which would take ten times as long."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "method": "POST",
             "headers": [], "scheme": "http", "server": ("x", 1), "client": ("x", 2)}  # fmt: skip
    await running.gateway.asgi(scope, receive, send)


def _series(running: Running) -> set[tuple[Any, ...]]:
    families = running.gateway.metrics.registry.collect()
    return {(sample.name, *sorted(sample.labels.items())) for family in families for sample in family.samples}


WORKER = """
import sys, time
from gateway.engine.events import Finished
from gateway.observe.metrics import Metrics
metrics = Metrics(())
for _ in range(int(sys.argv[1])):
    metrics.listener("r").hear(Finished(200, 0.1, 0.001))
metrics.listener("r")  # one is still being served
metrics.sample({"p": 2}, {"p": 0}, 0.001)
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def workers(directory: Path, *requests: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that have counted so many requests each and go on serving."""
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    command = [sys.executable, "-c", WORKER]
    started = [
        subprocess.Popen([*command, str(count)], cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
        for count in requests
    ]
    try:
        for worker in started:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        yield started
    finally:
        for worker in started:
            worker.kill()
            worker.communicate()


def test_workers_are_summed_and_a_killed_one_leaves_its_counts_but_not_its_gauges(tmp_path: Path) -> None:
    """Two workers, one killed with -9 and forgotten, a third in its place: no count is lost or seen twice."""
    served, busy, lag = (
        ("hedgerow_requests_total", ("route", "_other"), ("status", "200")),
        ("hedgerow_calls_in_flight", ("provider", "p")),
        ("hedgerow_loop_lag_seconds_count",),
    )
    port = free_port()
    with workers(tmp_path, 3, 4) as (first, _):
        stop = serve_merged("127.0.0.1", port, tmp_path)
        try:
            both = _scrape(port)
            assert (both[served], both[busy], both[lag], both[("hedgerow_workers",)]) == (7, 4, 2, 2)
            first.send_signal(signal.SIGKILL)
            first.wait()
            forget(first.pid, tmp_path)
            forget(first.pid, tmp_path)
            left = _scrape(port)
            assert (left[served], left[busy], left[lag], left[("hedgerow_workers",)]) == (7, 2, 2, 1)
            with workers(tmp_path, 5):
                assert _scrape(port)[served] == 12
            assert left["hedgerow_overhead_seconds_bucket", ("le", "0.001"), ("route", "_other")] == 7
        finally:
            stop()


def test_restarts_do_not_pile_files_up(tmp_path: Path) -> None:
    """What the dead have counted is one file of a kind."""
    for _ in range(3):
        with workers(tmp_path, 1) as (worker,):
            pass
        forget(worker.pid, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter_dead.db", "histogram_dead.db"]


async def test_rare_events_are_series_before_they_happen() -> None:
    """`increase()` of a series that appears with its first event is 0: what is rare would never be seen.

    A route has those that its configuration can lead to, and no others.
    """
    routes = (
        "  late: {targets: [sim/a, sim/b], launch: hedge}\n"
        "  warm: {targets: [sim/a, sim/b], standby: warm}\n"
        "  checked: {targets: [sim/a, sim/b], select: majority, stream: verify}\n"
        f"  plain: {{targets: [{{model: sim/c, name: c, {PRICED}}}], retries: 0}}"
    )
    async with gateways(routes) as running:
        await eventually(lambda: (True, True) in running.gateway.metrics.listener("plain")._of.target["c"].cost)
        rare = (
            ("hedges_withheld", "late", {"why": {"share", "slow", "budget"}}),
            ("stream_rescues", "warm", {"how": {"splice", "prefill"}}),
            ("verified", "checked", {"outcome": {"agreed", "disagreed"}}),
        )
        found = _series(running)
        for name, route, words in rare:
            [(label, values)] = words.items()
            series = [dict(labels) for metric, *labels in found if metric == f"hedgerow_{name}_total"]
            assert {(one["route"], one[label]) for one in series} == {(route, value) for value in values}, name
        denied = [dict(labels) for metric, *labels in found if metric == "hedgerow_budget_denied_total"]
        assert {one["what"] for one in denied if one["target"] == "sim/a"} == {"retry", "hedge"}
        assert not [one for one in denied if one["target"] == "c"]
        costs = [dict(labels) for metric, *labels in found if metric == "hedgerow_cost_dollars_total"]
        fates = {(one["fate"], one["basis"]) for one in costs if one["target"] == "c"}
        assert fates == {("won", "exact"), ("lost", "exact"), ("lost", "at_least")}
        assert ("hedgerow_breaker_state", ("target", "sim/a")) in found
        assert ("hedgerow_key_disabled", ("provider", "sim"), ("reason", "quota")) in found
        assert running.sample("hedgerow_budget_left_ratio", provider="sim") == 1


async def test_what_waits_at_the_front_and_what_is_left_of_a_budget_are_gauges() -> None:
    """One request is inside, another waits for its place; a provider that fails loses a tenth of its budget a call."""
    limits = "limits: {in_flight: 1, queue: 1, queue_timeout: 20s}"
    routes = "  slow: {targets: ['sim/a?latency=5']}\n  bad: {targets: ['sim/b?status=503'], retries: 0}"
    async with gateways(routes, head=limits) as running:
        assert (await running.post(ask("bad"))).status == 502
        asked = [asyncio.get_running_loop().create_task(running.post(ask("slow"))) for _ in range(2)]
        await eventually(lambda: running.gateway.admission.waiting == 1)
        await eventually(lambda: running.sample("hedgerow_requests_waiting") == 1)
        assert running.sample("hedgerow_budget_left_ratio", provider="sim") == pytest.approx(0.9)
        for one in asked:
            one.cancel()
        await eventually(lambda: running.sample("hedgerow_requests_waiting") == 0)
