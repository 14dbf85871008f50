"""The budget of extra calls: retries must not multiply the load on a provider that is already failing.

Two limits per provider: how many extra calls may be under way (Envoy's retry budget), and a bucket of tokens that
failures empty and successes refill slowly, so that retries end when most calls fail (gRPC's throttling, gRFC A6).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from gateway.domain import Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target
from gateway.engine.events import BudgetDenied

LEAST, SHARE = 3, 0.2
"""Extra calls under way: so many always, beyond that this share of the calls under way."""
TOKENS, REFILL = 10.0, 0.1
"""The bucket: a failure takes one token, a success brings this much; extra calls need it to be over half full."""


class _Account:
    __slots__ = ("active", "extra", "tokens")

    def __init__(self) -> None:
        self.active = self.extra = 0
        self.tokens = TOKENS


class Budget:
    """What may be called beyond one call a branch, by provider. As a policy it counts the calls and how they ended.

    Two kinds of calls are outside of it: one that the upstream itself put off (429 with a Retry-After) comes when it
    was told to, and one whose connection broke at once, before a byte of an answer, has cost the upstream no work.
    """

    def __init__(self) -> None:
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)

    def know(self, providers: Iterable[str]) -> None:
        """Have an account for each of these providers before its first call."""
        for provider in providers:
            self._accounts[provider]

    def __call__(self, call: Caller) -> Caller:
        """Wrap a caller; it stands where each call passes that is really made."""

        async def counted(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
            account = self._accounts[target.provider]
            account.active += 1
            try:
                outcome = await call(target, request, deadline)
            finally:
                account.active -= 1
            if not isinstance(outcome, Failure):
                if account.tokens < TOKENS:
                    account.tokens = min(TOKENS, account.tokens + REFILL)
            elif outcome.kind.retryable and not exempt(outcome):
                account.tokens = max(0.0, account.tokens - 1)
            return outcome

        return counted

    def solvent(self, target: Target) -> bool:
        """Whether enough of the provider's calls succeed for extra ones to make sense."""
        return self._accounts[target.provider].tokens > TOKENS / 2

    def left(self) -> dict[str, float]:
        """Return how full each provider's bucket is, from 0 to 1; at half no extra call is made."""
        return {provider: account.tokens / TOKENS for provider, account in self._accounts.items()}

    def room(self, target: Target) -> bool:
        """Whether there is a place for an extra call."""
        account = self._accounts[target.provider]
        return self.solvent(target) and account.extra < max(LEAST, SHARE * account.active)

    def take(self, target: Target, request: ChatRequest, what: str) -> bool:
        """Take a place for an extra call, which `give_back` returns; False, and an event, where there is none."""
        if not self.room(target):
            request.listen(BudgetDenied(target.name, what))
            return False
        self._accounts[target.provider].extra += 1
        return True

    def give_back(self, target: Target) -> None:
        """Return a place."""
        self._accounts[target.provider].extra -= 1


def exempt(failure: Failure) -> bool:
    """Whether another call after this failure is outside of the budget."""
    return failure.unheard or (failure.kind is FailureKind.RATE_LIMITED and failure.retry_after is not None)
