"""The laws hold for every built-in selector, and the suite of laws finds every kind of selector that breaks one."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings

import fanin
from fanin import Ballot, Candidate, Failure, Rule, Seat, Selection
from fanin.registry import BUILTINS
from fanin.testing import EXEMPTIBLE, LAWS, LawBrokenError, Vote, check_laws, votes

FITTED = {
    "priors": {"a": 0.9, "b": 0.3, "c": 0.6},
    "weights": {"a": 2.5, "b": 0.1},
    "m": 2,
    "bins": {"a": [0.1, 0.6, 1.0], "b": {"edges": [0.4, 0.9], "right": [0.2, 0.3, 0.9]}, "c": {"percentile": [0.5]}},
}
SPECS: list[Any] = [
    "first",
    "priority",
    "majority",
    {"majority": {"key": "number"}},
    {"majority": {"key": "number", "agree": 2}},
    {"majority": {"key": "choice", "min_agreement": 0.6}},
    {"majority": {"key": "json"}},
    {"majority": {"key": {"regex": r"(\d+)"}}},
    "weighted",
    {"weighted": {"weights": {"a": 3, "b": 0.3}, "min_agreement": 0.5}},
    "guarded",
    {"guarded": {"key": "number", "override": 2, "priors": {"c": 0.9, "d": 0.4}}},
    "max_confidence",
    {"max_confidence": {"default": 1.0}},
    {"max_confidence": {"calibration": FITTED}},
    "confidence_vote",
    {"confidence_vote": {"key": "number", "calibration": FITTED}},
    {"weighted": {"key": "number", "priors": {"a": 0.9, "b": 0.4}, "choices": 4}},
    {"weighted": {"calibration": FITTED}},
    {"guarded": {"key": "number", "calibration": FITTED}},
    "cluster_vote",
    "mbr",
    "medoid",
    {"medoid": {"by": "jaccard", "priors": {"c": 0.9}}},
    "tool_calls",
    "json_fields",
    {"score_aggregate": {"field": "a"}},
    {"score_aggregate": {"field": "a", "how": "borda"}},
    "collect",
    "concat",
    {"concat": {"separator": " "}},
    "reduce",
    {"reduce": {"how": "sum"}},
    {"stop": {"lead": 2, "of": "majority"}},
    {"stop": {"beta": 0.9, "window": 2, "of": {"weighted": {"key": "number"}}}},
    {"drop_outliers": {"of": {"majority": {"key": "number"}}}},
    ["majority", "priority"],
    [{"majority": {"min_agreement": 0.7}}, "max_confidence"],
    ["first", "majority"],
    {"defer": "first"},
    {"defer": {"majority": {"agree": 2}}},
    {"quorum": {"k": 2, "of": "majority"}},
    {"quorum": {"k": 1, "of": "first"}},
    {"valid": {"check": "json", "of": "priority"}},
    {"valid": {"check": "refusal", "of": "majority"}},
    {"valid": {"check": "tool_arguments", "of": "tool_calls"}},
    {"json_fields": {"synthesis": True}},
    {"json_fields": {"check": {"json_schema": {"schema": {"type": "object"}}}}},
    [{"judge": {"by": "a/b"}}, "majority", "priority"],
    {"defer": {"fuse": {"by": "a/b"}}},
    {"valid": {"check": {"regex": r"\d"}, "of": {"majority": {"key": "number"}}}},
]


@functools.cache
def _drawn() -> list[Vote]:
    """Votes for all selectors: to draw one takes longer than to hold a selector's laws against it."""
    drawn: list[Vote] = []

    @settings(max_examples=60, database=None, derandomize=True, phases=[Phase.generate])
    @given(votes())
    def draw(vote: Vote) -> None:
        drawn.append(vote)

    draw()
    return drawn


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_selector_keeps_the_laws(spec: Any) -> None:
    """Honest, total, patient, fair, final, pure and live as declared, on drawn votes."""
    rule = fanin.build(spec)
    assert rule.exempt <= EXEMPTIBLE
    assert len(_drawn()) == 60
    for vote in _drawn():
        for name in LAWS.keys() - rule.exempt:
            LAWS[name](rule, vote)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_every_selector_keeps_the_laws_on_many_votes(spec: Any) -> None:
    """The same on enough votes to meet rare ties."""
    check_laws(fanin.build(spec), max_examples=1_000)


def test_no_built_in_selector_is_left_out() -> None:
    """Each registered name appears among the rules that are checked."""
    named = {spec if isinstance(spec, str) else next(iter(spec)) for spec in SPECS if not isinstance(spec, list)}
    assert named == set(BUILTINS)


def _stranger(ballot: Ballot) -> Selection | None:
    return Selection(Candidate("nobody", "made up"), "because") if ballot.candidates else None


def _mute(ballot: Ballot) -> Selection | None:
    return Selection(ballot.candidates[0], "") if ballot.closed and len(ballot.candidates) == 1 else None


def _raising(ballot: Ballot) -> Selection | None:
    return Selection(max(ballot.candidates, key=lambda c: float(c.text or "0")), "the largest")


def _abstaining(ballot: Ballot) -> Selection | None:
    return None


def _hasty(ballot: Ballot) -> Selection | None:
    if ballot.failures and not ballot.candidates:
        return Selection(Candidate(ballot.failures[0].target), "all failed")
    return Selection(ballot.ranked()[0], "by rank") if ballot.closed and ballot.candidates else None


def _by_arrival(ballot: Ballot) -> Selection | None:
    return Selection(ballot.candidates[-1], "the last") if ballot.closed and ballot.candidates else None


