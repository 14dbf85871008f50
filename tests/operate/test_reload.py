"""A new configuration without a restart: what is good is taken over, what is bad is refused, nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import load, served
from tests.support.simulators import SimulatorProcess, simulator_process

pytestmark = pytest.mark.slow

KEYS = ["9fb1c4d07e62a85330c7f1be84ad6055", "47e0d9a3b5c21f68f0a7e3d2b991cc04"]


@pytest.fixture
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    script = tmp_path_factory.mktemp("sim") / "script.yaml"
    script.write_text(
        "quick: {answer: Paris, latency: 0.02}\nother: {answer: Rome}\nslow: {answer: late, latency: 2}\n"
    )
    with simulator_process(script) as running:
        yield running


def config(sim: SimulatorProcess, target: str = "quick", more: str = "") -> str:
    return (
        f"providers: {{sim: {{api: openai, base_url: '{sim.base_url}'}}}}\n"
        f"routes:\n  one: {{targets: [sim/{target}]}}\n  slow: {{targets: [sim/slow]}}\n{more}"
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_changed_file_serves_within_a_second_and_a_bad_one_is_refused(
    tmp_path: Path, sim: SimulatorProcess, workers: str
) -> None:
    """What is in flight ends on the old configuration; a fault is told in the log and by a metric; nothing fails."""
    file = tmp_path / "hedgerow.yaml"
    with served(tmp_path, config(sim), "--workers", workers) as gateway, load(gateway.port) as clients:
        late: list[tuple[int, bytes]] = []
        thread = threading.Thread(target=lambda: late.append(gateway.ask("slow")))
        thread.start()
        time.sleep(0.3)
        file.write_text(
            config(sim, "other", "  new: {targets: [sim/quick]}\n").replace("  slow: {targets: [sim/slow]}", "")
        )
        gateway.until(lambda: gateway.lines("config.applied"), "the new configuration")
        gateway.until(lambda: [gateway.ask("new")[0] for _ in range(8)] == [200] * 8, "the new route on every worker")
        assert all(b"Rome" in gateway.ask("one")[1] for _ in range(8))
        assert gateway.ask("slow")[0] == 404
        thread.join(30)
        assert (late[0][0], b"late" in late[0][1]) == (200, True)
        assert gateway.metric("hedgerow_config_current") == 1

        file.write_text(config(sim, "other").replace("targets", "tragets"))
        gateway.until(lambda: gateway.lines("config.refused"), "the refusal")
        [refused] = gateway.lines("config.refused")
        assert any("did you mean `targets`?" in fault for fault in refused["faults"])
        assert gateway.ask("new")[0] == 200
        assert gateway.metric("hedgerow_config_current") == 0
        assert gateway.metric('hedgerow_config_reloads_total{outcome="refused"}') == 1

        file.write_text(config(sim))
        gateway.until(lambda: gateway.metric("hedgerow_config_current") == 1, "the mended configuration")
    assert clients.failed() == 0, clients.outcomes
    assert clients.outcomes["200"] > 20


def test_a_worker_that_is_replaced_while_the_file_is_bad_gets_the_good_one(
    tmp_path: Path, sim: SimulatorProcess
) -> None:
    """The parent hands on what it has read, so a fault in the file cannot take the gateway down bit by bit."""
    with served(tmp_path, config(sim), "--workers", "2") as gateway:
        (tmp_path / "hedgerow.yaml").write_text("providers: nonsense")
        gateway.until(lambda: gateway.lines("config.refused"), "the refusal")
        victims = gateway.workers()
        for victim in victims:
            victim.kill()
        gateway.until(lambda: len(gateway.lines("worker.started")) == 2, "new workers")
        gateway.until(lambda: gateway.get("/readyz")[0] == 200, "readiness")
        assert gateway.ask("one")[0] == 200


def test_a_key_is_revoked_on_every_worker_by_the_swap_of_a_mounted_secret(
    tmp_path: Path, sim: SimulatorProcess
) -> None:
    """As Kubernetes does it: the folder that a link points to is exchanged. `${file:...}` reads the key from there."""
    for version, key in enumerate(KEYS):
        folder = tmp_path / f"..v{version}"
        folder.mkdir()
        (folder / "client").write_text(f"{key}\n")
    (tmp_path / "..data").symlink_to("..v0")
    (tmp_path / "client").symlink_to("..data/client")
    text = config(sim, more='keys: {web: "${file:client}"}\n')
    with served(tmp_path, text, "--workers", "2") as gateway:
        assert gateway.get("/v1/models", key=KEYS[0])[0] == 200
        assert gateway.get("/v1/models", key=KEYS[1])[0] == 401
        (tmp_path / "..next").symlink_to("..v1")
        os.replace(tmp_path / "..next", tmp_path / "..data")  # noqa: PTH105 -- rename(2), as the kubelet does
        gateway.until(lambda: gateway.lines("config.applied"), "the new key")
        gateway.until(lambda: gateway.get("/v1/models", key=KEYS[1])[0] == 200, "the new key is known")
        time.sleep(0.3)
        assert {gateway.get("/v1/models", key=KEYS[0])[0] for _ in range(10)} == {401}
        assert {gateway.get("/v1/models", key=KEYS[1])[0] for _ in range(10)} == {200}
    assert not any(key in gateway.log.read_text() for key in KEYS)


def test_sighup_reads_the_file_and_keeps_the_connections_of_unchanged_providers(
    tmp_path: Path, sim: SimulatorProcess
) -> None:
    """A provider whose settings are the same keeps its pool: the next request goes over the connection that is open."""
    with served(tmp_path, config(sim)) as gateway:
        assert gateway.ask()[0] == 200
        for number in range(3):
            (tmp_path / "hedgerow.yaml").write_text(config(sim, more=f"  r{number}: {{targets: [sim/quick]}}\n"))
            gateway.signal(signal.SIGHUP)
            gateway.until(lambda: gateway.ask(f"r{number}")[0] == 200, "the new route")  # noqa: B023
        connections = {call["connection"] for call in sim.journal()}
        assert len(connections) == 1
