"""One worker of several: serves from the shared socket, does what its parent says, and tells it that it is well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import msgspec

from gateway import config
from gateway.app import Gateway
from gateway.config import Files
from gateway.observe.log import Log
from gateway.serving.control import Job, Lines, Status, Update, line
from gateway.serving.generations import Generations
from gateway.serving.listening import secrets
from gateway.serving.server import Server
from gateway.settings import Settings

_ALIVE_EVERY = 10
"""Ticks of a tenth of a second between two signs of life."""


def main() -> None:
    """Serve as the parent's first line says, until SIGTERM or until the parent is gone."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; the parent decides
    said = Lines(sys.stdin.fileno())
    job = msgspec.json.decode(said.wait_for_one(), type=Job)
    settings = _settings(job, job.contents)
    log = Log(secrets=secrets(settings), console=job.options.console, turn=job.turn)
    log.hear_libraries()
    gateway = Gateway(settings, log)
    app = Generations(gateway)
    os.set_blocking(sys.stdin.fileno(), False)
    os.set_blocking(job.status, False)
    listener = socket.socket(fileno=job.listener)
    _Server(app, job.options, _Errands(job, said, app), lambda: None).run([listener])


def _settings(job: Job, contents: dict[str, bytes]) -> Settings:
    if job.file is None:
        return config.discover(os.environ)
    return config.load(Path(job.file), os.environ, Files(contents))


class _Server(Server):
    """A server that only its parent stops."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on SIGTERM; Ctrl-C in a terminal reaches the parent too, which decides."""
        if sig != signal.SIGINT:
            super().handle_exit(sig, frame)


class _Errands:
    """Does what the parent says."""

    def __init__(self, job: Job, said: Lines, app: Generations) -> None:
        self._job, self._said, self._app = job, said, app
        self._ticks = 0
        self._was_ready = False

    async def attend(self, server: Server) -> None:
        """Report, and apply what came in."""
        if not self._was_ready and self._app.current.asgi.ready:
            self._was_ready = True
            self._tell("ready")
        elif self._ticks % _ALIVE_EVERY == 0:
            self._tell("alive")
        self._ticks += 1
        for update in self._said.read():
            await self._apply(msgspec.json.decode(update, type=Update))
        if self._said.ended:
            self._app.current.log.warning("parent.gone")
            server.should_exit = True

    async def _apply(self, update: Update) -> None:
        try:
            settings = await asyncio.to_thread(_settings, self._job, update.contents)
            await self._app.replace(settings)
        except Exception as exc:  # noqa: BLE001 -- the parent found it good; what runs goes on running
            self._app.current.log.fault("config", exc)
            self._tell("refused", type(exc).__name__)

    def _tell(self, word: str, detail: str = "") -> None:
        # A parent that does not read finds out by the silence; that it is gone, we find out by the end of stdin.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._job.status, line(Status(word, detail)))


if __name__ == "__main__":
    main()
