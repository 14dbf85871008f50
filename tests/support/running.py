"""The command `hedgerow serve` in a process of its own, and clients that ask it while something happens to it."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.ports import free_port
from tests.support.simulators import ROOT

HANGS = 30.0
"""Seconds after which something counts as hung; nothing is expected to take so long."""


@dataclass
class Served:
    """A gateway that runs, with one worker or several."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    log: Path

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The whole log lines so far; each must be JSON of its own, whoever wrote it."""
        written = self.log.read_text().split("\n")[:-1]
        found = [json.loads(line) for line in written if line.startswith("{")]
        return [line for line in found if not event or line["event"] == event]

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def get(self, path: str, port: int | None = None, key: str = "") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=HANGS)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ask(self, model: str = "one", *, stream: bool = False) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGS)
        try:
            return ask(connection, model, stream=stream)
        finally:
            connection.close()

    def until(self, condition: Callable[[], object], what: str, patience: float = HANGS) -> None:
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {patience} s\n{self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def metric(self, name: str) -> float:
        """The sum of a metric's series; those whose line begins with `name`."""
        _, body = self.get("/metrics", self.metrics_port)
        return sum(float(line.rpartition(" ")[2]) for line in body.decode().split("\n") if line.startswith(name))

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        return self.process.wait(HANGS)


def ask(connection: http.client.HTTPConnection, model: str, *, stream: bool = False) -> tuple[int, bytes]:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "France?"}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    response = connection.getresponse()
    return response.status, response.read()


@contextmanager
def served(folder: Path, config: str, *arguments: str, prefix: tuple[str, ...] = ()) -> Iterator[Served]:
    """Run `hedgerow serve` until the block ends; the configuration stands in `folder/hedgerow.yaml`."""
    file, log, port, metrics_port = folder / "hedgerow.yaml", folder / "log", free_port(), free_port()
    if config:
        file.write_text(config)
    command = [*prefix, sys.executable, "-m", "gateway", "serve", "--config", str(file), "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--metrics-port", str(metrics_port), *arguments],
            stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
        )  # fmt: skip
    running = Served(process, port, metrics_port, log)
    try:
        running.until(lambda: "base_url" in log.read_text() or process.poll() is not None, "the start")
        assert process.poll() is None, log.read_text()
        running.until(lambda: running.get("/readyz")[0] == 200, "readiness")
        yield running
    finally:
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        process.wait()
        for child in children:
            child.kill()


@dataclass
class Load:
    """Clients that ask one request after another, each on a connection of its own that is kept alive."""

    outcomes: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)

    def ask(self, port: int, pause: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANGS)
        while not self._over.is_set():
            try:
                self.outcomes[str(ask(connection, "one")[0])] += 1
            except (OSError, http.client.HTTPException) as exc:
                self.outcomes[type(exc).__name__] += 1
                connection.close()
            time.sleep(pause)
        connection.close()

    def end(self) -> None:
        self._over.set()

    def failed(self) -> int:
        return sum(count for outcome, count in self.outcomes.items() if outcome != "200")


@contextmanager
def load(port: int, clients: int = 4, pause: float = 0.05) -> Iterator[Load]:
    """Ask at a modest rate as long as the block runs."""
    asking = Load()
    threads = [threading.Thread(target=asking.ask, args=(port, pause)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield asking
    finally:
        asking.end()
        for thread in threads:
            thread.join(HANGS)
