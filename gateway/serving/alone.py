"""One process that does everything: serves, watches its configuration, shows its metrics."""

from __future__ import annotations

import asyncio
import signal
import socket

from gateway.app import Gateway
from gateway.observe.log import Log
from gateway.observe.metrics import Reloads
from gateway.serving.configuration import Configuration, Refused
from gateway.serving.generations import Generations
from gateway.serving.listening import Addresses, announce, secrets
from gateway.serving.options import Options
from gateway.serving.server import Server

WATCH_EVERY = 3
"""Ticks of a tenth of a second between two looks at the files."""


def run(configuration: Configuration, listener: socket.socket, addresses: Addresses, options: Options) -> None:
    """Serve until a signal comes."""
    settings = configuration.settings
    log = Log(secrets=secrets(settings), console=options.console)
    log.hear_libraries()
    gateway = Gateway(settings, log)
    app = Generations(gateway)
    watch = _Watch(configuration, app, Reloads(gateway.metrics.registry))
    stop_metrics = gateway.metrics.serve(addresses.metrics_host, addresses.metrics_port)
    try:
        Server(app, options, watch, lambda: announce(settings, addresses, 1)).run([listener])
    finally:
        stop_metrics()


class _Watch:
    """Looks after the configuration: a changed file or SIGHUP brings a new one into service."""

    def __init__(self, configuration: Configuration, app: Generations, count: Reloads) -> None:
        self._configuration, self._app, self._count = configuration, app, count
        self._ticks = 0
        self._asked = False
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True

    async def attend(self, _: Server) -> None:
        """Let a changed configuration serve."""
        self._ticks += 1
        asked, self._asked = self._asked, False
        if not asked and (self._ticks % WATCH_EVERY or not self._configuration.changed()):
            return
        log = self._app.current.log
        try:
            settings = await asyncio.to_thread(self._configuration.refresh)
        except Refused as fault:
            log.warning("config.refused", faults=str(fault).split("\n"))
            self._count(applied=False)
            return
        if settings is not None:
            await self._app.replace(settings)
            log.say("config.applied", routes=list(settings.routes))
        self._count(applied=True)
