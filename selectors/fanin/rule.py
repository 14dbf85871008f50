"""What a selector is: a pure function from a ballot to a selection, with a name and the composition operators."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

from fanin.ballot import Ballot, Candidate, Selection

Selector: TypeAlias = Callable[[Ballot], Selection | None]
"""The one function type. None means "wait" on an open ballot and "I abstain" on a closed one."""

Factory: TypeAlias = Callable[..., "Rule"]
"""What a selector's name stands for in a configuration: keyword options in, a rule out."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A selector with a name, and what it declares about itself.

    `needs` names what the caller must ask the targets for (`"logprobs"`) or find out (`"tool_arguments"`: whether they
    fit the schemas of the tools, else the candidate has the flaw `invalid`). `live` says that the
    rule decides on the first candidate it sees whatever that candidate says, so the answer may be streamed to the
    client while it is still being written. `abstains` says that it may give no selection on a closed ballot that has
    candidates. `exempt` names the laws that it does not keep: `"final"` where it decides before it is certain (as
    soon as m agree), `"fair"` where the order of arrival counts (the first answer); no other law can be declared away.
    `heavy` says that a decision takes milliseconds of CPU: the caller runs it off the event loop. `scorers` are those
    that the rule may want asked (see `fanin.scored`). `gathers` says that all answers stand side by side and none is
    chosen: a stream may carry each as it comes, and a client's `n` answers may come from several targets. `key` is what
    the rule compares answers by, where it does that by a key (see `fanin.reliability`). `warning` is what whoever
    configures it for several targets should be told.
    """

    name: str
    decide: Selector
    needs: frozenset[str] = frozenset()
    live: bool = False
    abstains: bool = False
    exempt: frozenset[str] = frozenset()
    heavy: bool = False
    scorers: tuple[Any, ...] = ()
    gathers: bool = False
    key: Callable[[Candidate], Hashable | None] | None = None
    warning: str = ""

    def __call__(self, ballot: Ballot) -> Selection | None:
        """Decide, and sign the selection with this rule's name unless a rule inside has signed it."""
        selection = self.decide(ballot)
        if selection is None or selection.selector:
            return selection
        return selection._replace(selector=self.name)

    def __or__(self, other: Rule) -> Rule:
        """`a | b`: b decides when a abstains."""
        from fanin.compose import chain  # noqa: PLC0415 -- compose builds on Rule

        return chain(self, other)


@overload
def selector(decide: Callable[..., Selection | None], /) -> Factory: ...
@overload
def selector(
    *, needs: Iterable[str] = (), abstains: bool = False, exempt: Iterable[str] = (), heavy: bool = False
) -> Callable[[Callable[..., Selection | None]], Factory]: ...
def selector(
    decide: Callable[..., Selection | None] | None = None,
    /,
    *,
    needs: Iterable[str] = (),
    abstains: bool = False,
    exempt: Iterable[str] = (),
    heavy: bool = False,
) -> Factory | Callable[[Callable[..., Selection | None]], Factory]:
    """Turn a function of a ballot and keyword options into the factory of a rule that carries the function's name.

    ::

        @selector
        def longest(ballot: Ballot) -> Selection | None:
            if not ballot.closed or not ballot.candidates:
                return None
            return Selection(max(ballot.ranked(), key=lambda c: len(c.text)), "the longest answer")

        rule = longest()

    What the rule declares about itself goes in brackets: `@selector(abstains=True)`.
    """

    def wrap(decide: Callable[..., Selection | None]) -> Factory:
        @functools.wraps(decide)
        def factory(**options: Any) -> Rule:
            bound = functools.partial(decide, **options) if options else decide
            name, wanted = decide.__name__, frozenset(needs)
            return Rule(name, bound, wanted, abstains=abstains, exempt=frozenset(exempt), heavy=heavy)

        _, *options = inspect.signature(decide).parameters.values()
        keywords = [
            option.replace(kind=option.KEYWORD_ONLY) if option.kind is option.POSITIONAL_OR_KEYWORD else option
            for option in options
        ]
        factory.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
        return factory

    return wrap if decide is None else wrap(decide)
