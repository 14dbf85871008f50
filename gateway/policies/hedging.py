"""Adaptive hedges: ask the next target when one is slower than usual, for few requests, and only where that can help.

After Dean and Barroso, "The Tail at Scale" (CACM 2013): a second call after the 95th percentile costs five percent more
calls and takes most of the tail away. Three things keep it from making an overload worse: a route's hedges are a small
share of its requests, a provider's budget must have room for each (see policies/budget.py), and there are none while
everything is slow. Pure but for the request's listener: the time is always handed in.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

from gateway.domain import ChatRequest, Plan, Target
from gateway.engine.events import BudgetDenied, HedgeWithheld, Why
from gateway.policies.budget import Budget

PERCENTILE, ENOUGH = 0.95, 50
"""What a target usually takes at most: this percentile of its times, once so many are known."""
WINDOW, AGE = 512, 3600.0
"""How many times are remembered, and for how many seconds."""
MEMORY = 300.0
"""Seconds until what is new has become the most part of what is usual."""
RECENT = 9
"""The times whose median says how a target is at present."""
SHARE, BURST = 0.05, 5.0
"""Hedges of a route: this share of its requests, and so many more in all, so that few requests can have one, too."""
VAIN, PAUSE = 3, 60.0
"""So many hedges in a row that came to nothing tell that the others are slow, too; after so many seconds one tries."""
MOST = 256
"""Targets whose times are kept."""

_Key: TypeAlias = tuple[str, str, bool]


class Times:
    """The times that one target took lately, in seconds, from the start of a branch until it landed.

    Of a live stream that is the time to the first words; of everything else the time to the whole answer. A hedge waits
    for exactly that, retries and their pauses included: nothing of an answer that is not streamed is seen before its
    end, so the time to its first token could not be known, nor would it tell a long answer from a slow target.

    A sorted window gives exact percentiles for about a microsecond per sample.
    """

    __slots__ = ("_last", "_sorted", "_usual", "_window")

    def __init__(self) -> None:
        self._window: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []
        self._last = 0.0
        self._usual = 0.0

    def add(self, took: float, now: float) -> None:
        """Take in one time; forget what is too old or too much."""
        window, ordered = self._window, self._sorted
        window.append((now, took))
        insort(ordered, took)
        while len(window) > WINDOW or window[0][0] < now - AGE:
            del ordered[bisect_left(ordered, window.popleft()[1])]
        high = self.high
        if high is not None:
            # What is usual follows slowly, and at once where nothing was usual before.
            self._usual += (high - self._usual) * (min(1.0, (now - self._last) / MEMORY) if self._usual else 1.0)
        self._last = now

    def add_at_least(self, took: float, now: float) -> None:
        """Take in the time of a branch that was given up: it would have taken longer.

        Left out, the slowest would never be known, since hedges cut them off: the percentile would fall, and fall
        again, until every request was hedged. One that was given up earlier than the percentile could have become
        anything, and is left out.
        """
        if self._sorted and took >= (self.high or self._sorted[-1]):
            self.add(took, now)

    @property
    def high(self) -> float | None:
        """What the target usually takes at most; None while too few times are known."""
        count = len(self._sorted)
        return self._sorted[math.ceil(PERCENTILE * count) - 1] if count >= ENOUGH else None

    def slow(self, now: float) -> bool:
        """Whether the target is slow at present: half of its last times are longer than it usually takes at most.

        One time in twenty is; five of nine are so by chance in one of 25,000 cases.
        """
        recent = [took for at, took in islice(reversed(self._window), RECENT) if at > now - PAUSE]
        return len(recent) == RECENT and 0 < self._usual < sorted(recent)[RECENT // 2]


class _Allowance:
    """What one route's hedges have left, and what became of the last ones."""

    __slots__ = ("left", "until", "vain")

    def __init__(self) -> None:
        self.left, self.vain, self.until = BURST, 0, 0.0


