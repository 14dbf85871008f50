"""The vocabulary: frozen values that the rooms of the gateway pass to each other, without behaviour."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from msgspec import Raw, Struct

import fanin
from fanin import Candidate, Opinion

Deadline: TypeAlias = float
"""An absolute time on the event loop's clock, in seconds; it is handed down, never a duration."""


class FailureKind(StrEnum):
    """Why one attempt gave no answer. The three properties are the only policy tables."""

    TRANSIENT = "transient"  # 5xx, 529, connection refused or reset: the same target may well answer next time
    TIMEOUT = "timeout"  # no answer within the target's timeout or the route's deadline
    STALLED = "stalled"  # the stream began and then fell silent
    TRUNCATED = "truncated"  # the answer ended before it said that it was complete
    EMPTY = "empty"  # success without content
    MALFORMED = "malformed"  # a body that is not what the protocol promises
    RATE_LIMITED = "rate_limited"  # 429
    QUOTA = "quota"  # credit or quota used up: waiting does not help
    CREDENTIAL = "credential"  # the gateway's own key for this provider is refused
    MODEL_GONE = "model_gone"  # the provider does not know the model
    CONTEXT_LENGTH = "context_length"  # the prompt does not fit this model
    CALLER_FAULT = "caller_fault"  # the request itself is wrong: every other target would say the same
    FILTERED = "filtered"  # a content policy refused
    INVALID = "invalid"  # an answer that breaks the form asked for: no JSON, not the schema's, broken tool arguments
    DEGENERATE = "degenerate"  # the model repeats itself until it is cut
    CIRCUIT_OPEN = "circuit_open"  # not asked: it failed too often just now
    BULKHEAD_FULL = "bulkhead_full"  # not asked: too many calls are in flight
    SUPERSEDED = "superseded"  # cancelled because another answer was selected; not a failure of the target
    UNKNOWN = "unknown"  # a fault of ours: logged with its traceback

    @property
    def retryable(self) -> bool:
        """Whether asking the same target again, a little later, has a chance."""
        return self in _RETRYABLE

    @property
    def counts_against_health(self) -> bool:
        """Whether the failure says something about the target rather than about the request or about us."""
        return self in _UNHEALTHY

    @property
    def caller_should_know(self) -> bool:
        """Whether the provider's own message helps the client to mend the request."""
        return self in _CALLERS


_RETRYABLE = frozenset(
    {
        FailureKind.TRANSIENT,
        FailureKind.RATE_LIMITED,
        FailureKind.EMPTY,
        FailureKind.MALFORMED,
        FailureKind.TRUNCATED,
        FailureKind.INVALID,
    }
)
_UNHEALTHY = frozenset(
    {
        FailureKind.TRANSIENT,
        FailureKind.TIMEOUT,
        FailureKind.STALLED,
        FailureKind.TRUNCATED,
        FailureKind.EMPTY,
        FailureKind.MALFORMED,
    }
)
_CALLERS = frozenset({FailureKind.CALLER_FAULT, FailureKind.CONTEXT_LENGTH, FailureKind.FILTERED})


Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""The header fields of a response, as they came."""


@dataclass(frozen=True, slots=True)
class Failure(fanin.Failure):
    """One target's failure, with what the edges need: `retry_after` in seconds, the upstream's status and error object.

    `headers` are the upstream's as they came, `again` is its own word on whether to ask once more. `unheard` says that
    the connection broke, or never came about, before any work was lost with it. `detail` is our own sentence. `error`
    is the upstream's error object and is shown to a client only where `kind.caller_should_know`.
    """

    kind: FailureKind
    retry_after: float | None = None
    status: int | None = None
    error: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Headers = field(default=(), repr=False)
    again: bool | None = None
    unheard: bool = False

    @property
    def retryable(self) -> bool:
        """Whether to ask the same target again: what the provider says, else what the kind says."""
        return self.kind.retryable if self.again is None else self.again


class Usage(Struct, frozen=True):
    """Tokens of one answer, as the upstream counted them; `exact` is False where we counted stream deltas instead."""

    prompt: int = 0
    completion: int = 0
    exact: bool = True

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.completion + other.completion, self.exact and other.exact)


class Price(Struct, frozen=True):
    """What a model's tokens cost, in dollars for a million of them."""

    input: float
    output: float

    def of(self, usage: Usage) -> float:
        """Return the dollars that an answer cost."""
        return (usage.prompt * self.input + usage.completion * self.output) / 1e6