def _early(ballot: Ballot) -> Selection | None:
    return Selection(ballot.ranked()[0], "the best so far") if ballot.candidates else None


class _Forgetful:
    def __init__(self) -> None:
        self.calls = itertools.count()

    def __call__(self, ballot: Ballot) -> Selection | None:
        if not ballot.closed or not ballot.candidates:
            return None
        return Selection(ballot.ranked()[next(self.calls) % len(ballot.candidates)], "in turn")


def _choosy(ballot: Ballot) -> Selection | None:
    return next((Selection(c, "first with a text") for c in ballot.candidates if c.text), None)


BROKEN = [
    ("honest", Rule("stranger", _stranger, exempt=frozenset({"final"}))),
    ("honest", Rule("mute", _mute, abstains=True)),
    ("total", Rule("raising", _raising)),
    ("total", Rule("abstaining", _abstaining)),
    ("patient", Rule("hasty", _hasty)),
    ("fair", Rule("by_arrival", _by_arrival)),
    ("final", Rule("early", _early)),
    ("pure", Rule("forgetful", _Forgetful())),
    ("live", Rule("choosy", _choosy, live=True, abstains=True, exempt=frozenset({"fair", "final"}))),
]


@pytest.fixture
def _as_found() -> Iterator[None]:
    """Take a broken law as it is found: to look for the simplest vote that shows it takes seconds."""
    before = settings.get_current_profile_name()
    settings.register_profile("as found", settings.get_profile(before), phases=[Phase.generate])
    settings.load_profile("as found")
    yield
    settings.load_profile(before)


@pytest.mark.usefixtures("_as_found")
@pytest.mark.parametrize(("law", "rule"), BROKEN, ids=[rule.name for _, rule in BROKEN])
def test_a_broken_selector_is_caught_by_the_law_it_breaks(law: str, rule: Rule) -> None:
    """The suite can fail: each law names the selector that breaks it."""
    with pytest.raises(LawBrokenError, match=rf"^{law}: {rule.name} "):
        check_laws(rule, laws=[law])


@pytest.mark.usefixtures("_as_found")
@pytest.mark.parametrize(
    ("law", "rule"),
    [
        ("fair", fanin.first()),
        ("final", fanin.majority(agree=2)),
        ("final", fanin.quorum(2, fanin.majority())),
        ("total", fanin.majority()),
        ("total", fanin.valid("json", fanin.priority())),
    ],
    ids=lambda given: given.name if isinstance(given, Rule) else given,
)
def test_a_declared_exception_is_a_real_one(law: str, rule: Rule) -> None:
    """A rule that declares a law away does break it: no declaration is wider than it needs to be."""
    with pytest.raises(LawBrokenError, match=f"^{law}: "):
        check_laws(replace(rule, exempt=rule.exempt - {law}, abstains=False), laws=[law])


def test_only_fair_and_final_may_be_declared_away() -> None:
    """No rule talks itself out of being honest."""
    with pytest.raises(LawBrokenError, match="stranger may not be exempt from honest"):
        check_laws(Rule("stranger", _stranger, exempt=frozenset({"honest"})))


COMPLETIONS = ["42", "41", "7", ""]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize(
    "rule",
    [
        fanin.majority(key="number"),
        fanin.majority(key="number", min_agreement=0.6),
        fanin.weighted(key="number"),
        fanin.guarded(key="number"),
        fanin.guarded(key="number", override=1),
        fanin.priority(),
        fanin.max_confidence(),
    ],
    ids=["majority", "share", "weighted", "guarded", "guarded1", "priority", "max_confidence"],
)
def test_an_early_decision_survives_every_completion_and_comes_as_soon_as_it_can(rule: Rule, size: int) -> None:
    """By enumeration: a decided ballot decides the same for all completions; an undecided one has two that differ.

    In what order the rest comes makes no difference to a fair rule, and these are. `guarded` is safe, but waits in some
    cases in which it need not.
    """
    assert "fair" not in rule.exempt
    seats = tuple(Seat(f"t{index}", index // 2, weight=1 + index % 2) for index in range(size))
    for heard in range(size):
        for order in itertools.permutations(seats, heard):
            absent = tuple(seat for seat in seats if seat not in order)
            for texts in itertools.product([*COMPLETIONS[:2], None], repeat=heard):
                ballot = Ballot(size, seats=seats)
                for seat, text in zip(order, texts, strict=True):
                    ballot = ballot.add(_outcome(seat, text))
                ends = {
                    _answer(rule, ballot, absent, ending)
                    for ending in itertools.product([*COMPLETIONS, None], repeat=len(absent))
                }
                early = rule(ballot)
                if early is not None:
                    assert ends == {_told(early)}, ballot
                elif rule.name != "guarded":
                    assert len(ends) > 1 or ends == {None}, ballot


def _outcome(seat: Seat, text: str | None) -> Candidate | Failure:
    if text is None:
        return Failure(seat.target, "timeout")
    confidence = {"42": 1.0, "41": 0.4}.get(text)
    return Candidate(seat.target, text, confidence=confidence, priority=seat.priority, weight=seat.weight)


def _answer(rule: Rule, ballot: Ballot, absent: tuple[Seat, ...], ending: tuple[str | None, ...]) -> str | None:
    for seat, text in zip(absent, ending, strict=True):
        ballot = ballot.add(_outcome(seat, text))
    selection = rule(ballot.close())
    return None if selection is None else _told(selection)


def _told(selection: Selection) -> str:
    return selection.winner.target if selection.answer is None else f"={selection.answer}"