class Hedging:
    """Whom to help after how long: the times of each target, streaming or not, and the hedges of each route.

    One for the whole process, as the breakers are: a new configuration leaves what is known about the providers that it
    does not change.
    """

    def __init__(self, budget: Budget, doubts: Callable[[Target], bool] = lambda _: False) -> None:
        self._budget = budget
        self.doubts = doubts
        self.accounts: Mapping[str, Sequence[str]] = {}
        """The providers with several keys, and what each key goes by: any of them may pay for a hedge."""
        self._paid: defaultdict[str, list[Target]] = defaultdict(list)
        self._times: dict[_Key, Times] = {}
        self._routes: defaultdict[str, _Allowance] = defaultdict(_Allowance)

    def __len__(self) -> int:
        """Return how many targets' times are kept."""
        return len(self._times)

    def keep(self, providers: Collection[str]) -> None:
        """Forget all other providers, because they are no longer the same."""
        self._times = {key: times for key, times in self._times.items() if key[0] in providers}

    def enter(self, route: str) -> None:
        """Count a request of a route whose launch is adaptive."""
        allowance = self._routes[route]
        allowance.left = min(BURST, allowance.left + SHARE)

    def delay(self, target: Target, default: float, *, live: bool) -> float:
        """Return how long a target usually takes at most; the default, as long as that is not known."""
        times = self._times.get((target.provider, target.model, live))
        high = None if times is None else times.high
        return default if high is None else high

    def landed(self, target: Target, took: float, now: float, *, live: bool) -> None:
        """Take in how long a target took."""
        self._of(target, live=live).add(took, now)

    def outlasted(self, target: Target, took: float, now: float, *, live: bool) -> None:
        """Take in that a target, which was given up, would have taken longer than this."""
        self._of(target, live=live).add_at_least(took, now)

    def _of(self, target: Target, *, live: bool) -> Times:
        key = target.provider, target.model, live
        times = self._times.get(key)
        if times is None:
            if len(self._times) >= MOST:
                del self._times[next(iter(self._times))]
            times = self._times[key] = Times()
        return times

    def take(self, plan: Plan, target: Target, late: Sequence[Target], request: ChatRequest, now: float) -> bool:
        """Take a place for a hedge that is to help the `late` ones; where there is none, say why and return False.

        Everything is slow when the late ones are slower than usual and the last hedges were, too: they came to nothing
        before the late ones landed. It is not asked how long the hedged target takes otherwise, since one that
        is asked for hedges only is hardly known, and since another model may always be slower.
        """
        allowance = self._routes[plan.route] if plan.launch.adaptive else None
        if allowance is not None and allowance.vain >= VAIN and now < allowance.until:
            times = [self._times.get((each.provider, each.model, plan.live)) for each in late]
            if all(each is not None and each.slow(now) for each in times):
                return _withheld(target, request, "slow")
        if allowance is not None and allowance.left < 1:
            return _withheld(target, request, "share")
        payer = self._payer(target, self._budget.room)
        if not self._budget.take(payer, request, "hedge"):
            return _withheld(target, request, "budget")
        if payer is not target:
            self._paid[target.provider].append(payer)
        if allowance is not None:
            allowance.left -= 1
        return True

    def give_back(self, plan: Plan, target: Target, now: float, *, answered: bool) -> None:
        """Return the place, and note whether the hedge was of use."""
        paid = self._paid.get(target.provider)
        self._budget.give_back(paid.pop() if paid else target)
        if plan.launch.adaptive:
            allowance = self._routes[plan.route]
            allowance.vain = 0 if answered else allowance.vain + 1
            allowance.until = now + PAUSE

    def affords(self, target: Target, request: ChatRequest) -> bool:
        """Whether enough of a provider's calls succeed to ask it for what another failed to give; else say so.

        It takes no place: the call is not one more, it is the other's.
        """
        solvent = self._budget.solvent(self._payer(target, self._budget.solvent))
        if not solvent:
            request.listen(BudgetDenied(target.name, "share"))
        return solvent

    def _payer(self, target: Target, able: Callable[[Target], bool]) -> Target:
        """Return the target with the first of its provider's keys whose budget is able to pay, else with the first."""
        accounts = self.accounts.get(target.provider)
        if accounts is None:
            return target
        payers = [replace(target, provider=account) for account in accounts]
        return next((payer for payer in payers if able(payer)), payers[0])


def _withheld(target: Target, request: ChatRequest, why: Why) -> bool:
    request.listen(HedgeWithheld(target.name, why))
    return False