class Answer(Struct):
    """A whole answer: the upstream's object as its top-level fields, each value still in the upstream's own bytes.

    `wire` says what kind of object it is: a chat completion, or what the request's `native` wire calls an answer.
    The connection that brought it adds the upstream's `headers` as they came, and in `dropped` the names of the
    client's fields that the upstream was not sent.
    """

    fields: Mapping[str, Raw]
    usage: Usage | None = None
    wire: str = "chat"
    headers: Headers = ()
    dropped: tuple[str, ...] = ()


Outcome: TypeAlias = Candidate | Failure


@dataclass(frozen=True, slots=True)
class Target:
    """One provider + model, with its own prompt, parameters and weight; `name` is unique in its route.

    `timeout` is the limit of one attempt in seconds, `retries` counts the calls beyond the first, and `patience` is the
    longest Retry-After in seconds that is waited for: short where another target would be asked instead. `prefill` says
    that the model goes on with a last message of the assistant's; it holds further fields of that message. `price` is
    the operator's own word on what its tokens cost, `context` the model's window in tokens.

    Of the client's fields `drop` are left out, `rename` go under another name, and `defaults` fill in what it did not
    send; `params` win over all. `on_unsupported` says what becomes of a field that the provider cannot do: `fail` is
    the target's failure, `drop` leaves it out and says so. `same_as` is the model's common name where providers call
    it differently: only embeddings of one model can stand in for each other. In a live stream the first words must come
    within `first_token` seconds, and then one event after another within `idle`. `choices` is this request's share of a
    client's `n`; None leaves that to the client. `on_reasoning_only` says whether reasoning without an answer is one:
    `fail` or `answer`.
    """

    name: str
    provider: str
    model: str
    prompt: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    on_unsupported: str = "fail"
    same_as: str | None = None
    timeout: float = 60.0
    first_token: float = math.inf
    idle: float = 30.0
    context: int | None = None
    retries: int = 1
    patience: float = 120.0
    weight: float = 1.0
    priority: int = 0
    prefill: Mapping[str, Any] | None = None
    price: Price | None = None
    choices: int | None = None
    on_reasoning_only: str = "fail"


@dataclass(frozen=True, slots=True)
class Map:
    """How a long message is asked part by part: parts of at most `size` characters, `most` of them, `parallel` at once.

    `by` is `paragraphs` or `characters`: where a part may end.
    """

    by: str = "paragraphs"
    size: int = 4000
    parallel: int = 8
    most: int = 32


@dataclass(frozen=True, slots=True)
class Launch:
    """How many targets start at once, and after how many seconds the next one starts by itself (infinity: never).

    One that starts by its time is a hedge: `hedges` of them at most. Where the launch is `adaptive`, `stagger` is only
    for targets about which little is known yet (see policies/hedging.py). With a `map` all that is said of each part of
    the request's last message.
    """

    initial: int = 1
    stagger: float = math.inf
    map: Map | None = None
    adaptive: bool = False
    hedges: float = math.inf


@dataclass(frozen=True, slots=True)
class Learn:
    """How a route learns from its votes how often each target is right (see `fanin.Reliability`).

    Another `since` begins anew. `rule` makes the route's rule from a calibration, where it uses what is learned.
    """

    choices: int = 3
    half_life: float = 500.0
    since: str = ""
    rule: Callable[[Mapping[str, Any]], fanin.Rule] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Route:
    """A model name that clients may ask for; `deadline` in seconds is the limit until an answer, or its first words.

    What becomes of a stream: with `warm` the siblings of the one that is passed on stand by to continue it, with
    `buffered` it is replayed once a whole answer is in, with `verified` it is passed on while the siblings vote on it.
    `evades` says that after a content policy's refusal the next target is asked. With `learn` it learns from its votes.
    """

    name: str
    targets: tuple[Target, ...]
    launch: Launch
    select: fanin.Rule
    deadline: float = 120.0
    warm: bool = False
    buffered: bool = False
    verified: bool = False
    evades: bool = False
    learn: Learn | None = None


