"""The hedges of one request: when the next target is asked only because the others are slow, and whether it may be."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Sequence
from typing import Protocol

from gateway.domain import ChatRequest, Failure, FailureKind, Outcome, Plan, Target


class Hedging(Protocol):
    """What is known about the times of the targets, and what hedges may cost (see policies/hedging.py).

    Times named `took` and those returned are seconds, `now` is on the event loop's clock.
    """

    def enter(self, route: str) -> None:
        """Count a request of a route whose launch is adaptive."""
        ...

    def delay(self, target: Target, default: float, *, live: bool) -> float:
        """Return how long a target usually takes at most; the default, as long as that is not known."""
        ...

    def landed(self, target: Target, took: float, now: float, *, live: bool) -> None:
        """Hear how long a target took."""
        ...

    def outlasted(self, target: Target, took: float, now: float, *, live: bool) -> None:
        """Hear that a target, which was given up, would have taken longer than this."""
        ...

    def take(self, plan: Plan, target: Target, late: Sequence[Target], request: ChatRequest, now: float) -> bool:
        """Take a place for a hedge that is to help the `late` ones; where there is none, say why and return False."""
        ...

    def give_back(self, plan: Plan, target: Target, now: float, *, answered: bool) -> None:
        """Return the place, and say whether the hedge came to an answer before it was given up."""
        ...

    def doubts(self, target: Target) -> bool:
        """Whether a target has failed so often lately that nobody should wait for it alone."""
        ...

    def affords(self, target: Target, request: ChatRequest) -> bool:
        """Whether a target may be asked once more for what another failed to give; where it may not, say so."""
        ...


class Hedges:
    """When and how often this request asks another target by its time. Without `hedging` it costs nobody anything."""

    __slots__ = ("_hedging", "_left", "_plan", "_request", "_taught")

    def __init__(self, plan: Plan, request: ChatRequest, hedging: Hedging | None) -> None:
        self._plan, self._request, self._hedging = plan, request, hedging
        self._taught = hedging if plan.launch.adaptive else None
        self._left = plan.launch.hedges
        if self._taught is not None:
            self._taught.enter(plan.route)

    def delay(self, started: Sequence[Target]) -> float:
        """Return after how many seconds those that start together should all have landed."""
        launch, taught, live = self._plan.launch, self._taught, self._plan.live
        if not (self._left and started):
            return math.inf
        if taught is None:
            return launch.stagger
        return max(taught.delay(target, launch.stagger, live=live) for target in started)

    @property
    def pause(self) -> float:
        """After how many seconds to try again what was not allowed; an adaptive launch has had its moment."""
        return self._plan.launch.stagger if self._taught is None else math.inf

    def allowed(self, target: Target, running: Collection[str], now: float) -> bool:
        """Take a place for a hedge with this target, beside those that are running."""
        if self._hedging is not None:
            late = [each for each in self._plan.targets if each.name in running]
            if not self._hedging.take(self._plan, target, late, self._request, now):
                return False
        self._left -= 1
        return True

    def started(self, target: Target, branch: asyncio.Task[bool]) -> None:
        """Give the place back when the branch of a hedge is over, however it ends."""
        hedging, plan = self._hedging, self._plan
        if hedging is None:
            return

        def over(branch: asyncio.Task[bool]) -> None:
            answered = not branch.cancelled() and branch.result()
            hedging.give_back(plan, target, branch.get_loop().time(), answered=answered)

        branch.add_done_callback(over)

    def learn(self, target: Target, outcome: Outcome, took: float, now: float) -> None:
        """Note how long a branch took; one that failed early says nothing, since nobody waits for it any longer."""
        if self._taught is None:
            return
        if not isinstance(outcome, Failure):
            self._taught.landed(target, took, now, live=self._plan.live)
        elif outcome.kind is FailureKind.TIMEOUT:
            self._taught.outlasted(target, took, now, live=self._plan.live)

    def cut(self, name: str, took: float, now: float) -> None:
        """Note for how long a branch was waited for in vain."""
        if self._taught is not None and (target := self._plan.target(name)):  # nobody waited for one that made up
            self._taught.outlasted(target, took, now, live=self._plan.live)
