"""Retries: the only file that knows tenacity. It spaces the attempts; the deadline ends the request.

The predicate is a positive list over outcomes. Tenacity's open predicates (`retry_if_not_exception_type` and the like)
also catch CancelledError, call a superseded loser again and have it billed (jd/tenacity#529).
"""

from __future__ import annotations

import asyncio

import tenacity

from gateway.domain import Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target
from gateway.policies.budget import Budget, exempt

BASE = 0.5
CAP = 8.0
FLOOR = 0.05
_full_jitter = tenacity.wait_random_exponential(multiplier=BASE, max=CAP)
_extra = tenacity.wait_random(0, 0.1)


def retry(call: Caller, budget: Budget | None = None) -> Caller:
    """Call again up to `target.retries` times while the failure is retryable and the deadline leaves room.

    The first call is made directly; tenacity is entered only when it failed, since entering it costs more than the rest
    of a healthy call's bookkeeping. A live stream's candidate is a success: nothing is retried after its first words.
    With a budget, a retry needs a place in it from its pause on; who finds none is not called again.
    """

    async def with_retries(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        entered = False

        def worth_repeating(outcome: Outcome) -> bool:
            if not isinstance(outcome, Failure) or not outcome.retryable:
                return False
            if entered and budget is not None and not exempt(outcome) and not budget.solvent(target):
                return False
            return _in_time(outcome, target)

        outcome = await call(target, request, deadline)
        if not worth_repeating(outcome) or target.retries < 1:
            return outcome
        paid = budget if isinstance(outcome, Failure) and not exempt(outcome) else None
        if paid is not None and not paid.take(target, request, "retry"):
            return outcome
        first: Outcome | None = outcome
        entered = True

        async def again() -> Outcome:
            nonlocal first
            if first is None:
                return await call(target, request, deadline)
            outcome, first = first, None
            return outcome

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(worth_repeating),
            stop=tenacity.stop_any(tenacity.stop_after_attempt(target.retries + 1), _BeyondDeadline(deadline)),
            wait=_pause,
            sleep=asyncio.sleep,
            retry_error_callback=_last_outcome,
        )
        try:
            return await retrying(again)
        finally:
            if paid is not None:
                paid.give_back(target)

    return with_retries


def _in_time(failure: Failure, target: Target) -> bool:
    """Whether the target has the patience for the upstream's Retry-After, or, without any, for a limit of no length."""
    if failure.retry_after is None:
        return failure.kind is not FailureKind.RATE_LIMITED or target.patience > 0
    return failure.retry_after <= target.patience


def _pause(state: tenacity.RetryCallState) -> float:
    """Full jitter (AWS, "Exponential backoff and jitter"); an upstream's Retry-After is a floor, plus up to a tenth."""
    failure = state.outcome.result() if state.outcome else None
    if isinstance(failure, Failure) and failure.retry_after is not None:
        return max(FLOOR, failure.retry_after * (1 + _extra(state)))
    return max(FLOOR, _full_jitter(state))


def _last_outcome(state: tenacity.RetryCallState) -> Outcome:
    assert state.outcome is not None  # noqa: S101 -- tenacity calls this only after an attempt
    outcome: Outcome = state.outcome.result()
    return outcome


class _BeyondDeadline(tenacity.stop.stop_base):
    """Stop when the pause would end after the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        return asyncio.get_running_loop().time() + retry_state.upcoming_sleep >= self._deadline
