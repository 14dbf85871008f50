"""Run the gateway: sockets first, so that a taken port is one clear sentence, then uvicorn until a signal comes."""

from __future__ import annotations

import gc
import ipaddress
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn

from gateway.app import Gateway
from gateway.domain import Secret, Settings
from gateway.observe.log import Log


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where to listen. The metrics have a port of their own, so that nobody outside sees them by accident."""

    host: str = "127.0.0.1"
    port: int = 8000
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9090

    @property
    def base_url(self) -> str:
        """What a client uses as `base_url`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"


class CannotServe(Exception):
    """The gateway cannot start; the message says why and what cures it."""


def serve(settings: Settings, addresses: Addresses, *, console: bool = False) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        CannotServe: a port is taken, or the address is open to others while no key is asked for.
    """
    if not settings.keys and not _is_loopback(addresses.host):
        raise CannotServe(
            f"{addresses.host} can be reached by others, and this configuration asks for no key. "
            'Add `keys: {name: "${HEDGEROW_KEY}"}` to it, or serve on 127.0.0.1.'
        )
    listener = _listen(addresses.host, addresses.port, "--port")
    _listen(addresses.metrics_host, addresses.metrics_port, "--metrics-port").close()
    log = Log(secrets=_secrets(settings), console=console)
    gateway = Gateway(settings, log)
    stop_metrics = gateway.metrics.serve(addresses.metrics_host, addresses.metrics_port)
    config = uvicorn.Config(
        gateway.asgi,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
    )
    try:
        _Server(config, lambda: _announce(settings, addresses)).run(sockets=[listener])
    finally:
        stop_metrics()
        listener.close()


class _Server(uvicorn.Server):
    """uvicorn, with a word when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _settle_memory()
            self._on_ready()


def _settle_memory() -> None:
    """Take what start-up made out of the garbage collector's sight, and let it run less often.

    Requests make many short-lived objects and hardly a cycle; walking the imported modules every few hundred requests
    would cost a tenth of all CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _announce(settings: Settings, addresses: Addresses) -> None:
    say: Callable[[str], Any] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: T201, E731 -- for people
    for note in settings.notes:
        say(f"  {note}")
    say(f"hedgerow serves {', '.join(settings.routes)}")
    say(f"  base_url  {addresses.base_url}")
    say(f"  metrics   http://{addresses.metrics_host}:{addresses.metrics_port}/metrics")


def _secrets(settings: Settings) -> list[Secret]:
    """Return what the log must never show: keys, and every longer value that may be one."""
    keys = [provider.api_key for provider in settings.providers.values() if provider.api_key is not None]
    values = [
        value
        for provider in settings.providers.values()
        for mapping in (provider.headers, provider.query, provider.options)
        for value in mapping.values()
    ]
    return [*keys, *(Secret(value) for value in values if isinstance(value, str) and len(value) >= 16)]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int, option: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        raise CannotServe(f"{host}:{port} cannot be used ({exc.strerror}). Choose another with {option}.") from None
    listener.set_inheritable(True)
    return listener
