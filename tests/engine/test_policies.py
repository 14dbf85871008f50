"""The policies on virtual time: what they call again, how long they wait, and what they never swallow."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_

from fanin import Candidate
from gateway.domain import Answer, Caller, Failure, FailureKind, Outcome, Target
from gateway.engine import events
from gateway.policies import Bulkhead, attempt, compose, retry
from tests.support.clock import run
from tests.support.scripted import Script, script


def ask(scripted: Script, policy: Caller, *, deadline: float = 60, **target: float) -> tuple[Outcome, float]:
    """Ask the script's first target through a policy; return the outcome and when it came."""

    async def main() -> tuple[Outcome, float]:
        outcome = await policy(replace(scripted.targets[0], **target), scripted.request(), deadline)  # type: ignore[arg-type]
        return outcome, asyncio.get_running_loop().time()

    return run(main())


def answering(*outcomes: Outcome) -> tuple[Caller, list[float]]:
    """A caller that gives these outcomes one after another, and the times it was called at."""
    times: list[float] = []

    async def call(target, request, deadline):  # type: ignore[no-untyped-def]
        times.append(asyncio.get_running_loop().time())
        return outcomes[min(len(times), len(outcomes)) - 1]

    return call, times


LIMITED = Failure("a", FailureKind.RATE_LIMITED, "slow down", retry_after=2.0)
PARIS = Candidate("a", "Paris", payload=Answer({}))


def test_a_transient_failure_is_called_again_after_a_jittered_pause() -> None:
    """One 500 is retried once, between the 50 ms floor and the 0.5 s of the first full-jitter step."""
    scripted = script("a: 0s 500, 0s Paris")
    outcome, at = ask(scripted, retry(scripted.call))
    assert isinstance(outcome, Candidate)
    assert scripted.calls["a"] == 2
    assert 0.05 <= at <= 0.5


def test_the_pauses_grow_and_stay_below_the_cap() -> None:
    """Six retries wait at most 0.5 + 1 + 2 + 4 + 8 + 8 seconds."""
    scripted = script("a: 0s 503")
    outcome, at = ask(scripted, retry(scripted.call), retries=6, deadline=1e6)
    assert isinstance(outcome, Failure)
    assert scripted.calls["a"] == 7
    assert at <= 23.5


@pytest.mark.parametrize("word", ["400", "401"])
def test_a_failure_that_would_repeat_itself_is_not_called_again(word: str) -> None:
    """The caller's fault and a refused key are final."""
    scripted = script(f"a: 0s {word}")
    ask(scripted, retry(scripted.call), retries=5)
    assert scripted.calls["a"] == 1


def test_retry_after_is_a_floor_with_up_to_a_tenth_on_top() -> None:
    """The upstream said 2 s: the second call comes after 2.0 to 2.2 s."""
    call, times = answering(LIMITED, PARIS)
    outcome, _ = ask(script("a: hang"), retry(call))
    assert outcome is PARIS
    assert 2.0 <= times[1] <= 2.2


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    """The failure is returned at once, so that another target gets the time."""
    call, times = answering(LIMITED)
    outcome, at = ask(script("a: hang"), retry(call), deadline=1.5)
    assert outcome is LIMITED
    assert at == 0
    assert len(times) == 1


def test_a_retry_after_beyond_two_minutes_is_not_retried() -> None:
    """openai-python's rule: such a number means "not in this request"."""
    call, times = answering(replace(LIMITED, retry_after=121.0))
    ask(script("a: hang"), retry(call), deadline=1e6)
    assert len(times) == 1


def test_a_cancelled_retry_is_not_called_again() -> None:
    """A superseded loser stays superseded: neither its pause nor its call survives the cancellation."""
    scripted = script("a: 0s 503, 9s 503, 9s Paris")

    async def main() -> None:
        async with asyncio.timeout(8):
            await retry(scripted.call)(replace(scripted.targets[0], retries=9), scripted.request(), 1e6)

    with pytest.raises(TimeoutError):
        run(main())
    assert scripted.calls["a"] == 2


def test_an_attempt_ends_at_the_target_s_timeout_and_is_announced() -> None:
    """A silent target fails as `timeout` after its own limit, long before the route's deadline."""
    scripted = script("a: hang")
    outcome, at = ask(scripted, attempt(scripted.call), timeout=3)
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.detail, at) == (FailureKind.TIMEOUT, "no answer within 3 s", 3)
    assert scripted.events == [events.Attempted("a", FailureKind.TIMEOUT, 3)]


