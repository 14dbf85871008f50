"""What the votes of a route tell about its targets (`fanin.reliability`): heard request by request, for rules to use.

A route learns only if it says so, from whole answers, after its response has been sent. What is known lives in this
process; it survives a new configuration as long as the route still learns in the same way from the same target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from fanin import Ballot, Estimate, Reliability
from gateway.domain import Answer, Learn, Route
from gateway.engine.events import Event, Finished, Listener, Selected


class _Pupil:
    """One route that learns."""

    def __init__(self, route: Route, how: Learn, before: _Pupil | None) -> None:
        self.route, self.how = route, how
        self.models = {target.name: (target.provider, target.model) for target in route.targets}
        known: dict[str, Estimate] = {}
        if before is not None and before.how == how:
            same = {name for name, model in self.models.items() if before.models.get(name) == model}
            known = {name: each for name, each in before.reliability.targets.items() if name in same}
        blank = Reliability.of(self.models, choices=how.choices, half_life=how.half_life)
        self.reliability: Reliability = replace(blank, targets={**blank.targets, **known})
        self.changed = True

    def learn(self, ballot: Ballot) -> None:
        """Take one vote in; a stream says too little when it is decided on, a flawed answer nothing."""
        key = self.route.select.key
        assert key is not None  # noqa: S101 -- the configuration refuses a route that compares nothing
        whole = [c for c in ballot.candidates if not c.flaw and isinstance(c.payload, Answer)]
        after = self.reliability.learned({candidate.target: key(candidate) for candidate in whole})
        self.changed |= after is not self.reliability
        self.reliability = after

    def taught(self) -> Route:
        """Return the route with a rule that knows what has been learned by now."""
        self.changed = False
        if self.how.rule is None:
            return self.route
        return replace(self.route, select=self.how.rule(self.reliability.calibration()))


class Learning:
    """The routes that learn; with a `previous` one it takes over what that has learned, which then learns no more."""

    def __init__(self, routes: Mapping[str, Route], previous: Learning | None = None) -> None:
        before: Mapping[str, _Pupil] = {}
        if previous is not None:
            before, previous.pupils = previous.pupils, {}
        self.pupils: dict[str, _Pupil] = {
            name: _Pupil(route, route.learn, before.get(name)) for name, route in routes.items() if route.learn
        }

    def listener(self, route: str, further: Listener) -> Listener:
        """Return the listener of one request that also hears what `further` hears; `further` itself if none learns."""
        pupil = self.pupils.get(route)
        return further if pupil is None else _Hearing(pupil.learn, further).hear

    def taught(self) -> dict[str, Route]:
        """Return the routes about which something was learned since this was asked last, with their rules renewed."""
        return {name: pupil.taught() for name, pupil in self.pupils.items() if pupil.changed}

    def told(self) -> Iterator[tuple[str, Reliability]]:
        """Give what is known, route by route."""
        for name, pupil in self.pupils.items():
            yield name, pupil.reliability


class _Hearing:
    """Remembers the decision of one request, and learns from it once the response is out."""

    __slots__ = ("_ballot", "_further", "_learn")

    def __init__(self, learn: Callable[[Ballot], None], further: Listener) -> None:
        self._learn, self._further = learn, further
        self._ballot: Ballot | None = None

    def hear(self, event: Event) -> None:
        self._further(event)
        if type(event) is Selected:
            self._ballot = event.ballot
        elif type(event) is Finished and self._ballot is not None:
            self._learn(self._ballot)
