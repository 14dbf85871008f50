"""How the process is run, as the command line says it: what cannot change without a restart."""

from __future__ import annotations

from msgspec import Struct


class Options(Struct, frozen=True):
    """Seconds for `drain` (what requests in flight get after SIGTERM) and `drain_delay` (served on before that)."""

    workers: int = 1
    console: bool = False
    drain: float = 30.0
    drain_delay: float = 0.0
