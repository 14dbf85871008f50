"""The circuit breaker on virtual time: when it opens, whom it lets through, and how a target comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

import fanin
from fanin import Candidate
from gateway.domain import (
    Answer,
    Caller,
    ChatRequest,
    Deadline,
    Failure,
    FailureKind,
    Launch,
    Outcome,
    Plan,
    Target,
    Usage,
)
from gateway.engine import events
from gateway.engine.fanout import fan_out
from gateway.errors import AllTargetsFailed
from gateway.policies import Breaker, Budget, Hedging, attempt, compose, retry
from gateway.policies.circuit import PAUSE, RAMP, WINDOW, Circuit, Entry
from tests.support.clock import run

A = Target("a", "p", "a", retries=0)
B = Target("b", "q", "b", retries=0, priority=1)
REQUEST = ChatRequest("req-1", "test", {})
DOWN = FailureKind.TRANSIENT


def failed(circuit: Circuit, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        circuit.leave(circuit.enter(), False, now)


def opened(draw: float = 1.0) -> Circuit:
    """A circuit that opened at time 0 for `PAUSE` seconds."""
    circuit = Circuit(lambda: draw)
    failed(circuit, 5)
    return circuit


class Upstream:
    """A caller whose targets are down at some times; keeps when each was called, and how many calls ran at once."""

    def __init__(self, down: Callable[[str, float], FailureKind | None], took: float = 0.1) -> None:
        self.down, self.took = down, took
        self.calls: list[tuple[str, float]] = []
        self.running = self.most = 0

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        now = asyncio.get_running_loop().time()
        self.calls.append((target.name, now))
        kind = self.down(target.name, now)
        self.running += kind is not None
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.took)
        finally:
            self.running -= kind is not None
        if kind is None:
            return Candidate(target.name, "Paris", priority=target.priority, payload=Answer({}))
        return Failure(target.name, kind, "down", retry_after=30.0 if kind is FailureKind.RATE_LIMITED else None)

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)


def plan(*targets: Target, initial: int = 1, deadline: float = 60.0, select: fanin.Rule | None = None) -> Plan:
    now = asyncio.get_running_loop().time()
    return Plan("test", targets, Launch(initial), select or fanin.first(), now + deadline)


async def served(call: Caller, *targets: Target) -> str:
    """Ask a route with fallback; say who answered, or `nobody`."""
    try:
        return (await fan_out(plan(*targets), REQUEST, call)).selection.winner.target
    except AllTargetsFailed:
        return "nobody"


def test_five_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    """Four failures, a success, four failures: closed; the fifth in a row opens it."""
    circuit = Circuit()
    failed(circuit, 4)
    for healthy in (True, True, True, True):
        circuit.leave(circuit.enter(), healthy, 0.0)
    failed(circuit, 4, now=WINDOW)
    assert circuit.state == "closed"
    failed(circuit, 1, now=WINDOW)
    assert circuit.state == "open"


def test_half_of_ten_calls_within_the_window_open_it() -> None:
    """Failures and successes in turn open it at the tenth call; spread over minutes they do not."""
    dense, sparse = Circuit(), Circuit()
    for number in range(10):
        dense.leave(dense.enter(), number % 2 == 0, float(number))
        sparse.leave(sparse.enter(), number % 2 == 0, number * WINDOW)
    assert (dense.state, sparse.state) == ("open", "closed")


def test_what_says_nothing_about_the_target_does_not_open_it() -> None:
    """A hundred cancelled losers change nothing."""
    circuit = Circuit()
    for _ in range(100):
        circuit.leave(circuit.enter(), None, 0.0)
    assert circuit.state == "closed"
    assert circuit.forgettable(0.0)


def test_an_open_circuit_refuses_until_its_pause_is_over_and_then_lets_one_probe_through() -> None:
    """The pause is 5 s with equal jitter; a second call while the probe runs is refused."""
    for draw in (0.0, 1.0):
        circuit = opened(draw)
        pause = PAUSE * (0.5 + 0.5 * draw)
        assert circuit.refusal(0.0) == pause
        assert circuit.refusal(pause) == 0
        assert circuit.enter() is Entry.PROBE
        assert circuit.refusal(pause) > 0


def test_a_failed_probe_doubles_the_pause_up_to_a_third_of_the_outage() -> None:
    """5, 10, 20 s; then 20 s as long as the outage is younger than a minute; 300 s after hours."""
    circuit, now, pauses = opened(), 0.0, []
    for _ in range(30):
        pauses.append(circuit.refusal(now))
        now += pauses[-1]
        assert circuit.refusal(now) == 0
        circuit.leave(circuit.enter(), False, now)
    assert pauses[:4] == [5.0, 10.0, 20.0, 20.0]
    assert pauses[-1] == 300.0


def test_a_probe_that_was_superseded_leaves_room_for_the_next() -> None:
    """Nothing is known then, so the very next call probes."""
    circuit = opened()
    circuit.refusal(PAUSE)
    circuit.leave(circuit.enter(), None, PAUSE)
    assert circuit.refusal(PAUSE) == 0
    assert circuit.enter() is Entry.PROBE


def test_it_closes_after_two_successes_and_then_ramps() -> None:
    """Two calls may be in flight at first, one more with each success, and any number after sixteen."""
    circuit = opened()
    for _ in range(2):
        assert circuit.refusal(PAUSE) == 0
        circuit.leave(circuit.enter(), True, PAUSE)
    assert circuit.state == "closed"
    entries = [circuit.enter() for _ in range(RAMP[0])]
    assert circuit.refusal(PAUSE) > 0
    circuit.leave(entries.pop(), True, PAUSE)
    assert circuit.refusal(PAUSE) == 0
    for _ in range(RAMP[1]):
        circuit.leave(circuit.enter(), True, PAUSE)
    assert [circuit.enter() for _ in range(100)]
    assert circuit.refusal(PAUSE) == 0


def test_a_late_failure_of_a_call_from_before_does_not_lengthen_the_pause() -> None:
    """Of sixteen calls that fail together, the eleven after the fifth change nothing."""
    circuit = Circuit(lambda: 1.0)
    entries = [circuit.enter() for _ in range(16)]
    for entry in entries:
        circuit.leave(entry, False, 0.0)
    assert circuit.refusal(0.0) == PAUSE


def test_a_cooldown_is_extended_and_never_shortened() -> None:
    """30 s, then 5 s: 30 s remain. Then 60 s: 60 s. A day: five minutes, then it is asked again."""
    circuit = Circuit()
    remaining = []
    for seconds in (30.0, 5.0, 60.0, 86_400.0):
        circuit.cool(0.0, seconds)
        remaining.append(circuit.cooling(0.0))
    assert remaining == [30.0, 30.0, 60.0, 300.0]


def test_a_dead_target_is_passed_over_at_once() -> None:
    """After five requests that tried it, the next ones go to the second target without asking the first."""
    upstream = Upstream(lambda name, _: DOWN if name == "a" else None, took=1.0)
    changes: list[events.BreakerChanged] = []
    call = compose(retry, Breaker(changes.append))(upstream)

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        took = []
        for _ in range(7):
            started = loop.time()
            assert await served(call, A, B) == "b"
            took.append(loop.time() - started)
        return took

    took = run(main())
    assert took[:5] == [2.0] * 5
    assert took[5] == 1.0
    assert changes[0] == events.BreakerChanged("p/a", "open")


def test_a_minute_of_outage_is_served_throughout_and_left_within_half_a_minute() -> None:
    """60 s down, a request every 3 s: all are served; at most one probe runs; the first target is back 30 s later."""
    for _ in range(20):
        upstream = Upstream(lambda name, now: DOWN if name == "a" and now < 60 else None)
        call = compose(retry, Breaker(lambda _: None))(upstream)

        async def main(call: Caller = call) -> list[str]:
            winners = []
            async with asyncio.TaskGroup() as group:
                for number in range(33):
                    asked = group.create_task(served(call, A, B))
                    winners.append(asked)
                    if number >= 6:
                        winners.append(group.create_task(served(call, A, B)))  # two at once: only one of them probes
                    await asyncio.sleep(3)
            return [task.result() for task in winners]

        winners = run(main())
        assert "nobody" not in winners
        assert winners[-3:] == ["a"] * 3
        assert upstream.most == 1
        assert sum(name == "a" and 20 < at < 60 for name, at in upstream.calls) <= 5


def test_without_the_breaker_every_request_of_the_outage_asks_the_dead_target() -> None:
    """The control of the test above."""
    upstream = Upstream(lambda name, now: DOWN if name == "a" and now < 60 else None)

    async def main() -> None:
        for _ in range(20):
            await served(upstream, A, B)
            await asyncio.sleep(2.8)

    run(main())
    assert sum(name == "a" and 20 < at < 60 for name, at in upstream.calls) > 10


def test_the_last_target_is_asked_although_its_circuit_is_open() -> None:
    """A route with one target asks it once for each request, and has its answer as soon as it can give one."""
    upstream = Upstream(lambda _, now: DOWN if now < 1.05 else None)
    call = compose(retry, Breaker(lambda _: None))(upstream)

    async def main() -> list[str]:
        return [await served(call, A) for _ in range(13)]

    winners = run(main())
    assert upstream.count("a") == 13
    assert winners == ["nobody"] * 11 + ["a"] * 2


def test_when_all_circuits_are_open_one_target_is_asked_and_not_every_one() -> None:
    """With both down, a request of a fallback route costs one call."""
    upstream = Upstream(lambda *_: DOWN)
    call = compose(retry, Breaker(lambda _: None))(upstream)

    async def main() -> int:
        for _ in range(5):
            assert await served(call, A, B) == "nobody"
        before = len(upstream.calls)
        assert await served(call, A, B) == "nobody"
        return len(upstream.calls) - before

    assert run(main()) == 1


def test_the_only_healthy_target_that_fails_now_is_made_up_for_by_an_open_one() -> None:
    """The first is open but well again, the second fails: the first is asked after all."""
    upstream = Upstream(lambda name, now: DOWN if (name == "a") == (now < 0.95) else None)
    call = compose(retry, Breaker(lambda _: None))(upstream)

    async def main() -> list[str]:
        return [await served(call, A, B) for _ in range(6)]

    assert run(main()) == ["b"] * 5 + ["a"]


def test_a_probe_in_a_vote_is_not_waited_for_when_the_others_agree() -> None:
    """Two of three agree after 0.1 s: the silent third holds nobody up, and its one probe goes on to its timeout."""
    third = replace(B, name="c", provider="r", model="c", priority=2)
    upstream = Upstream(lambda name, now: DOWN if name == "c" and now < 1.0 else None)

    async def hanging(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        if target.name == "c" and asyncio.get_running_loop().time() > 1.0:
            upstream.calls.append(("c", 0.0))
            await asyncio.sleep(1e6)
        return await upstream(target, request, deadline)

    breaker = Breaker(lambda _: None)
    call = compose(breaker, attempt)(hanging)

    async def main() -> float:
        for _ in range(5):
            await fan_out(plan(A, B, third, initial=3, select=fanin.majority()), REQUEST, call)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(10)
        started, asked = loop.time(), upstream.count("c")
        for _ in range(3):
            await fan_out(plan(A, B, third, initial=3, select=fanin.majority()), REQUEST, call)
        took = loop.time() - started
        assert (upstream.count("c"), len(breaker.probes), breaker.doubts("r", "c")) == (asked + 1, 1, True)
        await asyncio.sleep(60)
        assert len(breaker.probes) == 0
        assert breaker._circuits["r", "c"].state == "open"
        return took

    assert run(main()) == pytest.approx(0.3)


class Route:
    """A route over a, b and c behind a breaker, on virtual time; a's circuit opens at once, its pause is over at 10.

    After that a does what `then` says: it answers after so many seconds, or (None) fails at once.
    """

    def __init__(self, then: float | None) -> None:
        self.then, self.calls, self.told = then, list[str](), list[events.Event]()
        self.breaker = Breaker(lambda _: None)
        self.call = compose(self.breaker, attempt)(self.upstream)
        self.hedging = Hedging(Budget(), lambda target: self.breaker.doubts(target.provider, target.model))

    async def upstream(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        self.calls.append(target.name)
        well = target.name != "a" or asyncio.get_running_loop().time() >= 10
        if well and (target.name != "a" or self.then is not None):
            await asyncio.sleep(0.1 if target.name != "a" else self.then or 0.0)
            return Candidate(target.name, "Paris", priority=target.priority, payload=Answer({}, Usage(3, 5)))
        return Failure(target.name, DOWN, "down")

    async def ask(self, launch: Launch) -> float:
        """Ask the route; return how long that took."""
        clock = asyncio.get_running_loop().time
        began, targets = clock(), (A, B, replace(B, name="c", provider="r", model="c", priority=2))
        intent = Plan("test", targets, launch, fanin.first(), began + 60)
        await fan_out(intent, ChatRequest("req-1", "test", {}, listen=self.told.append), self.call, self.hedging)
        return clock() - began

    async def opened(self, launch: Launch) -> None:
        """Let a's circuit open, and the pause pass."""
        for _ in range(5):
            await self.ask(launch)
        assert self.breaker.doubts("p", "a")
        await asyncio.sleep(10)
        self.calls.clear()
        self.told.clear()

    @property
    def state(self) -> str:
        circuit = self.breaker._circuits.get(("p", "a"))
        return "closed" if circuit is None else circuit.state


