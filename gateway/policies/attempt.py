"""One attempt: bounded by the target's timeout and the deadline, and announced when it ends."""

from __future__ import annotations

import asyncio

from gateway.domain import Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target
from gateway.engine.events import Attempted


def attempt(call: Caller) -> Caller:
    """Give each call `target.timeout` seconds at most, and tell the request's listener how it ended.

    A live call ends at its first words, for which it has no more than `target.first_token` seconds.
    """

    async def one_attempt(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        loop = asyncio.get_running_loop()
        started = loop.time()
        kind: FailureKind | None = FailureKind.SUPERSEDED  # what remains true if we are cancelled
        patience = min(target.timeout, target.first_token) if request.live else target.timeout
        limit = min(started + patience, deadline)
        try:
            async with asyncio.timeout_at(limit):
                outcome = await call(target, request, limit)
            kind = outcome.kind if isinstance(outcome, Failure) else None
        except TimeoutError:
            kind = FailureKind.TIMEOUT
            awaited = "words" if request.live else "answer"
            outcome = Failure(target.name, kind, f"no {awaited} within {limit - started:.3g} s")
        except asyncio.CancelledError:
            if loop.time() >= limit:
                kind = FailureKind.TIMEOUT  # the deadline took us before our own timer could
            raise
        finally:
            request.listen(Attempted(target.name, kind, loop.time() - started))
        return outcome

    return one_attempt
