"""The circuit breaker: a target that fails again and again is not asked for a while; the next one starts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeAlias

from fanin import Candidate
from gateway.domain import Answer, Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target
from gateway.engine.events import BreakerChanged
from gateway.live_stream import LiveStream
from gateway.policies.circuit import Circuit, Entry
from gateway.policies.probing import Probes

MOST = 1024
"""Circuits that are kept before the calm ones among them are dropped."""
_FAIR = 0.9
"""The share of its own timeout that a target must have had: a client's short patience does not make it unhealthy."""

_Key: TypeAlias = tuple[str, str]
_Passed: TypeAlias = tuple[Circuit, Entry]


class Breaker:
    """One circuit for each model of each provider that has failed lately; the others cost a lookup.

    It refuses with a failure: CIRCUIT_OPEN, or RATE_LIMITED while the upstream's own Retry-After runs. A request that
    has nobody else to ask comes again with `insist` and passes, except for the latter. `listen` hears of every change.
    """

    def __init__(self, listen: Callable[[BreakerChanged], None]) -> None:
        self.listen = listen
        self.probes = Probes()
        self._circuits: dict[_Key, Circuit] = {}

    def __len__(self) -> int:
        """Return how many circuits are kept."""
        return len(self._circuits)

    def doubts(self, provider: str, model: str) -> bool:
        """Whether a model's circuit is open, or half open."""
        circuit = self._circuits.get((provider, model))
        return circuit is not None and circuit.state != "closed"

    def keep(self, providers: Collection[str]) -> None:
        """Drop what is known about all other providers, because they are no longer the same."""
        for provider, model in [key for key in self._circuits if key[0] not in providers]:
            if self._circuits.pop((provider, model)).state != "closed":
                self.listen(BreakerChanged(f"{provider}/{model}", "closed"))

    def __call__(self, call: Caller) -> Caller:
        """Wrap a caller."""

        async def within_circuit(
            target: Target, request: ChatRequest, deadline: Deadline, passed: _Passed | None = None
        ) -> Outcome:
            loop = asyncio.get_running_loop()
            started = loop.time()
            key = target.provider, target.model
            circuit = self._circuits.get(key)
            if circuit is not None and passed is None:
                refused = self._refused(circuit, target, request, started)
                if refused is not None:
                    return refused
                passed = circuit, circuit.enter()
                if passed[1] is Entry.PROBE:
                    return await self.probes.ask(partial(within_circuit, passed=passed), target, request, deadline)
            outcome: Outcome | None = None
            try:
                outcome = await call(target, request, deadline)
            finally:
                if passed is not None or not isinstance(outcome, Candidate):
                    now = loop.time()
                    fair = now < deadline or deadline - started >= _FAIR * target.timeout
                    healthy = _healthy(outcome, fair=fair, overdue=now >= deadline)
                    self._left(key, passed, outcome, healthy, now)
            if isinstance(outcome, Candidate) and not isinstance(outcome.payload, Answer):
                stream = outcome.payload
                stream.on_close(lambda: self._ended(key, stream, loop.time()))
            return outcome

        return within_circuit

    def _refused(self, circuit: Circuit, target: Target, request: ChatRequest, now: float) -> Failure | None:
        cooling = circuit.cooling(now)
        if cooling:
            detail = f"not asked: the provider wants no calls for {cooling:.3g} s more"
            return Failure(target.name, FailureKind.RATE_LIMITED, detail, retry_after=cooling)
        before = circuit.state
        wait = circuit.refusal(now)
        self._announce((target.provider, target.model), before, circuit)
        if not wait or request.insist:
            return None
        return Failure(target.name, FailureKind.CIRCUIT_OPEN, "not asked: it failed too often just now", wait)

    def _left(
        self, key: _Key, passed: _Passed | None, outcome: Outcome | None, healthy: bool | None, now: float
    ) -> None:
        limit = None
        if isinstance(outcome, Failure) and outcome.kind is FailureKind.RATE_LIMITED:
            limit = outcome.retry_after
        circuit, entry = passed or (self._circuits.get(key), None)
        if circuit is None:
            if healthy is not False and limit is None:
                return
            circuit = self._circuit(key, now)
        before = circuit.state
        circuit.leave(entry, healthy, now)
        if limit is not None:
            circuit.cool(now, limit)
        self._announce(key, before, circuit)
        if healthy and circuit.forgettable(now):
            self._circuits.pop(key, None)

    def _ended(self, key: _Key, stream: LiveStream, now: float) -> None:
        """Note the end of a live stream, whose first words had counted as a success."""
        if stream.failure is None or not stream.failure.kind.counts_against_health:
            return
        circuit = self._circuit(key, now)
        before = circuit.state
        circuit.broke_off(now)
        self._announce(key, before, circuit)

    def _circuit(self, key: _Key, now: float) -> Circuit:
        circuit = self._circuits.get(key)
        if circuit is None:
            if len(self._circuits) >= MOST:
                self._circuits = {k: kept for k, kept in self._circuits.items() if not kept.forgettable(now)}
            circuit = self._circuits[key] = Circuit()
        return circuit

    def _announce(self, key: _Key, before: str, circuit: Circuit) -> None:
        if circuit.state != before:
            self.listen(BreakerChanged("/".join(key), circuit.state))


def _healthy(outcome: Outcome | None, *, fair: bool, overdue: bool) -> bool | None:
    """Say what an outcome tells about the target; nothing where it was cancelled (None) for another's answer."""
    if isinstance(outcome, Candidate):
        return True
    if outcome is None or outcome.kind is FailureKind.TIMEOUT:
        return False if fair and (overdue or outcome is not None) else None
    return False if outcome.kind.counts_against_health else None
