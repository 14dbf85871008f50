"""Where the gateway listens, whether it may, and what people are told about it."""

from __future__ import annotations

import ipaddress
import socket
import sys
from urllib.parse import urlsplit

from msgspec import Struct

from gateway.settings import Secret, Settings

UNSENT = 64 * 1024
"""Bytes that the system takes for a client before they can be sent: without a limit, up to 4 MB for one that reads
nothing. What is on its way is not held to it, so that a fast client on a long line is not slowed down."""


class Addresses(Struct, frozen=True):
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


def may_be_open(addresses: Addresses, settings: Settings) -> None:
    """Refuse to let others spend the gateway's credit.

    Raises:
        CannotServe: others can reach the address, and no key is asked for.
    """
    if not settings.keys and not _is_loopback(addresses.host):
        raise CannotServe(
            f"{addresses.host} can be reached by others, and this configuration asks for no key. "
            'Add `keys: {name: "${HEDGEROW_KEY}"}` to it, or serve on 127.0.0.1.'
        )


def listen(host: str, port: int, option: str) -> socket.socket:
    """Open a listening socket.

    Raises:
        CannotServe: the address cannot be used; `option` is what chooses another.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as exc:
        listener.close()
        raise CannotServe(f"{host}:{port} cannot be used ({exc.strerror}). Choose another with {option}.") from None
    return listener


def announce(settings: Settings, addresses: Addresses, workers: int) -> None:
    """Tell people on stderr what is served where."""
    by = f" with {workers} workers" if workers > 1 else ""
    lines = [
        *(f"  {note}" for note in settings.notes),
        f"hedgerow serves {', '.join(settings.routes)}{by}",
        f"  base_url  {addresses.base_url}",
        f"  metrics   http://{addresses.metrics_host}:{addresses.metrics_port}/metrics",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201 -- for people


def secrets(settings: Settings) -> list[Secret]:
    """Return what the log must never show: keys, and every longer value that may be one."""
    keys = [provider.api_key for provider in settings.asked.values() if provider.api_key is not None]
    values = [
        value
        for provider in settings.asked.values()
        for mapping in (provider.headers, provider.query, provider.options)
        for value in mapping.values()
    ]
    if settings.redis is not None:
        address = settings.redis.reveal()
        keys += [Secret(each) for each in (address, urlsplit(address).password) if each]
    return [*keys, *(Secret(value) for value in values if isinstance(value, str) and len(value) >= 16)]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
