"""File descriptors: each connection of a client takes one, and each call to a provider another."""

from __future__ import annotations

import sys
from dataclasses import replace

from gateway.settings import Limits

_OURS = 64
"""Descriptors for everything else: files, sockets, pipes, the event loop, libraries."""


def raise_limit() -> None:
    """Take as many descriptors as the system lets this process have: the usual default of 1024 is one of the 1980s."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 -- not on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def within(limits: Limits) -> Limits:
    """Return the limits with no more connections than there are descriptors for, half of them being for providers.

    Without a descriptor a connection cannot even be told that there are too many.
    """
    if sys.platform == "win32":
        return limits
    import resource  # noqa: PLC0415

    have, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if have == resource.RLIM_INFINITY:
        return limits
    return replace(limits, connections=min(limits.connections, max(1, (have - _OURS) // 2)))
