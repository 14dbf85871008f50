"""Selectors made of selectors: in what order they are asked, and when they may decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fanin.ballot import Ballot, Failure, Selection
from fanin.checks import Check, CheckSpec, as_check
from fanin.rule import Rule
from fanin.spec import Range


def chain(*rules: Rule) -> Rule:
    """Ask the rules in turn: the next decides when the one before abstains, which it can only do on a closed ballot.

    Do not put anything behind a rule that never abstains: it is never asked.
    """
    if not rules:
        raise ValueError("a chain needs at least one selector")

    def decide(ballot: Ballot) -> Selection | None:
        if not ballot.closed:
            return rules[0](ballot)
        return next((selection for rule in rules if (selection := rule(ballot)) is not None), None)

    return Rule(
        " | ".join(rule.name for rule in rules),
        decide,
        needs=frozenset[str]().union(*(rule.needs for rule in rules)),
        live=rules[0].live,
        abstains=all(rule.abstains for rule in rules),
        exempt=frozenset[str]().union(*(rule.exempt for rule in rules)),
        heavy=any(rule.heavy for rule in rules),
        scorers=tuple(scorer for rule in rules for scorer in rule.scorers),
        key=next((rule.key for rule in rules if rule.key is not None), None),
        warning=next((rule.warning for rule in rules if rule.warning), ""),
    )


def defer(of: Rule) -> Rule:
    """Wait until the ballot closes, then decide by `of`.

    For a tally, or a reliability that is learned, over everybody. Do not use it to be sure of the winner: an early
    decision is the same one, sooner.
    """

    def decide(ballot: Ballot) -> Selection | None:
        return of(ballot) if ballot.closed else None

    return replace(of, name=f"defer({of.name})", decide=decide, live=False, gathers=False, exempt=of.exempt - {"final"})


def quorum(k: Annotated[int, Range(1)], of: Rule) -> Rule:
    """Decide by `of` as soon as k targets have answered, as if nobody else were still out; with fewer than k, abstain.

    It is not final: the answers after the k-th are not waited for. Where too few answers are better than none, let
    another rule follow: `quorum(2, majority()) | priority()`. Do not use it where the slow targets are the good ones.
    """

    def decide(ballot: Ballot) -> Selection | None:
        return of(ballot.close()) if len(ballot.candidates) >= k else None

    return Rule(
        f"quorum({k}, {of.name})",
        decide,
        needs=of.needs,
        live=of.live and k == 1,
        abstains=of.abstains or k > 1,
        exempt=of.exempt | {"final"},
        heavy=of.heavy,
        scorers=of.scorers,
        key=of.key,
        warning=of.warning,
    )


def valid(check: CheckSpec, of: Rule) -> Rule:
    """Let only candidates that pass the check enter the ballot of `of`; what fails it counts as a failure.

    Do not use it for what the request itself asks for (`response_format`, `strict` tools): the gateway checks that for
    every route, and asks again. It abstains when nothing passes.
    """
    passes = as_check(check)
    wanted = frozenset(getattr(passes, "needs", ()))

    def decide(ballot: Ballot) -> Selection | None:
        return of(admitted(ballot, passes))

    return replace(
        of, name=f"valid({of.name})", decide=decide, needs=of.needs | wanted, live=False, gathers=False, abstains=True
    )


def admitted(ballot: Ballot, passes: Check) -> Ballot:
    """Return the ballot with every candidate that does not pass turned into a failure of kind `invalid`."""
    refused = tuple(c for c in ballot.candidates if not passes(c))
    if not refused:
        return ballot
    return replace(
        ballot,
        candidates=tuple(c for c in ballot.candidates if c not in refused),
        failures=(
            *ballot.failures,
            *(Failure(c.target, "invalid", "the answer did not pass the check") for c in refused),
        ),
    )