RHYTHMS = pytest.mark.parametrize("launch", [Launch(1), Launch(1, 2.0), Launch(1, 2.0, adaptive=True)])


@RHYTHMS
def test_nobody_waits_for_the_probe_of_a_silent_target(launch: Launch) -> None:
    """The next target is asked at the same time; the probe goes on to its timeout, and the circuit opens again."""
    route = Route(then=1e6)

    async def main() -> list[float]:
        await route.opened(launch)
        took = [await route.ask(launch), await route.ask(launch)]
        assert (sorted(route.calls), route.state) == (["a", "b", "b"], "half_open")
        await asyncio.sleep(60)
        assert (len(route.breaker.probes), route.state) == (0, "open")
        return took

    assert run(main()) == pytest.approx([0.1, 0.1])
    assert not any(isinstance(event, events.Launched) and event.hedge for event in route.told)


@RHYTHMS
def test_a_target_that_comes_back_slower_than_the_next_one_comes_back_all_the_same(launch: Launch) -> None:
    """Two probes that were overtaken close the circuit; their tokens are booked as lost; then it is asked alone."""
    route = Route(then=1.0)

    async def main() -> None:
        await route.opened(launch)
        for _ in range(2):
            assert await route.ask(launch) == pytest.approx(0.1)
            await asyncio.sleep(2)
        assert (len(route.breaker.probes), route.state) == (0, "closed")
        assert await route.ask(launch) == pytest.approx(1.0)

    run(main())
    assert (sorted(route.calls[:4]), route.calls[4:]) == (["a", "a", "b", "b"], ["a"])
    lost = [event.target for event in route.told if isinstance(event, events.Spent) and not event.won]
    assert lost == ["a", "a"]


