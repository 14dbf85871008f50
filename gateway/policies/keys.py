"""Several keys of one provider: calls take turns, and what one key may not have now is asked for with the next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gateway.domain import Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target

_THE_KEY_S = frozenset(
    {
        FailureKind.CREDENTIAL,
        FailureKind.QUOTA,
        FailureKind.RATE_LIMITED,
        FailureKind.CIRCUIT_OPEN,
        FailureKind.BULKHEAD_FULL,
    }
)
"""What another key may be spared: each has limits, credit, circuits and room of its own."""


class Keys:
    """Asks providers with several keys as if each were a provider, so that whatever stands within tells them apart.

    `accounts` are the names under which a provider is known inside, one for each of its keys, its own the first. While
    there is another key, nobody waits for a Retry-After. When every key has failed, the failure is the one that passes
    soonest. Without such providers this costs a call nothing.
    """

    def __init__(self, accounts: Mapping[str, Sequence[str]]) -> None:
        self._accounts = accounts
        self._turns = dict.fromkeys(accounts, 0)

    def __call__(self, call: Caller) -> Caller:
        """Wrap a caller."""
        if not self._accounts:
            return call

        async def with_some_key(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
            accounts = self._accounts.get(target.provider)
            if accounts is None:
                return await call(target, request, deadline)
            turn = self._turns[target.provider]
            self._turns[target.provider] = (turn + 1) % len(accounts)
            *others, last = (*accounts[turn:], *accounts[:turn])
            failures: list[Failure] = []
            for account in others:
                outcome = await call(replace(target, provider=account, patience=0.0), request, deadline)
                if not isinstance(outcome, Failure) or outcome.kind not in _THE_KEY_S:
                    return outcome
                failures.append(outcome)
            outcome = await call(replace(target, provider=last), request, deadline)
            if not isinstance(outcome, Failure) or outcome.kind not in _THE_KEY_S:
                return outcome
            return min(outcome, *failures, key=_lasts)

        return with_some_key


def _lasts(failure: Failure) -> tuple[bool, float]:
    lasting = failure.kind in {FailureKind.CREDENTIAL, FailureKind.QUOTA}
    return lasting, math.inf if failure.retry_after is None else failure.retry_after
