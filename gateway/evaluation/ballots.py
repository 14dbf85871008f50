"""From a recorded row to the ballot the gateway would have held, and from `--select` to the rule that decides it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import yaml

import fanin
from fanin import Ballot, Candidate, Failure, Rule, Seat
from fanin.keys.whole_text import text
from fanin.registry import SELECTORS
from gateway.evaluation.faults import CannotEvaluate
from gateway.evaluation.recordings import CONFIDENCES, Answer, Row

Key: TypeAlias = Callable[[Candidate], Hashable | None]


def recorded(candidate: Candidate) -> Hashable | None:
    """The key of a recorded answer: what the recording says it comes to, else its whole text."""
    answer: Answer = candidate.payload
    return answer.key if answer.keyed else text(candidate)


def casefolded(candidate: Candidate) -> Hashable | None:
    """The recorded key without case: `Paris` and `paris` in an argument of a tool call are the same."""
    key = recorded(candidate)
    return key.casefold() if isinstance(key, str) else key


def seats(targets: Sequence[str]) -> tuple[Seat, ...]:
    """Return the seats of a route with these targets; the first has the highest priority."""
    return tuple(Seat(target, priority) for priority, target in enumerate(targets))


def outcomes(
    row: Row, targets: Sequence[str], confidences: Sequence[str] = CONFIDENCES
) -> tuple[Candidate | Failure, ...]:
    """Return what each target gave on this question, in the order of the targets."""
    return tuple(_outcome(row, target, priority, confidences) for priority, target in enumerate(targets))


def _outcome(row: Row, target: str, priority: int, confidences: Sequence[str]) -> Candidate | Failure:
    answer = row.answers.get(target)
    if answer is None:
        return Failure(target, "not_recorded", "the recording has no answer of this target")
    return Candidate(
        target,
        answer.text,
        answer.calls,
        confidence=answer.confidence(confidences),
        priority=priority,
        payload=answer,
    )


def opening(targets: Sequence[str]) -> Ballot:
    """Return the ballot before anything has come in."""
    return Ballot(len(targets), seats=seats(targets))


def closed(given: Sequence[Candidate | Failure], targets: Sequence[str]) -> Ballot:
    """Return the ballot with all that came in, closed."""
    return Ballot(
        len(targets),
        tuple(outcome for outcome in given if isinstance(outcome, Candidate)),
        tuple(outcome for outcome in given if isinstance(outcome, Failure)),
        closed=True,
        seats=seats(targets),
    )


def rule_of(spec: Any, key: Key = recorded) -> Rule:
    """Return the rule that a value of `select` describes; where it names no key, answers are compared by `key`.

    Raises:
        CannotEvaluate: with everything that is wrong with it.
    """
    try:
        return fanin.build(_keyed(spec, key))
    except fanin.SpecError as refused:
        raise CannotEvaluate(
            "; ".join(f"select.{fault}" if fault.path else f"select {fault}" for fault in refused.faults)
        ) from None


def parsed(select: str) -> Any:
    """Return the value of `select` that a word or a piece of YAML stands for.

    Raises:
        CannotEvaluate: when it is no YAML.
    """
    try:
        return yaml.safe_load(select)
    except yaml.YAMLError:
        raise CannotEvaluate(
            f"--select is {select!r}, expected a name such as majority or {{majority: {{agree: 2}}}}"
        ) from None


def _keyed(spec: Any, key: Key) -> Any:
    """Return the same value with `key` for every selector in it that compares answers and does not say how."""
    if isinstance(spec, (list, tuple)):
        return [_keyed(item, key) for item in spec]
    if isinstance(spec, str):
        spec = {spec: {}}
    if not isinstance(spec, Mapping) or len(spec) != 1:
        return spec
    ((name, options),) = spec.items()
    known = inspect.signature(SELECTORS.find(name, name)).parameters if isinstance(name, str) else {}
    if "of" in known:
        if isinstance(options, Mapping) and "of" in options:
            return {name: {**options, "of": _keyed(options["of"], key)}}
        return {name: _keyed(options, key)} if len(known) == 1 and options else spec
    if "key" in known and (options is None or isinstance(options, Mapping)):
        return {name: {"key": key, **(options or {})}}
    return spec