@RHYTHMS
def test_a_probe_that_fails_at_once_asks_nobody_besides_the_next_one(launch: Launch) -> None:
    """The next is asked already: one failure starts no third call."""
    route = Route(then=None)

    async def main() -> None:
        await route.opened(launch)
        assert await route.ask(launch) == pytest.approx(0.1)

    run(main())
    assert (sorted(route.calls), route.state) == (["a", "b"], "open")


def test_a_probe_is_ended_with_the_gateway() -> None:
    """Nothing is left running behind it, and the circuit is not stuck: the next call may probe."""
    route = Route(then=1e6)

    async def main() -> None:
        await route.opened(Launch(1))
        await route.ask(Launch(1))
        await route.breaker.probes.aclose()
        assert len(route.breaker.probes) == 0
        await route.ask(Launch(1))
        await route.breaker.probes.aclose()

    run(main())
    assert sorted(route.calls) == ["a", "a", "b", "b"]


def test_a_limited_target_is_left_alone_for_as_long_as_it_says() -> None:
    """429 with Retry-After 30: the next request does not ask it, after 30 s one does."""
    upstream = Upstream(lambda name, now: FailureKind.RATE_LIMITED if name == "a" and now < 1.0 else None)
    call = compose(retry, Breaker(lambda _: None))(upstream)
    hurried = replace(A, patience=1.0, retries=1)

    async def main() -> list[str]:
        winners = [await served(call, hurried, B) for _ in range(5)]
        assert upstream.count("a") == 1
        await asyncio.sleep(30)
        return [*winners, await served(call, hurried, B)]

    assert run(main()) == ["b"] * 5 + ["a"]


