"""Several workers behind one socket, and the end of a gateway: real processes, real signals, real sockets."""

from __future__ import annotations

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import Served, ask, load, served
from tests.support.simulators import simulator_process

pytestmark = pytest.mark.slow

SCRIPT = """
quick: {answer: Paris, latency: 0.02}
slow: {answer: Paris, latency: 1.5}
endless: {answer: Paris, latency: 60}
story: {answer: "one two three four five six seven eight nine ten", latency: 0.05, gap: 0.2}
epic: {answer: "one two three four five six seven eight nine ten", latency: 0.05, gap: 10}
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    script = tmp_path_factory.mktemp("sim") / "script.yaml"
    script.write_text(SCRIPT)
    with simulator_process(script) as sim:
        yield sim.base_url


def config(upstream: str, *more: str) -> str:
    return "\n".join(
        [
            f"providers: {{sim: {{api: openai, base_url: '{upstream}'}}}}",
            "routes:",
            "  one: {targets: [sim/quick]}",
            *(f"  {name}: {{targets: [sim/{name}]}}" for name in ("slow", "endless", "story", "epic")),
            *more,
        ]
    )


def later(gateway: Served, model: str, *, stream: bool = False) -> tuple[threading.Thread, list[tuple[int, bytes]]]:
    """Ask in a thread of its own; the answer is in the list when the thread has ended."""
    answers: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: answers.append(gateway.ask(model, stream=stream)))
    thread.start()
    time.sleep(0.4)
    return thread, answers


def test_workers_share_the_port_their_metrics_and_their_log(tmp_path: Path, upstream: str) -> None:
    """Every request is counted once whoever served it, and every log line is whole."""
    with served(tmp_path, config(upstream), "--workers", "2") as gateway:
        assert len(gateway.workers()) == 2
        with load(gateway.port, clients=8, pause=0) as clients:
            time.sleep(1.0)
        asked = clients.outcomes["200"]
        assert clients.failed() == 0
        gateway.until(lambda: len(gateway.lines("request.finished")) == asked, "a log line for each request")
        counted = 'hedgerow_requests_total{route="one",status="200"}'  # workers hand their counts over twice a second
        gateway.until(lambda: gateway.metric(counted) == asked, "each request counted once")
        gateway.signal(signal.SIGTERM)
        assert gateway.ends() == 0
    assert "Traceback" not in gateway.log.read_text()


def test_kill_9_of_a_worker_loses_only_what_it_was_serving(tmp_path: Path, upstream: str) -> None:
    """The other one goes on, a new one takes the place, and at most one request of each client is lost."""
    with served(tmp_path, config(upstream), "--workers", "2") as gateway, load(gateway.port, clients=6) as clients:
        time.sleep(0.5)
        before = clients.outcomes["200"]
        assert before > 0
        victim, other = gateway.workers()
        victim.kill()
        gateway.until(lambda: len(gateway.workers()) == 2 and victim not in gateway.workers(), "a new worker")
        gateway.until(lambda: clients.outcomes["200"] > before + 50, "further answers")
        assert other in gateway.workers()
        [died] = gateway.lines("worker.died")
        assert (died["worker"], died["by"]) == (victim.pid, "SIGKILL")
        # Each client had one connection: whoever was connected to the victim saw it break once, no more.
        assert clients.failed() <= 6
        assert gateway.metric('hedgerow_requests_total{route="one",status="200"}') > before


def test_a_rolling_restart_under_load_fails_no_request(tmp_path: Path, upstream: str) -> None:
    """SIGUSR2 replaces one worker after the other; streams that are under way are finished by the old ones."""
    with served(tmp_path, config(upstream), "--workers", "2") as gateway, load(gateway.port, clients=6) as clients:
        old = gateway.workers()
        thread, answers = later(gateway, "story", stream=True)
        for round_ in (1, 2):
            gateway.signal(signal.SIGUSR2)
            gateway.until(lambda: len(gateway.lines("restart.done")) == round_, "the restart")  # noqa: B023
        thread.join(30)
        gateway.until(lambda: not set(old) & set(gateway.workers()), "the old workers' end")
        assert len(gateway.workers()) >= 2
    assert clients.failed() == 0, clients.outcomes
    assert clients.outcomes["200"] > 50
    assert answers[0][0] == 200
    assert answers[0][1].endswith(b"data: [DONE]\n\n")


def test_a_worker_whose_parent_is_killed_drains_and_ends(tmp_path: Path, upstream: str) -> None:
    """Nothing is left behind that holds the port."""
    with served(tmp_path, config(upstream), "--workers", "2") as gateway:
        orphans = gateway.workers()
        thread, answers = later(gateway, "slow")
        gateway.process.kill()
        gateway.until(lambda: not any(orphan.is_running() for orphan in orphans), "the workers' end")
        thread.join(30)
        assert answers[0][0] == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_lets_what_is_in_flight_finish_and_exits_0(tmp_path: Path, upstream: str, workers: str) -> None:
    """A request and a stream that began before the signal are answered whole; new connections are refused."""
    with served(tmp_path, config(upstream), "--workers", workers) as gateway:
        slow, answer = later(gateway, "slow")
        story, streamed = later(gateway, "story", stream=True)
        gateway.signal(signal.SIGTERM)
        time.sleep(0.4)
        with pytest.raises(ConnectionError):
            gateway.get("/healthz")
        slow.join(30)
        story.join(30)
        assert gateway.ends() == 0
    assert answer[0][0] == 200
    assert streamed[0][1].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_when_the_drain_is_over_nothing_is_cut_off_in_silence(tmp_path: Path, upstream: str, workers: str) -> None:
    """A request without an answer gets 503 with Retry-After, a stream an error event and no `[DONE]`."""
    with served(tmp_path, config(upstream), "--workers", workers, "--drain", "1s") as gateway:
        endless, answer = later(gateway, "endless")
        epic, streamed = later(gateway, "epic", stream=True)
        gateway.signal(signal.SIGTERM)
        endless.join(30)
        epic.join(30)
        assert gateway.ends() == 0
    assert answer[0][0] == 503
    assert json.loads(answer[0][1])["error"]["code"] == "shutting_down"
    assert streamed[0][0] == 200
    assert b'"code":"shutting_down"' in streamed[0][1]
    assert b"[DONE]" not in streamed[0][1]
    assert {line["status"] for line in gateway.lines("request.finished")} == {503}


def test_readyz_says_503_while_the_gateway_still_serves_for_the_balancer(tmp_path: Path, upstream: str) -> None:
    """With `--drain-delay`, requests are answered until the load balancer has noticed; a kept connection is closed."""
    with served(tmp_path, config(upstream), "--drain-delay", "2s") as gateway:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        assert ask(connection, "one")[0] == 200
        gateway.signal(signal.SIGTERM)
        gateway.until(lambda: gateway.get("/readyz")[0] == 503, "not ready")
        assert gateway.get("/readyz")[1] == b'{"status":"draining"}'
        assert gateway.get("/healthz")[0] == 200
        assert ask(connection, "one")[0] == 200
        assert gateway.ends() == 0
        connection.close()


def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path, upstream: str) -> None:
    """Nobody else would notice: its process is there and its socket is open. The other one serves meanwhile."""
    with served(tmp_path, config(upstream), "--workers", "2") as gateway:
        hung, other = gateway.workers()
        hung.suspend()
        gateway.until(lambda: hung not in gateway.workers() and len(gateway.workers()) == 2, "a new worker", 60)
        assert other in gateway.workers()
        [told] = gateway.lines("worker.hung")
        assert told["worker"] == hung.pid
        assert [gateway.ask("one")[0] for _ in range(20)] == [200] * 20


def test_workers_that_die_young_come_back_ever_later(tmp_path: Path, upstream: str) -> None:
    """A crash at the start must not become a loop that eats the machine; the first deaths cost no time."""
    with served(tmp_path, config(upstream), "--workers", "2") as gateway:
        for count in range(1, 5):
            gateway.workers()[-1].kill()
            gateway.until(lambda: len(gateway.lines("worker.died")) == count, "its end")  # noqa: B023
            gateway.until(lambda: len(gateway.workers()) == 2, "a new worker", 30)
        assert [died["replaced_in"] for died in gateway.lines("worker.died")] == ["0s", "0s", "1s", "2s"]
        assert gateway.ask("one")[0] == 200
