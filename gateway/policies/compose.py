"""Compose policies: `compose(retry, bulkhead, attempt)(provider)` reads as `retry(bulkhead(attempt(provider)))`."""

from __future__ import annotations

from functools import reduce

from gateway.domain import Caller, Policy


def compose(*policies: Policy) -> Policy:
    """Return one policy made of several; the leftmost is entered first and left last."""

    def composed(call: Caller) -> Caller:
        return reduce(lambda inner, policy: policy(inner), reversed(policies), call)

    return composed