def test_when_all_targets_are_limited_nobody_is_asked_and_the_client_hears_how_long() -> None:
    """A cooldown is not overridden by there being nobody else: it is 429 with the time that remains."""
    upstream = Upstream(lambda *_: FailureKind.RATE_LIMITED)
    call = compose(retry, Breaker(lambda _: None))(upstream)

    async def main() -> AllTargetsFailed:
        await served(call, replace(A, patience=1.0))
        with pytest.raises(AllTargetsFailed) as refused:
            await fan_out(plan(replace(A, patience=1.0)), REQUEST, call)
        return refused.value

    error = run(main())
    assert upstream.count("a") == 1
    assert error.status == 429
    assert error.failures[0].retry_after == pytest.approx(30.0, abs=1.0)


@pytest.mark.parametrize(("deadline", "state"), [(0.5, "closed"), (60.0, "open")])
def test_a_client_of_little_patience_does_not_make_a_target_unhealthy(deadline: float, state: str) -> None:
    """What its own short deadline cuts off says nothing about the target; a whole timeout does."""
    heard: list[events.BreakerChanged] = []

    async def silent(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        await asyncio.sleep(1e6)
        raise AssertionError

    call = Breaker(heard.append)(silent)

    async def main() -> None:
        for _ in range(5):
            with pytest.raises(AllTargetsFailed):
                await fan_out(plan(A, deadline=deadline), REQUEST, call)

    run(main())
    assert [event.state for event in heard] == ["open"] * (state == "open")


@pytest.mark.parametrize("kind", [FailureKind.CALLER_FAULT, FailureKind.CONTEXT_LENGTH, FailureKind.FILTERED])
def test_what_is_the_fault_of_the_request_does_not_open_it(kind: FailureKind) -> None:
    """Bad requests of one client must not take the target from the others."""
    heard: list[events.BreakerChanged] = []
    call = Breaker(heard.append)(Upstream(lambda *_: kind))

    async def main() -> None:
        for _ in range(20):
            await served(call, A)

    run(main())
    assert heard == []


def test_what_is_known_survives_a_reload_unless_the_provider_changed() -> None:
    """Of two open circuits the one of the provider that is kept stays open."""
    heard: list[events.BreakerChanged] = []
    upstream = Upstream(lambda *_: DOWN)
    breaker = Breaker(heard.append)
    call = breaker(upstream)

    async def main() -> tuple[FailureKind, FailureKind]:
        for _ in range(5):
            await call(A, REQUEST, 1e9)
            await call(B, REQUEST, 1e9)
        breaker.keep({"p"})
        outcomes = await call(A, REQUEST, 1e9), await call(B, REQUEST, 1e9)
        assert all(isinstance(outcome, Failure) for outcome in outcomes)
        return outcomes[0].kind, outcomes[1].kind  # type: ignore[union-attr]

    assert run(main()) == (FailureKind.CIRCUIT_OPEN, DOWN)
    assert heard[-1] == events.BreakerChanged("q/b", "closed")


def test_a_healthy_target_is_not_remembered() -> None:
    """Names that only clients invent leave nothing behind: memory belongs to those who failed lately."""
    upstream = Upstream(lambda name, now: DOWN if now < 0.05 else None)
    breaker = Breaker(lambda _: None)
    call = breaker(upstream)

    async def main() -> None:
        await call(A, REQUEST, 1e9)
        assert len(breaker) == 1
        await asyncio.sleep(WINDOW + 1)
        await call(A, REQUEST, 1e9)
        assert len(breaker) == 0

    run(main())
