"""Waiting: for what must end before anything else happens, such as calls that were cancelled; and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

KEEP_ALIVE_EVERY = 10.0
"""Seconds of silence after which a client that waits for events is shown that its connection is alive."""


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> asyncio.CancelledError | None:
    """Await tasks to their end, whoever cancels us meanwhile; return that cancellation."""
    interrupted: asyncio.CancelledError | None = None
    while running := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as exc:
            interrupted = exc
    return interrupted
