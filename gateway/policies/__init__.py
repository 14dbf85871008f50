"""Policies: functions from a caller to a caller. Composed left to right, the leftmost is the outermost."""

from gateway.policies.attempt import attempt
from gateway.policies.breaker import Breaker
from gateway.policies.budget import Budget
from gateway.policies.bulkhead import Bulkhead
from gateway.policies.compose import compose
from gateway.policies.credentials import Credentials
from gateway.policies.hedging import Hedging
from gateway.policies.keys import Keys
from gateway.policies.retry import retry
from gateway.policies.validation import validated

__all__ = [
    "Breaker",
    "Budget",
    "Bulkhead",
    "Credentials",
    "Hedging",
    "Keys",
    "attempt",
    "compose",
    "retry",
    "validated",
]
