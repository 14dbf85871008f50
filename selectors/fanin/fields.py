"""Selectors that vote on structured answers: on the whole, and where that is torn, part by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from fanin.ballot import Ballot, Candidate, Selection
from fanin.checks import Check, CheckSpec, as_check
from fanin.compose import admitted
from fanin.flaws import sound_first
from fanin.keys.calls import NO_CALL, Call, canonical
from fanin.keys.calls import tool_calls as calls_key
from fanin.keys.canonical_json import document, spelled
from fanin.keys.canonical_json import json as json_key
from fanin.rule import Rule
from fanin.tally import Tally

_V = TypeVar("_V", bound=Hashable)

Fields: TypeAlias = Mapping[Hashable, Hashable]
"""The parts of an answer by their place; a place that is not named is absent, which is a value too."""


def tool_calls() -> Rule:
    """The tool calls that most targets make; if no calls win alone, those whose function and arguments win one by one.

    An exact vote on canonical calls decides if at least two agree and no others are as many. Else, if calling nothing
    is as frequent and has the highest priority, nothing is called; otherwise those who call the most frequent multiset
    of functions vote on each argument (absent is a value), and the real answer with the most votes in all its parts
    wins: nothing is made up. It decides early once the exact vote cannot be caught up with. Do not use it where calls
    have effects that must not happen wrongly without a person: agreement is no authorisation.
    """

    def decide(ballot: Ballot) -> Selection | None:
        return _vote(ballot, calls_key, _torn_calls)

    return Rule("tool_calls", sound_first(decide), key=calls_key)


def json_fields(*, check: CheckSpec = "json", synthesis: bool = False) -> Rule:
    """The JSON document that most targets give; if none wins alone, the real one with the most votes field by field.

    Only answers that pass `check` have a vote. Every field is a place (`a.0.b`) with a canonical value, and absent is a
    value. It abstains when nothing passes. With `synthesis` the fields that most targets give are put together where no
    document wins alone, though nobody has said all of it: each key of an object by the votes of those that have it,
    lists and other values whole; what does not pass `check` is not taken. Do not use it for documents with one long
    text field: those never agree; nor `synthesis` where fields depend on each other, such as a sum and its parts.
    """
    passes = as_check(check)

    def decide(ballot: Ballot) -> Selection | None:
        selection = _vote(admitted(ballot, passes), json_key, _torn_documents)
        if selection is None or not synthesis or not ballot.closed:
            return selection
        return _synthesised(selection, admitted(ballot, passes), passes)

    return Rule("json_fields", sound_first(decide), abstains=True, key=json_key)


_Torn: TypeAlias = Callable[[Tally], tuple[Hashable, str]]


def _vote(ballot: Ballot, key: Callable[[Candidate], Hashable | None], torn: _Torn) -> Selection | None:
    """Vote on whole answers; where no answer is ahead of all others, let `torn` find the best one and say why."""
    tally = Tally.of(ballot, key)
    if not tally.groups:
        return None
    leader = tally.leader
    votes, rival = tally.weights[leader], tally.most_beside(leader)
    if votes - rival <= ballot.least_awaited > 0:
        return None  # most checks end here
    awaited = ballot.awaited
    if awaited is None:
        return None
    if votes > rival + awaited and votes > 1:
        return tally.selection(leader, f"{votes:g} of {tally.total:g} agree")
    if awaited:
        return None
    if tally.total == 1:
        return tally.selection(leader, "the only vote")
    answer, why = torn(tally)
    return tally.selection(answer, why)


def _torn_calls(tally: Tally) -> tuple[Hashable, str]:
    if tally.leader == NO_CALL:
        return NO_CALL, f"{tally.weights[NO_CALL]:g} of {tally.total:g} call nothing, and no calls are more frequent"
    callers = {answer: canonical(group[0].tool_calls) for answer, group in tally.groups.items() if answer != NO_CALL}
    votes: Counter[tuple[str, ...]] = Counter()
    for answer, calls in callers.items():
        votes[_functions(calls)] += int(tally.weights[answer])
    functions = max(votes, key=votes.__getitem__)
    alike = {answer: _arguments(calls) for answer, calls in callers.items() if _functions(calls) == functions}
    best = _best(alike, tally)
    return best, f"{votes[functions]} of {tally.total:g} call the same functions; most votes argument by argument"


def _functions(calls: Sequence[Call]) -> tuple[str, ...]:
    return tuple(name for name, _ in calls)


def _arguments(calls: Sequence[Call]) -> Fields:
    return {(place, name): value for place, (_, given) in enumerate(calls) for name, value in given}


def _torn_documents(tally: Tally) -> tuple[Hashable, str]:
    documents = {answer: _leaves(group[0].text) for answer, group in tally.groups.items()}
    return _best(documents, tally), f"most votes field by field among {tally.total:g}"


def _leaves(text: str) -> Fields:
    """Return the leaves of the document in a text; one that is nested too deeply to walk is a single leaf."""
    try:
        return _flat(document(text))
    except RecursionError:
        return {"": text}


def _flat(value: Any, place: str = "") -> dict[Hashable, Hashable]:
    """Return the leaves of a document by their path; an empty object or list is a leaf."""
    items: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = [(str(index), item) for index, item in enumerate(value)]
    if not items:
        return {place: spelled(value)}
    return {key: leaf for name, item in items for key, leaf in _flat(item, f"{place}.{name}").items()}


def _synthesised(found: Selection, ballot: Ballot, passes: Check) -> Selection:
    """Return what the fields with the most votes make together, if no document has won and nobody has said that."""
    mine, *others = sorted(found.tally.values(), reverse=True)
    voters = [candidate for candidate in ballot.ranked() if json_key(candidate) is not None]
    if (mine > 1 and mine > max(others, default=0.0)) or len(voters) < 2:
        return found
    try:
        text = spelled(_merged([document(voter.text) for voter in voters]))
    except RecursionError:
        return found
    made = replace(found.winner, text=text)
    if text in map(json_key, voters) or json_key(made) != text or not passes(made):
        return found
    reason = f"{found.reason}, put together to one that nobody gave"
    return found._replace(text=text, together=(found.winner,), reason=reason)


_ABSENT = object()


def _merged(values: Sequence[Any]) -> Any:
    """Return the value that most of these have, which are in ranked order; of objects, key by key."""
    kind = _most([isinstance(value, dict) for value in values])
    alike = [value for value in values if isinstance(value, dict) == kind]
    if not kind:
        return next(value for value in alike if spelled(value) == _most(list(map(spelled, alike))))
    merged = {}
    for key in dict.fromkeys(key for value in alike for key in value):
        given = [value.get(key, _ABSENT) for value in alike]
        if _most([each is not _ABSENT for each in given]):
            merged[key] = _merged([each for each in given if each is not _ABSENT])
    return merged


def _most(votes: Sequence[_V]) -> _V:
    """Return the most frequent one; of several the first."""
    counts = Counter(votes)
    return max(votes, key=counts.__getitem__)


def _best(fields: Mapping[Hashable, Fields], tally: Tally) -> Hashable:
    """Return the answer whose fields have the most votes together; of several the one that ranks first."""
    places = {place: None for parts in fields.values() for place in parts}
    votes: Counter[tuple[Hashable, Hashable]] = Counter()
    for answer, parts in fields.items():
        for place in places:
            votes[place, parts.get(place)] += int(tally.weights[answer])
    return max(fields, key=lambda answer: sum(votes[place, fields[answer].get(place)] for place in places))