def ignore(_: object) -> None:
    """Listen to nothing."""


class Form(Struct, frozen=True):
    """A multipart form with a hole where each target's model goes; the buffers are shared by all of them."""

    content_type: str
    before: memoryview
    after: memoryview


class Native(Struct, frozen=True):
    """A request in the words of another wire than chat completions, for targets that speak it themselves.

    `headers` are those of the client's that belong to the wire, such as its version. `form` is the request itself where
    it is no JSON; `fields` are then only read.
    """

    wire: str
    fields: Mapping[str, Raw]
    headers: Mapping[str, str] = {}
    form: Form | None = None


class ChatRequest(Struct, frozen=True):
    """What the client asked, parsed once: the top-level fields keep the client's own bytes.

    `fields` holds everything but `model`, `stream` and `hedgerow`. `live` says that candidates may enter the ballot at
    their first words; `logprobs` that the selector needs token log probabilities the client did not ask for;
    `checks_arguments` that it wants tool arguments held against their schemas also where these are not strict. `listen`
    hears the events of this request (see engine/events.py). `insist` says that nobody else is left to ask: an open
    circuit lets it pass. `native` is the same request as the client wrote it, where
    it was written in another dialect that one of the targets speaks; with it, `fields` are its translation, or empty if
    all targets speak it. `parts` are what a route that maps asks one by one, where the client split it itself.
    """

    id: str
    model: str
    fields: Mapping[str, Raw]
    live: bool = False
    logprobs: bool = False
    checks_arguments: bool = False
    headers: Mapping[str, str] = {}
    listen: Callable[[Any], None] = ignore
    insist: bool = False
    native: Native | None = None
    parts: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """What we intend for one request: whom to ask, in what rhythm, and who decides. Pure and printable.

    Answers are waited for until `deadline`; the time from then until `decide_by` is kept for the rule's scorers.

    Of a live stream: `continued` says that another target may go on where the leader breaks off, `warm` that its
    siblings are kept for that, and `verify` is the rule that they and it are put to at the end. `gathered` is how many
    targets have choices of their own in a stream of all: 0 where one answer is passed on. `choices` is how many answers
    the client gets in all, each target its share of them; 0 where that is not shared out.
    """

    route: str
    targets: tuple[Target, ...]
    launch: Launch
    select: fanin.Rule
    deadline: float
    live: bool = False
    decide_by: float = 0.0
    continued: bool = False
    warm: bool = False
    verify: fanin.Rule | None = None
    evades: bool = False
    gathered: int = 0
    choices: int = 0

    def target(self, branch: str) -> Target | None:
        """Return the target that a branch asks; None for a branch that makes up for another (see `engine.shares`)."""
        return next((target for target in self.targets if target.name == branch), None)


Caller: TypeAlias = Callable[[Target, ChatRequest, Deadline], Awaitable[Outcome]]
"""Ask one target. It never raises anything but CancelledError; every other end is a Failure."""

Policy: TypeAlias = Callable[[Caller], Caller]


class Scorer(Protocol):
    """Whom a rule wants asked before it decides (`fanin.scored`): an extra call to one target, never to a route.

    `share` is the part of the route's deadline that is kept for it.
    """

    target: Target
    share: float

    def __hash__(self) -> int: ...

    def calls(self, count: int) -> int:
        """Return the most calls that it makes for so many candidates, without retries."""
        ...

    def describe(self) -> str:
        """Say in a line what it does."""
        ...

    async def __call__(
        self, candidates: Sequence[Candidate], request: ChatRequest, call: Caller, deadline: Deadline
    ) -> Opinion:
        """Ask, until the deadline; whatever goes wrong is an opinion without a winner that says so."""
        ...
