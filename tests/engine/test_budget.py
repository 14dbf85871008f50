"""The budget of extra calls and the adaptive limit of calls in flight, on virtual time."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from fanin import Candidate
from gateway.domain import Answer, Caller, ChatRequest, Deadline, Failure, FailureKind, Outcome, Target
from gateway.engine import events
from gateway.policies import Breaker, Budget, Bulkhead, compose, retry
from gateway.policies.budget import LEAST
from gateway.policies.bulkhead import KNEE, Limit
from tests.support.clock import run

A = Target("a", "p", "a", retries=2)
DOWN = Failure("a", FailureKind.TRANSIENT, "503", status=503)
BROKEN = Failure("a", FailureKind.TRANSIENT, "reset", unheard=True)
LIMITED = Failure("a", FailureKind.RATE_LIMITED, "429", retry_after=2.0, status=429)
PARIS = Candidate("a", "Paris", payload=Answer({}))


class Upstream:
    """A caller that gives one outcome, after a while, and counts."""

    def __init__(self, outcome: Outcome, took: float = 0.1) -> None:
        self.outcome, self.took = outcome, took
        self.calls = self.running = self.most = 0

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.took)
        finally:
            self.running -= 1
        return self.outcome


async def storm(call: Caller, clients: int, heard: list[object]) -> None:
    """Ask for ten seconds, `clients` at once each second."""
    request = ChatRequest("req-1", "test", {}, listen=heard.append)
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            for _ in range(clients):
                group.create_task(_asked(call, request))
            await asyncio.sleep(1)


async def _asked(call: Caller, request: ChatRequest) -> None:
    await call(A, request, asyncio.get_running_loop().time() + 60)


def test_a_storm_of_failures_is_not_multiplied_by_retries() -> None:
    """All answer 503: no more than 1.2 calls for each request, where retries alone make three of each."""
    naive, upstream, budget = Upstream(DOWN), Upstream(DOWN), Budget()
    heard: list[object] = []
    run(storm(retry(naive), 20, []))
    run(storm(compose(partial(retry, budget=budget), budget)(upstream), 20, heard))
    assert naive.calls == 600
    assert upstream.calls <= 1.2 * 200
    assert events.BudgetDenied("a", "retry") in heard


def test_a_single_failure_is_retried_all_the_same() -> None:
    """The budget is for storms: one failing request is called again as often as the route says."""
    upstream, budget = Upstream(DOWN), Budget()
    run(_asked(compose(partial(retry, budget=budget), budget)(upstream), ChatRequest("req-1", "test", {})))
    assert upstream.calls == 3


def test_only_a_few_retries_are_under_way_at_once() -> None:
    """Four requests fail together: three places, so three are called again while the bucket is still full enough."""
    budget = Budget()
    request = ChatRequest("req-1", "test", {})
    assert [budget.take(A, request, "retry") for _ in range(LEAST + 1)] == [True] * LEAST + [False]
    budget.give_back(A)
    assert budget.take(A, request, "retry")


@pytest.mark.parametrize("failure", [LIMITED, BROKEN])
def test_a_call_that_cost_the_upstream_nothing_needs_no_budget(failure: Failure) -> None:
    """Twenty requests that are told to come again after 2 s all do, and so do twenty whose connections were reset."""
    upstream, budget = Upstream(failure), Budget()
    call = compose(partial(retry, budget=budget), budget)(upstream)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(_asked(call, ChatRequest("req-1", "test", {})))

    run(main())
    assert upstream.calls == 60


def test_successes_refill_the_bucket() -> None:
    """After a storm and fifty-one successes, failures are retried again."""
    upstream, budget = Upstream(DOWN, took=0), Budget()
    call = compose(partial(retry, budget=budget), budget)(upstream)
    request = ChatRequest("req-1", "test", {})

    async def main() -> int:
        for _ in range(10):
            await _asked(call, request)
        assert not budget.solvent(A)
        upstream.outcome = PARIS
        for _ in range(101):
            await _asked(call, request)
        assert budget.solvent(A)
        before, upstream.outcome = upstream.calls, DOWN
        await _asked(call, request)
        return upstream.calls - before

    assert run(main()) > 1


def test_the_limit_falls_once_for_a_burst_and_grows_by_one_a_round() -> None:
    """Sixteen refusals of one burst are one loss; as many successes as the limit earn one more place."""
    limit = Limit(256)
    for _ in range(16):
        limit.lost(began=0.0, now=1.0, in_flight=100)
    assert limit.now == 90.0
    for _ in range(90):
        limit.succeeded()
    assert 90.9 < limit.now < 91.0
    limit.lost(began=2.0, now=3.0, in_flight=3)
    assert limit.now == 0.9 * KNEE


def test_the_limit_stays_between_one_and_the_operators() -> None:
    """Whatever happens: never none, never more than configured."""
    limit = Limit(20)
    for second in range(100):
        limit.lost(began=float(second), now=float(second), in_flight=1)
    assert limit.now == 1.0
    for _ in range(10_000):
        limit.succeeded()
    assert limit.now == 20.0


def test_a_provider_that_limits_gets_fewer_calls_at_once() -> None:
    """After a few rounds of 429 no more than the limit are in flight, and the limit is below the configured one."""
    limited = Failure("a", FailureKind.RATE_LIMITED, "429", status=429)
    upstream, bulkhead = Upstream(limited), Bulkhead({"p": 100}, patience=0.0)
    call = bulkhead(upstream)
    run(storm(call, 50, []))
    assert upstream.most == 50
    assert bulkhead.limits == {"p": 15}
    assert bulkhead.in_flight == {"p": 0}


def test_waiters_are_served_in_turn_and_leave_when_cancelled() -> None:
    """One place, three callers, the second cancelled: the third follows the first, and the place is free at the end."""
    upstream, bulkhead = Upstream(PARIS, took=0.2), Bulkhead({"p": 1})
    call = bulkhead(upstream)
    request = ChatRequest("req-1", "test", {})

    async def main() -> float:
        loop = asyncio.get_running_loop()
        _first, second, third = (loop.create_task(call(A, request, 60.0)) for _ in range(3))
        await asyncio.sleep(0.1)
        assert bulkhead.waiting == {"p": 2}
        second.cancel()
        assert await third is PARIS
        assert bulkhead.in_flight == {"p": 0}
        return loop.time()

    assert 0.39 < run(main()) < 0.41


def test_the_policies_of_a_healthy_call_leave_nothing_behind() -> None:
    """Composed as the gateway does: the answer passes through, no place is kept."""
    upstream, budget, bulkhead = Upstream(PARIS), Budget(), Bulkhead({"p": 1})
    call = compose(partial(retry, budget=budget), Breaker(lambda _: None), budget, bulkhead)(upstream)

    async def main() -> list[Outcome]:
        return [await call(A, ChatRequest("req-1", "test", {}), 1e9) for _ in range(3)]

    assert run(main()) == [PARIS] * 3
    assert upstream.calls == 3
