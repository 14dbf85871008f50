"""The loop: launch, wait, add to the ballot, ask the selector, cancel and await the losers.

Race, hedge, fallback and escalation are this one loop with two numbers: how many targets start at once, and how long
until the next one starts by itself. A failure, or an undecided ballot with nothing in flight, starts the next at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import msgspec
from msgspec import Struct

from fanin import Ballot, Candidate, Opinion, Question, Rule, Seat, Selection
from gateway.domain import (
    Answer,
    Caller,
    ChatRequest,
    Deadline,
    Failure,
    FailureKind,
    Outcome,
    Plan,
    Scorer,
    Target,
)
from gateway.engine.awaiting import ended
from gateway.engine.chorus import Chorus
from gateway.engine.events import (
    Answered,
    Consulted,
    Consulting,
    Expired,
    Failed,
    Launched,
    Selected,
    SelectorFaulted,
    Spent,
    Superseded,
    tell_lost,
)
from gateway.engine.hedges import Hedges, Hedging
from gateway.engine.shares import Shares
from gateway.engine.standby import Standby
from gateway.engine.succession import next_up, passed_over
from gateway.errors import Abstained, AllTargetsFailed


class Verdict(Struct, frozen=True):
    """What came out: the decision, the ballot it was taken on, who was asked, and how long each branch took (seconds).

    `decided_at` is when the deciding answer arrived and `launched_at` when the first target was asked, both of
    `time.perf_counter`: what lies between is the providers' time, everything else the gateway's own. `parts` are the
    verdicts on the parts of a request that was split.
    """

    selection: Selection
    ballot: Ballot
    asked: int
    durations: dict[str, float]
    superseded: tuple[str, ...]
    launched_at: float
    decided_at: float
    consulted: tuple[Consulted, ...] = ()
    parts: tuple[Verdict, ...] = ()


async def fan_out(
    plan: Plan, request: ChatRequest, call: Caller, hedging: Hedging | None = None, shares: Shares | None = None
) -> Verdict:
    """Run one request through its plan; without `hedging` its stagger is kept, whatever that costs.

    A live winner's stream is open and belongs to the caller of this function; everything else is closed and awaited
    when this returns or raises.

    Raises:
        AllTargetsFailed: no target gave an answer before the deadline.
        Abstained: answers came, but the selector chose none.
    """
    flight = _Flight(plan, request, call, hedging, shares)
    ballot = Ballot(size=len(plan.targets), seats=tuple(Seat(t.name, t.priority, t.weight) for t in plan.targets))
    kept: tuple[Candidate, ...] = ()
    try:
        flight.launch(plan.launch.initial)
        while not kept:
            ballot = await flight.step(ballot)
            ballot, selection = await _advised(plan.select, ballot, request, flight)
            if selection is not None:
                kept = selection.together or (selection.winner,)
            elif ballot.closed:
                raise _nothing(plan, ballot, flight)
            elif flight.due:
                flight.proceed()
    finally:
        if not (kept and (plan.gathered or (plan.warm and _is_stream(kept)))):
            await flight.recall(ballot, kept)
    selection = _with_opinions(cast("Selection", selection), ballot)
    if plan.gathered:
        leader, kept = kept[0], ()
        selection = selection._replace(winner=Chorus(plan, request, flight, ballot, leader).led_by(leader))
    elif plan.continued and _is_stream(kept):
        standby = Standby(plan, request, call, flight, ballot)
        selection = selection._replace(winner=standby.led_by(selection.winner))
    return flight.verdict(ballot, selection, kept)


def _is_stream(kept: tuple[Candidate, ...]) -> bool:
    return bool(kept) and not isinstance(kept[0].payload, Answer)


async def _advised(
    rule: Rule, ballot: Ballot, request: ChatRequest, flight: _Flight
) -> tuple[Ballot, Selection | None]:
    """Ask the selector, and before that the scorers that it wants to hear; their opinions stand on the ballot."""
    selection = await _decide(rule, ballot, request)
    while selection is not None and selection.asks and selection.asks.scorer not in ballot.opinions:
        ballot = await flight.consult(selection.asks, ballot)
        selection = await _decide(rule, ballot, request)
    return ballot, selection


async def _decide(rule: Rule, ballot: Ballot, request: ChatRequest) -> Selection | None:
    """Ask the selector; one that raises against its contract costs its opinion, never the answer."""
    try:
        # A heavy one takes milliseconds of CPU, which the other requests must not wait for.
        return await asyncio.to_thread(rule, ballot) if rule.heavy else rule(ballot)
    except Exception as exc:  # noqa: BLE001 -- a third party's code: whatever it raises, there is an answer to give
        if not ballot.closed or not ballot.candidates:
            return None
        request.listen(SelectorFaulted(rule.name, exc))
        reason = f"{rule.name} raised {type(exc).__name__}: the highest-priority answer instead"
        return Selection(ballot.ranked()[0], reason, selector="priority")


def _with_opinions(selection: Selection, ballot: Ballot) -> Selection:
    """Say in the reason which scorers gave no advice, and why."""
    silent = [opinion.reason for opinion in ballot.opinions.values() if opinion.winner is None]
    return selection._replace(reason="; ".join([selection.reason, *silent])) if silent else selection


def _nothing(plan: Plan, ballot: Ballot, flight: _Flight) -> Exception:
    if ballot.candidates:
        return Abstained(plan.select.name, len(ballot.candidates), flight.asked)
    return AllTargetsFailed(cast("tuple[Failure, ...]", ballot.failures), flight.durations)


class _Flight:
    """The branches of one request: started in order, landed in order of arrival, recalled together."""

    def __init__(
        self, plan: Plan, request: ChatRequest, call: Caller, hedging: Hedging | None, shares: Shares | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._plan, self._request, self._call, self._shares = plan, request, call, shares
        hedged = plan.launch.stagger < math.inf and plan.launch.initial < len(plan.targets)
        self._hedges = Hedges(plan, request, hedging) if hedged else None
        self._doubts = hedging.doubts if hedging is not None and plan.launch.initial < len(plan.targets) else None
        self._besides: set[str] = set()
        self._queue = deque(plan.targets)
        self._running: dict[str, asyncio.Task[bool]] = {}
        self._started: dict[str, float] = {}
        self._arrivals: list[Outcome] = []
        self._next_start = 0.0
        self._waker: asyncio.Future[None] | None = None
        self._superseded: list[str] = []
        self._consultations: list[Consulted] = []
        self.durations: dict[str, float] = {}
        self._launched_at = self._last_arrival = time.perf_counter()

    @property
    def asked(self) -> int:
        return len(self._started)

    @property
    def over(self) -> bool:
        """Whether nothing more can come: all have landed, or the deadline has passed."""
        return not (self._running or self._queue or self._arrivals) or self._loop.time() >= self._plan.deadline

    @property
    def waiting(self) -> bool:
        """Whether a branch that was started may still land."""
        return bool(self._running or self._arrivals)

    @property
    def due(self) -> bool:
        """Whether the next target starts now, by its time or because nobody else is in flight."""
        return bool(self._queue) and (not self._running or self._loop.time() >= self._next_start)

    def launch(self, count: int = 1, *, hedge: bool = False) -> None:
        """Ask the next `count` targets, as far as there are any left and time to wait for them."""
        now = self._loop.time()
        if now >= self._plan.deadline and not hedge:  # a hedge's place is taken: it must be given back by a branch
            return
        if self._doubts is None or hedge:  # there is a place for one hedge
            targets = [self._queue.popleft() for _ in range(min(count, len(self._queue)))]
        else:
            targets = next_up(self._queue, count, self._doubts, self._besides)
        self._next_start = math.inf if self._hedges is None else now + self._hedges.delay(targets)
        for target in targets:
            self._started[target.name] = now
            self._request.listen(Launched(target.name, now, hedge))
            task = self._running[target.name] = self._loop.create_task(self._branch(target))
            if hedge and self._hedges is not None:
                self._hedges.started(target, task)

    def proceed(self) -> None:
        """Ask the next target: because nobody else is in flight; else as a hedge, where one may be started."""
        hedges, now = self._hedges, self._loop.time()
        if not self._running or hedges is None:
            self.launch()
        elif now < self._plan.deadline and hedges.allowed(self._queue[0], self._running, now):
            self.launch(hedge=True)
        else:
            self._next_start = now + hedges.pause

    def closed(self, ballot: Ballot) -> Ballot:
        """Close the ballot; but where nobody has answered, ask first those who were not asked for their open circuits.

        As many as start at once, those first that would be asked again soonest: not all, which are down as it seems.
        """
        kind, plan = FailureKind.CIRCUIT_OPEN, self._plan
        refused = [f for f in ballot.failures if f.kind is kind and plan.target(f.target)]
        if self._request.insist or not refused or ballot.candidates or self._loop.time() >= self._plan.deadline:
            return self.expire(ballot).close()
        soonest = sorted(cast("list[Failure]", refused), key=lambda failure: failure.retry_after or 0.0)
        names = {failure.target for failure in soonest[: self._plan.launch.initial]}
        self._request = msgspec.structs.replace(self._request, insist=True)
        self._queue.extend(target for target in plan.targets if target.name in names)
        self.launch(len(names))
        return replace(ballot, failures=tuple(f for f in ballot.failures if f.target not in names))

    def take(self, outcome: Outcome, ballot: Ballot) -> Ballot:
        """Add what landed to the ballot; after a failure, ask the next target."""
        ballot = ballot.add(outcome)
        if isinstance(outcome, Failure):
            for passed in passed_over(outcome, self._plan, self._queue):
                ballot = ballot.add(passed)
            if outcome.target not in self._besides:
                self.launch()
        return ballot

    def _make_up(self, shares: Shares, ballot: Ballot) -> None:
        """Ask others for the shares of those that failed, before anybody else."""
        branches = list(shares.made_up(ballot, self._running, self._queue))
        if branches:
            self._queue.extendleft(reversed(branches))
            self.launch(len(branches))

    async def _branch(self, target: Target) -> bool:
        """Ask one target; return whether it answered."""
        started = self._loop.time()
        cause = None
        try:
            outcome = await self._call(target, self._request, self._plan.deadline)
        except Exception as exc:  # noqa: BLE001 -- a caller that breaks its promise must not take its siblings down
            cause = exc
            outcome = Failure(target.name, FailureKind.UNKNOWN, "a fault inside the gateway")
        self._last_arrival, now = time.perf_counter(), self._loop.time()
        self.durations[target.name] = duration = now - started
        if isinstance(outcome, Failure):
            self._request.listen(Failed(outcome, now, duration, cause))
        else:
            self._request.listen(Answered(target.name, now, duration))
            if self._plan.live and not self._plan.continued and _is_stream((outcome,)):
                outcome.payload.forget()
        if self._hedges is not None:
            self._hedges.learn(target, outcome, duration, now)
        self._arrivals.append(outcome)
        del self._running[target.name]
        self._wake()
        return not isinstance(outcome, Failure)

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def landed(self) -> list[Outcome]:
        """Wait until a branch lands, the next launch is due or the deadline passes; return what landed, in order."""
        if not self._arrivals:
            until = min(self._plan.deadline, self._next_start) if self._queue else self._plan.deadline
            alarm = self._loop.call_at(until, self._wake)
            try:
                return await self.another()
            finally:
                alarm.cancel()
        return await self.another()

    async def step(self, ballot: Ballot) -> Ballot:
        """Wait for what lands and return the ballot with it, closed when nothing more can come."""
        for outcome in await self.landed():
            ballot = self.take(outcome, ballot)
        if self._shares is not None and self._loop.time() < self._plan.deadline:
            self._make_up(self._shares, ballot)
        return self.closed(ballot) if self.over else ballot

    async def another(self) -> list[Outcome]:
        """Wait until a branch lands, or somebody wakes us, whatever the clock says; return what landed, in order."""
        if not self._arrivals:
            self._waker = self._loop.create_future()
            await self._waker
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    def expire(self, ballot: Ballot) -> Ballot:
        """Write the branches that the deadline overtook into the ballot as failures."""
        late = tuple(self._running)
        if late:
            self._last_arrival, now = time.perf_counter(), self._loop.time()
            self._request.listen(Expired(late, now))
            for name in late:
                self.durations[name] = duration = now - self._started[name]
                failure = Failure(name, FailureKind.TIMEOUT, "no answer before the route's deadline")
                self._request.listen(Failed(failure, now, duration))
                ballot = ballot.add(failure)
        return ballot

    async def recall(self, ballot: Ballot, kept: tuple[Candidate, ...]) -> None:
        """Cancel and await the branches still running, and close every stream that is not kept.

        A cancellation that comes meanwhile waits until that is done; nobody takes the winner then, so it is closed too.
        """
        losers = dict(self._running)
        for task in losers.values():
            task.cancel()
        interrupted = await ended(losers.values())
        now = self._loop.time()
        for name in losers:
            if name not in self.durations:
                self.durations[name] = now - self._started[name]
                self._superseded.append(name)
                self._request.listen(Superseded(name, now, self.durations[name]))
            if self._hedges is not None:
                self._hedges.cut(name, self.durations[name], now)
        landed = [outcome for outcome in (*ballot.candidates, *self._arrivals) if isinstance(outcome, Candidate)]
        lost = [outcome for outcome in landed if not any(outcome is candidate for candidate in kept)]
        interrupted = await self._close(lost) or interrupted
        if interrupted is not None:
            await self._close(kept)
            raise interrupted

    async def _close(self, losers: Iterable[Candidate]) -> asyncio.CancelledError | None:
        """Close losing answers and book their tokens; return the cancellation that came meanwhile."""
        streams = [loser.payload for loser in losers if loser.payload and not isinstance(loser.payload, Answer)]
        interrupted = await ended([self._loop.create_task(stream.aclose()) for stream in streams])
        for loser in losers:
            if loser.payload is not None:
                tell_lost(loser, self._request.listen)
        return interrupted

    async def consult(self, question: Question, ballot: Ballot) -> Ballot:
        """Ask a scorer and note its opinion on the ballot; one that raises has none."""
        plan, scorer = self._plan, cast("Scorer", question.scorer)
        limit = min(plan.decide_by, self._loop.time() + plan.decide_by - plan.deadline)
        try:
            opinion = await scorer(question.candidates, self._request, self._consulted, limit)
        except Exception as exc:  # noqa: BLE001 -- as in _decide
            self._request.listen(SelectorFaulted(scorer.target.name, exc))
            opinion = Opinion(None, f"{scorer.target.name} raised {type(exc).__name__}")
        self._last_arrival = time.perf_counter()
        return replace(ballot, opinions={**ballot.opinions, scorer: opinion})

    async def _consulted(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        """Make a scorer's call, through the same policies as any other, and book it."""
        started = self._loop.time()
        self._request.listen(Consulting(target.name))
        outcome = await self._call(target, request, deadline)
        failure = outcome if isinstance(outcome, Failure) else None
        usage = None if isinstance(outcome, Failure) else outcome.payload.usage
        consulted = Consulted(target.name, self._loop.time() - started, usage, failure)
        self._consultations.append(consulted)
        self._request.listen(consulted)
        if usage is not None:
            self._request.listen(Spent(target.name, usage, won=False, fate="judge"))
        return outcome

    def verdict(self, ballot: Ballot, selection: Selection, kept: tuple[Candidate, ...]) -> Verdict:
        """Announce and return the decision."""
        first = self._plan.targets[0].name
        rescued = selection.winner.target != first and any(failure.target == first for failure in ballot.failures)
        self._request.listen(Selected(selection, ballot, self._loop.time(), rescued))
        for candidate in kept:
            if isinstance(candidate.payload, Answer) and candidate.payload.usage is not None:
                self._request.listen(Spent(candidate.target, candidate.payload.usage, won=True))
        return Verdict(
            selection=selection,
            ballot=ballot,
            asked=self.asked,
            durations=self.durations,
            superseded=tuple(self._superseded),
            launched_at=self._launched_at,
            decided_at=self._last_arrival,
            consulted=tuple(self._consultations),
        )