def test_a_live_attempt_ends_when_no_words_came_in_time_and_is_not_repeated() -> None:
    """Silence would only repeat itself: the time belongs to the next target. A whole answer may take its time."""
    scripted = script("a: hang")
    live = replace_(scripted.request(), live=True)
    policy = compose(retry, attempt)(scripted.call)
    target = replace(scripted.targets[0], first_token=3.0, timeout=20.0, retries=2)

    async def main() -> list[tuple[Outcome, float]]:
        loop = asyncio.get_running_loop()
        return [(await policy(target, request, 60), loop.time()) for request in (live, scripted.request())]

    (hurried, at), (whole, later) = run(main())
    assert isinstance(hurried, Failure)
    assert (hurried.kind, hurried.detail, at) == (FailureKind.TIMEOUT, "no words within 3 s", 3)
    assert isinstance(whole, Failure)
    assert (whole.detail, later) == ("no answer within 20 s", 23)
    assert scripted.calls["a"] == 2


def test_an_attempt_never_outlives_the_deadline() -> None:
    """The deadline is absolute and wins over a longer timeout."""
    scripted = script("a: hang")
    _, at = ask(scripted, attempt(scripted.call), timeout=30, deadline=2)
    assert at == 2


def test_a_cancelled_attempt_is_announced_as_superseded() -> None:
    """A loser's attempt is counted, but not as a failure of its target."""
    scripted = script("a: hang")

    async def main() -> None:
        async with asyncio.timeout(1):
            await attempt(scripted.call)(scripted.targets[0], scripted.request(), 60)

    with pytest.raises(TimeoutError):
        run(main())
    assert scripted.events == [events.Attempted("a", FailureKind.SUPERSEDED, 1)]


def test_a_full_bulkhead_refuses_after_its_patience_and_has_room_again_later() -> None:
    """The third of three callers in a room for two is refused after a second; later ones get in."""
    scripted = script("a: 5s Paris")
    bulkhead = Bulkhead({"scripted": 2})

    async def main() -> list[Outcome]:
        call = bulkhead(scripted.call)
        target, request = scripted.targets[0], scripted.request()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call(target, request, 60)) for _ in range(3)]  # type: ignore[arg-type]
        return [task.result() for task in tasks] + [await call(target, request, 60)]

    outcomes = run(main())
    assert [type(outcome).__name__ for outcome in outcomes] == ["Candidate", "Candidate", "Failure", "Candidate"]
    assert outcomes[2].kind is FailureKind.BULKHEAD_FULL  # type: ignore[union-attr]


def test_a_cancelled_call_leaves_the_bulkhead() -> None:
    """Losers give their places back."""
    scripted = script("a: hang")
    bulkhead = Bulkhead({"scripted": 1})

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await bulkhead(scripted.call)(scripted.targets[0], scripted.request(), 60)

    run(main())
    assert scripted.calls["a"] == 3


def test_an_open_stream_keeps_its_place_until_it_is_closed() -> None:
    """What is limited is connections: a live stream counts until its end."""

    class Stream:
        def on_close(self, callback):  # type: ignore[no-untyped-def]
            self.close = callback

    stream = Stream()
    call, times = answering(Candidate("a", "Pa", payload=stream), PARIS)
    bulkhead = Bulkhead({"scripted": 1})

    async def main() -> list[Outcome]:
        target, request = Target("a", "scripted", "a"), script("a: hang").request()
        outcomes = [await bulkhead(call)(target, request, 60), await bulkhead(call)(target, request, 60)]
        stream.close()
        return [*outcomes, await bulkhead(call)(target, request, 60)]

    first, second, third = run(main())
    assert first.payload is stream  # type: ignore[union-attr]
    assert isinstance(second, Failure)
    assert third is PARIS
    assert times == [0, 1]


def test_policies_compose_from_left_outermost_to_right_innermost() -> None:
    """`compose(a, b)(call)` enters a first."""
    order: list[str] = []

    def policy(name: str):  # type: ignore[no-untyped-def]
        def wrap(call: Caller) -> Caller:
            async def wrapped(target, request, deadline):  # type: ignore[no-untyped-def]
                order.append(name)
                return await call(target, request, deadline)

            return wrapped

        return wrap

    scripted = script("a: 0s Paris")
    ask(scripted, compose(policy("outer"), policy("inner"))(scripted.call))
    assert order == ["outer", "inner"]


def test_a_retry_waits_outside_the_bulkhead() -> None:
    """Composed as the gateway does, a pausing retry holds no place in the bulkhead."""
    scripted = script("a: 0s 429, 0s Paris")
    limited, times = answering(LIMITED, PARIS, PARIS)
    call = compose(retry, Bulkhead({"scripted": 1}), attempt)(limited)

    async def main() -> float:
        target, request = scripted.targets[0], scripted.request()
        async with asyncio.TaskGroup() as group:
            group.create_task(call(target, request, 60))  # type: ignore[arg-type]
            await asyncio.sleep(0.1)
            await call(target, request, 60)
            return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(0.1)
    assert len(times) == 3
