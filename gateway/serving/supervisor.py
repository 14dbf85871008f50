"""The parent of several workers: it serves nothing itself, so nothing that a request does can take it down.

It is one loop that looks around ten times a second; what it knows of a worker is in its `Child`.
"""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gateway.observe.log import Log
from gateway.serving.child import Child, Children
from gateway.serving.configuration import Configuration, Refused
from gateway.serving.listening import Addresses, CannotServe, announce, secrets
from gateway.serving.options import Options

STEP = 0.1
"""Seconds between two looks."""
SILENT = 30.0
"""Seconds without a sign of life after which a worker counts as hung: its loop gives one every second."""
SHORT_LIFE = 10.0
"""A worker that ends sooner than this many seconds after its start is replaced with back-off."""
LONGEST_PAUSE = 30.0
STOPPING = 5.0
"""Seconds that a worker gets beyond its drain before it is killed."""
WATCH_EVERY = 3


def supervise(configuration: Configuration, listener: socket.socket, addresses: Addresses, options: Options) -> None:
    """Keep workers serving until SIGTERM or SIGINT.

    Raises:
        CannotServe: the first workers did not start.
    """
    with tempfile.TemporaryDirectory(prefix="hedgerow-") as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        # Only now: prometheus-client looks at the variable when it is imported.
        from gateway.observe import metrics  # noqa: PLC0415

        turn = os.open(Path(directory, "log-turn"), os.O_CREAT | os.O_RDWR, 0o600)
        log = Log(secrets=secrets(configuration.settings), console=options.console, turn=turn)
        log.hear_libraries()
        children = Children(configuration, listener, turn, addresses, options)
        supervisor = Supervisor(configuration, children, log, metrics.Reloads())
        supervisor.on_end = lambda pid: metrics.forget(pid, directory)
        supervisor.on_ready = lambda: announce(configuration.settings, addresses, options.workers)
        stop_metrics = metrics.serve_merged(addresses.metrics_host, addresses.metrics_port, directory)
        try:
            supervisor.run(options)
        finally:
            children.kill()
            stop_metrics()
            os.close(turn)


class Supervisor:
    """Keeps as many workers serving as were asked for."""

    def __init__(self, configuration: Configuration, children: Children, log: Log, count: Callable[..., None]) -> None:
        self._configuration, self._children, self._log, self._count = configuration, children, log, count
        self.on_end: Callable[[int], None] = lambda _: None
        self.on_ready: Callable[[], None] = lambda: None
        self._wanted: list[int] = []
        self._looks = 0
        self._up = False
        self._short_lives = 0
        self._next_start = 0.0
        self._to_replace: list[Child] = []
        self._successor: Child | None = None

    def run(self, options: Options) -> None:
        """Return when a signal has said so and every worker has ended."""
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            signal.signal(each, lambda number, _: self._wanted.append(number))
        for _ in range(options.workers):
            self._children.start()
        while not self._told_to_stop():
            self._look(options.workers)
            time.sleep(STEP)
        self._stop(time.monotonic() + options.drain_delay + options.drain + STOPPING)

    def _told_to_stop(self) -> bool:
        return signal.SIGTERM in self._wanted or signal.SIGINT in self._wanted

    def _look(self, workers: int) -> None:
        self._looks += 1
        for child in self._children.all:
            for said in child.look():
                if said.detail:
                    self._log.warning("worker.refused", worker=child.pid, detail=said.detail)
        self._bury(workers)
        self._refill(workers)
        self._end_the_hung()
        self._watch()
        self._restart()
        if not self._up and all(child.ready for child in self._children.serving):
            self._up = True
            self.on_ready()

    def _bury(self, workers: int) -> None:
        """Let go of the dead. One that died unasked is told, and replaced at once unless it died young."""
        for child in self._children.ended():
            self.on_end(child.pid)
            if child.leaving:
                continue
            if not self._up and not child.ready:
                raise CannotServe(f"A worker ended with {_how(child)} before it could serve; its log says why.")
            young = time.monotonic() - child.born < SHORT_LIFE
            self._short_lives = self._short_lives + 1 if young else 0
            pause = min(LONGEST_PAUSE, 0.5 * 2 ** (self._short_lives - 2)) if self._short_lives > workers else 0.0
            self._next_start = time.monotonic() + pause
            self._log.warning("worker.died", worker=child.pid, by=_how(child), replaced_in=f"{pause:g}s")

    def _refill(self, workers: int) -> None:
        while len(self._children.serving) < workers and time.monotonic() >= self._next_start:
            child = self._children.start()
            self._log.say("worker.started", worker=child.pid)

    def _end_the_hung(self) -> None:
        for child in self._children.serving:
            if child.ready and time.monotonic() - child.heard > SILENT:
                self._log.warning("worker.hung", worker=child.pid, silent=f"{SILENT:g}s")
                child.kill()

    def _watch(self) -> None:
        asked = signal.SIGHUP in self._wanted
        if not asked and (self._looks % WATCH_EVERY or not self._configuration.changed()):
            return
        self._wanted = [number for number in self._wanted if number != signal.SIGHUP]
        try:
            settings = self._configuration.refresh()
        except Refused as fault:
            self._log.warning("config.refused", faults=str(fault).split("\n"))
            self._count(applied=False)
            return
        if settings is not None:
            self._log.learn(secrets(settings))
            self._children.update()
            self._log.say("config.applied", routes=list(settings.routes))
        self._count(applied=True)

    def _restart(self) -> None:
        """Replace one worker after the other: the next one leaves when its successor is ready."""
        if signal.SIGUSR2 in self._wanted:
            self._wanted = [number for number in self._wanted if number != signal.SIGUSR2]
            self._to_replace = [child for child in self._children.serving if child is not self._successor]
            self._log.say("restart.began", workers=[child.pid for child in self._to_replace])
        if self._successor is not None:
            if self._successor.code is not None or self._successor not in self._children.all:
                self._log.warning("restart.abandoned", why="the successor of a worker did not start", kept=self._left())
                self._to_replace, self._successor = [], None
            elif self._successor.ready:
                old, self._successor = self._to_replace.pop(0), None
                if old in self._children.all:
                    old.drain()
                if not self._to_replace:
                    self._log.say("restart.done")
        elif self._to_replace:
            self._successor = self._children.start()

    def _left(self) -> list[int]:
        return [child.pid for child in self._to_replace]

    def _stop(self, patience: float) -> None:
        self._wanted.clear()
        for child in self._children.all:
            child.drain()
        while self._children.all and time.monotonic() < patience:
            if self._told_to_stop():
                self._wanted.clear()
                for child in self._children.all:
                    child.drain()
            time.sleep(STEP)
            for child in self._children.ended():
                self.on_end(child.pid)


def _how(child: Child) -> str:
    code = child.code or 0
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
