"""Ports for servers that must be told theirs: a process of its own, or one that is to come back at the same place."""

from __future__ import annotations

import random
import socket

_LOWEST, _HIGHEST = 10_000, 32_000
"""Below the range from which Linux takes the ports of outgoing connections: none of those can get in between."""
_order = iter(random.SystemRandom().sample(range(_LOWEST, _HIGHEST), _HIGHEST - _LOWEST))


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens; never the same one twice in a process."""
    for port in _order:
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise AssertionError("no port is free")
