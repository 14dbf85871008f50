"""The ballot: what the targets have answered so far, and what is decided from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function call that a model asks for; `arguments` is the JSON text as the model wrote it."""

    name: str
    arguments: str = "{}"
    id: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One target's successful answer.

    `priority` is the target's place in its route (0 is asked first and wins ties). `confidence` lies in [0, 1] or is
    None when the target gave none; `score` is what a scorer annotated. `payload` is the caller's own business:
    selectors hand it through and never look inside. `flaw` says why it is not quite an answer (see `fanin.flaws`):
    selectors that compare answers let those without one decide.
    """

    target: str
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    confidence: float | None = None
    score: float | None = None
    weight: float = 1.0
    priority: int = 0
    payload: Any = field(default=None, compare=False, repr=False)
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """One target's failure: `kind` is a word of a closed set, `detail` a sentence safe to show to a client."""

    target: str
    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Seat:
    """A target that was given a vote, known before it answers: what an early decision reckons with."""

    target: str
    priority: int = 0
    weight: float = 1.0


rank: Callable[[Candidate | Seat], tuple[int, str]] = attrgetter("priority", "target")
"""The place in which ties are decided: by priority, then by target name."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a scorer made of the candidates: the one it prefers, which may be new; None where it gives none, and why."""

    winner: Candidate | None
    reason: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a scorer is to be asked before a rule can decide (see `fanin.scored`)."""

    scorer: Any
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Ballot:
    """What is in so far: candidates in order of arrival, failures, and whether more may come.

    Ballots form a monoid under `|` with `Ballot()` as identity, so `Annotated[Ballot, operator.or_]` is a valid
    LangGraph reducer: each node returns a ballot of one answer, the graph adds them up, a `defer=True` node closes
    and selects. `seats` may stay empty (then `size` alone says how many answers are expected); selectors that need to
    know *who* is missing before they decide early then wait until the ballot closes.
    `opinions` are those of the scorers that have been asked.
    """

    size: int = 0
    candidates: tuple[Candidate, ...] = ()
    failures: tuple[Failure, ...] = ()
    closed: bool = False
    seats: tuple[Seat, ...] = ()
    opinions: Mapping[Any, Opinion] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """How many answers may still come: 0 once the ballot is closed."""
        return 0 if self.closed else max(0, self.size - len(self.candidates) - len(self.failures))

    @property
    def absent(self) -> tuple[Seat, ...]:
        """The seats that have neither answered nor failed; empty when the ballot is closed or seats are unknown."""
        if self.closed or not self.seats:
            return ()
        heard = {c.target for c in self.candidates}
        if self.failures:
            heard.update([f.target for f in self.failures])
        return tuple([seat for seat in self.seats if seat.target not in heard])

    def ranked(self) -> tuple[Candidate, ...]:
        """The candidates by priority, then by target name: the order in which ties are decided."""
        return tuple(sorted(self.candidates, key=rank))

    @property
    def awaited(self) -> int | None:
        """How many answers a decision must still reckon with; None when an open ballot does not say how many come."""
        return self.outstanding[0]

    @property
    def outstanding(self) -> tuple[int | None, tuple[Seat, ...]]:
        """Of how many answers a decision must still reckon with (see `awaited`), and who of them is known: `absent`."""
        if self.closed:
            return 0, ()
        if not self.seats:
            return self.pending if self.size else None, ()
        absent = self.absent
        return max(self.size - len(self.candidates) - len(self.failures), len(absent)), absent

    @property
    def least_awaited(self) -> int:
        """No more than `awaited`, by counting alone: what it rules out is ruled out at a quarter of the cost."""
        if self.closed:
            return 0
        return max(self.size, len(self.seats)) - len(self.candidates) - len(self.failures)

    def add(self, outcome: Candidate | Failure) -> Ballot:
        """Return this ballot with one more outcome."""
        # Written out: `dataclasses.replace` costs ten times as much, and this runs for every answer.
        candidates, failures = self.candidates, self.failures
        if isinstance(outcome, Candidate):
            candidates = (*candidates, outcome)
        else:
            failures = (*failures, outcome)
        return Ballot(self.size, candidates, failures, self.closed, self.seats, self.opinions)

    def close(self) -> Ballot:
        """Return this ballot closed: nothing more will come, the selector must decide or abstain."""
        return Ballot(self.size, self.candidates, self.failures, closed=True, seats=self.seats, opinions=self.opinions)

    def __or__(self, other: Ballot) -> Ballot:
        if not isinstance(other, Ballot):
            return NotImplemented
        return Ballot(
            size=max(self.size, other.size),
            candidates=_union(self.candidates, other.candidates),
            failures=_union(self.failures, other.failures),
            closed=self.closed or other.closed,
            seats=_union(self.seats, other.seats),
            opinions={**other.opinions, **self.opinions},
        )


def _union(left: tuple[_T, ...], right: tuple[_T, ...]) -> tuple[_T, ...]:
    return (*left, *(item for item in right if item not in left))


class Selection(NamedTuple):
    """The decision and why.

    `answer` is the printable key under which the winner was counted; candidates with the same answer are
    interchangeable (None where whole candidates were compared, not keys). `agreement` is the winner's weight divided
    by the weight of all that voted (None where nothing was voted on); `tally` maps each answer to its weight.
    `selector` is the rule that decided, which inside a chain is not the chain itself. `together` holds all candidates
    that make up the answer, in ranked order, where it is more than the winner's; `score` is the number that the rule
    came to, where it came to one; `text` the answer that it made of all of `together`, where it made one.

    While `asks` is set the decision is provisional: the caller may ask that question, note the opinion on the ballot
    and ask the rule again.

    It is a named tuple because every request makes one, and a frozen dataclass of ten fields takes five times as long:
    change a field by `selection._replace(reason=...)`.
    """

    winner: Candidate
    reason: str
    agreement: float | None = None
    tally: Mapping[str, float] = MappingProxyType({})
    selector: str = ""
    answer: str | None = None
    together: tuple[Candidate, ...] = ()
    score: float | None = None
    asks: Question | None = None
    text: str | None = None
