"""What the engine says while it works: small frozen values. Metrics, logs and traces listen; the engine logs nothing.

Times named `at` are on the event loop's clock, durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from fanin import Ballot, Candidate, Selection
from gateway.domain import Failure, FailureKind, Usage


class Launched(Struct, frozen=True):
    """A target was asked; `hedge` where only because those asked before it were slow, not because one had failed."""

    target: str
    at: float
    hedge: bool = False


class Attempted(Struct, frozen=True):
    """One call to a target ended; `kind` is None when it answered."""

    target: str
    kind: FailureKind | None
    duration: float


class Answered(Struct, frozen=True):
    """A branch gave a candidate."""

    target: str
    at: float
    duration: float


class Failed(Struct, frozen=True):
    """A branch gave up after its retries. `cause` is set only for faults of our own: the log shows their traceback."""

    failure: Failure
    at: float
    duration: float
    cause: BaseException | None = None


class Superseded(Struct, frozen=True):
    """A branch was cancelled because another answer was selected or the client left."""

    target: str
    at: float
    duration: float


class Expired(Struct, frozen=True):
    """The deadline passed while these targets had not answered."""

    targets: tuple[str, ...]
    at: float


class SelectorFaulted(Struct, frozen=True):
    """A selector raised, against its contract; the highest-priority answer is taken instead."""

    selector: str
    cause: BaseException


class Selected(Struct, frozen=True):
    """The decision. `rescued` says that the first target alone would have failed."""

    selection: Selection
    ballot: Ballot
    at: float
    rescued: bool


class Spent(Struct, frozen=True):
    """The tokens of one answer, known once it is complete or cut; `won` says whether the client got it.

    `fate` is a third one beside won and lost: `judge`, for what was said about answers.
    """

    target: str
    usage: Usage
    won: bool
    fate: str | None = None


class Consulting(Struct, frozen=True):
    """A scorer's call begins, in the task that hears this; `Consulted` follows unless it is cancelled."""

    target: str


class Consulted(Struct, frozen=True):
    """A call that a scorer made has ended: to whom, how long it took, what it used, why it gave nothing."""

    target: str
    duration: float
    usage: Usage | None = None
    failure: Failure | None = None


class Rescued(Struct, frozen=True):
    """A stream that had broken off after its first words was continued by another target.

    `how` is `splice` where a sibling had said the same so far, `prefill` where a target was given the beginning.
    """

    target: str
    by: str
    how: str


class Verified(Struct, frozen=True):
    """A stream that was passed on at once has been held against the whole answers of its siblings."""

    target: str
    agreed: bool


class Streamed(Struct, frozen=True):
    """A live stream has ended: `duration` from its first words to its last, and its longest silence in between."""

    target: str
    tokens: int
    duration: float
    longest_gap: float


class MadeUp(Struct, frozen=True):
    """The share of a client's `n` that a target failed to give, so many choices, is asked of another one."""

    target: str
    by: str
    choices: int


class BudgetDenied(Struct, frozen=True):
    """An extra call was not made, because its provider's budget is used up; `what` is `retry`, `hedge` or `share`."""

    target: str
    what: str


Why: TypeAlias = Literal["share", "slow", "budget"]


class HedgeWithheld(Struct, frozen=True):
    """A hedge was not started: the route's `share` of them is used up, or everything is `slow`, or by the `budget`."""

    target: str
    why: Why


BreakerState: TypeAlias = Literal["closed", "half_open", "open"]


class BreakerChanged(Struct, frozen=True):
    """A circuit changed; `target` is `provider/model`. It belongs to the process, not to one request."""

    target: str
    state: BreakerState


class KeyDisabled(Struct, frozen=True):
    """A provider refused the gateway's key, which is not used for a while: somebody has to look after it.

    `provider` is followed by `/model` where only that model was refused; `reason` is `credential` or `quota`. It
    belongs to the process, not to one request.
    """

    provider: str
    reason: str


class KeyEnabled(Struct, frozen=True):
    """A key that was disabled is used again: it works, or the configuration has a new one."""

    provider: str


class Finished(Struct, frozen=True):
    """The response is complete, or the client left (status 499). `overhead` is the gateway's own share of the time."""

    status: int
    duration: float
    overhead: float | None
    error: str | None = None


Event: TypeAlias = (
    Launched
    | Attempted
    | Answered
    | Failed
    | Superseded
    | Expired
    | SelectorFaulted
    | Selected
    | Spent
    | Consulting
    | Consulted
    | Rescued
    | Verified
    | Streamed
    | MadeUp
    | BudgetDenied
    | HedgeWithheld
    | Finished
)
Listener: TypeAlias = Callable[[Event], None]


class Observer(Protocol):
    """The listener of one request as the gateway's edge sees it: `cost` is what it has cost so far, where known."""

    @property
    def cost(self) -> float | None:
        """Dollars, None where no price is known."""
        ...

    def hear(self, event: Event, /) -> None:
        """Hear one event. To call a method costs a third of what it costs to call an object."""
        ...


def tell_lost(loser: Candidate, listen: Listener) -> None:
    """Tell what an answer has cost that the client does not get, as far as that is known."""
    if loser.payload.usage is not None:
        listen(Spent(loser.target, loser.payload.usage, won=False))
