"""Probes: a call that finds out whether a target is back goes on to its end, whoever has won the race meanwhile.

Cancelled with the race it would say nothing: a target that is slower than the one that is asked beside it would never
come back, and one that is silent would be probed by every request.
"""

from __future__ import annotations

import asyncio

from fanin import Candidate
from gateway.domain import Answer, Caller, ChatRequest, Deadline, Outcome, Target
from gateway.engine.awaiting import ended
from gateway.engine.events import Listener, tell_lost


class Probes:
    """The probes for whose answers nobody waits any more; each ends with its own timeout, or its request's deadline."""

    def __init__(self) -> None:
        self._overtaken: dict[asyncio.Task[None], asyncio.Task[Outcome]] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._overtaken)

    async def ask(self, call: Caller, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        """Ask (see `domain.Caller`); if we are cancelled, the call is not."""

        async def asked() -> Outcome:
            return await call(target, request, deadline)

        loop = asyncio.get_running_loop()
        probe = loop.create_task(asked())
        try:
            return await asyncio.shield(probe)
        except asyncio.CancelledError:
            concluding = loop.create_task(_conclude(probe, request.listen))
            self._overtaken[concluding] = probe
            concluding.add_done_callback(self._overtaken.pop)
            raise

    async def aclose(self) -> None:
        """Cancel and await them."""
        for probe in self._overtaken.values():
            probe.cancel()
        await ended([*self._overtaken])


async def _conclude(probe: asyncio.Task[Outcome], listen: Listener) -> None:
    """Close an answer that came too late, and book its tokens."""
    outcome = await probe
    if isinstance(outcome, Candidate):
        if not isinstance(outcome.payload, Answer):
            await outcome.payload.aclose()
        tell_lost(outcome, listen)
