"""The shares of a client's `n`: what a target that fails leaves is asked of another one, by the same loop.

The second call to a target is a branch of its own, called `b for a`: so its time, its failure and its answer stand
beside those of the target's own branch. Whoever listens hears of it under the target's own name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from msgspec.structs import replace as altered

from fanin import Ballot, Candidate, Selection
from gateway.domain import Answer, Caller, ChatRequest, Deadline, FailureKind, Outcome, Plan, Target
from gateway.engine.choices import count
from gateway.engine.events import (
    Answered,
    Event,
    Expired,
    Failed,
    Launched,
    MadeUp,
    Selected,
    Spent,
    Streamed,
    Superseded,
)
from gateway.engine.hedges import Hedging

_OF_ONE = Launched, Answered, Superseded, Spent, Streamed
_REQUEST_S = {FailureKind.CALLER_FAULT, FailureKind.CONTEXT_LENGTH}


class Shares:
    """Who gives which share of one request's `n`, and who makes up for those that fail."""

    def __init__(self, plan: Plan, request: ChatRequest, call: Caller, hedging: Hedging | None) -> None:
        self._plan, self._call, self._hedging = plan, call, hedging
        self._say = request.listen
        self.request = altered(request, listen=self._heard)
        self._branches = {target.name: target for target in plan.targets}
        self._helpers: dict[str, Target] = {}
        """Whom a branch asks that makes up for another target, by the name of the branch."""
        self._given: dict[str, int] = {}
        """How many choices a branch has given."""

    async def ask(self, branch: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        """Ask for one branch (see `domain.Caller`)."""
        helper = self._helpers.get(branch.name)
        if helper is None:
            return await self._call(branch, request, deadline)
        outcome = await self._call(replace(branch, name=helper.name), request, deadline)
        return replace(outcome, target=branch.name)

    def made_up(self, ballot: Ballot, running: Collection[str], waiting: Iterable[Target]) -> Iterator[Target]:
        """Give a branch for each share, or rest of one, that is missing and that somebody can give.

        Nobody is asked for the same share twice, so this has an end, also when everybody fails.
        """
        for candidate in ballot.candidates:
            if candidate.target not in self._given:
                self._given[candidate.target] = self._count(candidate)
        expected = Counter[int]()
        for name in {*self._given, *running, *(target.name for target in waiting)}:
            branch = self._branches[name]
            expected[branch.priority] += self._given.get(name, branch.choices or 1)
        lacking = self._plan.choices - expected.total()
        for seat in self._plan.targets:
            rest = min(lacking, (seat.choices or 1) - expected[seat.priority])
            made_up = self._made_up(seat, rest, ballot, running) if rest > 0 else None
            if made_up is not None:
                lacking -= rest
                yield made_up

    def _count(self, candidate: Candidate) -> int:
        """Return how many choices an answer has; some servers give fewer than they are asked for, without a word."""
        if isinstance(candidate.payload, Answer) and "choices" in candidate.payload.fields:
            return count(candidate.payload)
        return self._branches[candidate.target].choices or 1

    def _made_up(self, seat: Target, choices: int, ballot: Ballot, running: Collection[str]) -> Target | None:
        """Return a branch for what a target failed to give: with one that has answered, else one that may yet.

        What the request itself is to blame for is asked only of those that have borne it, and what a policy refused of
        nobody, unless the route says so.
        """
        kinds = {each.kind for each in ballot.failures if self._branches[each.target].priority == seat.priority}
        if FailureKind.FILTERED in kinds and not self._plan.evades:
            return None
        able = self._given.keys() if kinds & _REQUEST_S else {*self._given, *running}
        burden = Counter(helper.name for helper in self._helpers.values())
        present = [target for target in self._plan.targets if target.name in able and target is not seat]
        for helper in sorted(present, key=lambda target: (target.name not in self._given, burden[target.name])):
            name = f"{helper.name} for {seat.name}"
            if name in self._helpers:
                continue
            self._helpers[name] = helper
            branch = replace(helper, name=name, choices=choices, priority=seat.priority)
            self._branches[name] = branch
            if self._hedging is None or self._hedging.affords(helper, self.request):
                self._say(MadeUp(seat.name, helper.name, choices))
                return branch
        return None

    def named(self, branch: str) -> str:
        """Return the name of the target that a branch asks."""
        return self._helpers[branch].name if branch in self._helpers else branch

    def _heard(self, event: Event) -> None:
        """Tell of each branch under the name of the target that it asks."""
        if not self._helpers:
            pass
        elif isinstance(event, _OF_ONE):
            event = altered(event, target=self.named(event.target))
        elif isinstance(event, Failed):
            event = altered(event, failure=replace(event.failure, target=self.named(event.failure.target)))
        elif isinstance(event, Expired):
            event = altered(event, targets=tuple(self.named(name) for name in event.targets))
        elif isinstance(event, Selected):
            event = altered(event, selection=self.signed(event.selection))
        self._say(event)

    def signed(self, selection: Selection) -> Selection:
        """Return a decision with the winner under its own name."""
        winner = selection.winner
        return selection._replace(winner=replace(winner, target=self.named(winner.target)))
