"""Refused keys: a provider that rejects the gateway's own credential is not asked with it again for a while."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from typing import TypeAlias

from msgspec import Struct

from gateway.domain import Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target
from gateway.engine.events import KeyDisabled, KeyEnabled

PAUSE = 600.0
"""Seconds until one call tries a refused key again, less up to a fifth, so that gateways do not come all at once."""

Heard: TypeAlias = Callable[[KeyDisabled | KeyEnabled], None]
_Key: TypeAlias = tuple[str, str]


class _Refusal(Struct):
    kind: FailureKind
    status: int | None
    until: float


class Credentials:
    """What is known about the providers' keys: `listen` hears when one is disabled and when it is used again.

    A 401 and exhausted credit concern the provider's key and with it every model; a 403 only the model that it was said
    about, since it speaks of what the key may do, and some firewalls say it about the words of a prompt.
    """

    def __init__(self, listen: Heard) -> None:
        self._listen = listen
        self._refused: dict[_Key, _Refusal] = {}

    def take_over(self, unchanged: Collection[str], listen: Heard) -> None:
        """Go on under another configuration: of providers that it changes, the key may be a new one."""
        self._listen = listen
        for key in [key for key in self._refused if key[0] not in unchanged]:
            self._enable(key)

    def __call__(self, call: Caller) -> Caller:
        """Wrap a caller."""

        async def with_working_key(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
            key = self._key(target) if self._refused else None
            if key is not None:
                refusal, now = self._refused[key], asyncio.get_running_loop().time()
                if now < refusal.until:
                    detail = f"not asked: its key was refused ({refusal.status or refusal.kind.value}) and is disabled"
                    return Failure(target.name, refusal.kind, detail)
                refusal.until = now + _pause()  # whoever comes meanwhile does not try, too
            outcome = await call(target, request, deadline)
            if isinstance(outcome, Failure):
                if outcome.kind in _REFUSALS:
                    self._disable(target, outcome)
            elif key is not None:
                self._enable(key)
            return outcome

        return with_working_key

    def _key(self, target: Target) -> _Key | None:
        """Return what was refused that this target needs."""
        keys = (target.provider, ""), (target.provider, target.model)
        return next((key for key in keys if key in self._refused), None)

    def _disable(self, target: Target, failure: Failure) -> None:
        forbidden = failure.kind is FailureKind.CREDENTIAL and failure.status == _FORBIDDEN
        key = (target.provider, target.model if forbidden else "")
        known = key in self._refused
        self._refused[key] = _Refusal(failure.kind, failure.status, asyncio.get_running_loop().time() + _pause())
        if not known:
            self._listen(KeyDisabled(_named(key), failure.kind.value))

    def _enable(self, key: _Key) -> None:
        if self._refused.pop(key, None) is not None:
            self._listen(KeyEnabled(_named(key)))


_REFUSALS = frozenset({FailureKind.CREDENTIAL, FailureKind.QUOTA})
_FORBIDDEN = 403


def _named(key: _Key) -> str:
    return "/".join(filter(None, key))


def _pause() -> float:
    return PAUSE * random.uniform(0.8, 1.0)  # noqa: S311 -- no secret depends on it
