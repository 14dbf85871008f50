"""What each selector decides, when, and how it tells the reason."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest

import fanin
from fanin import Ballot, Candidate, Failure, Seat, Selection, build


def ballot(*texts: str | None, size: int = 0, closed: bool = True, **fields: list[Any]) -> Ballot:
    """Return a ballot of the targets alpha, beta, ... in priority order; None is a failure."""
    names = ["alpha", "beta", "gamma", "delta", "epsilon"]
    seats = tuple(Seat(name, index) for index, name in enumerate(names[: max(size, len(texts))]))
    found = Ballot(len(seats), closed=closed, seats=seats)
    for index, text in enumerate(texts):
        given = {name: values[index] for name, values in fields.items()}
        failed = text is None
        found = found.add(
            Failure(names[index], "timeout") if failed else Candidate(names[index], str(text), priority=index, **given)
        )
    return found


def decided(spec: Any, on: Ballot) -> Selection:
    """Return the selection, which must be one."""
    selection = build(spec)(on)
    assert selection is not None
    return selection


@pytest.mark.parametrize(
    ("spec", "on", "winner", "reason"),
    [
        ("first", ballot("x", "y"), "alpha", "first to answer"),
        ("priority", ballot("x", "y"), "alpha", "highest priority of those that answered"),
        ("priority", ballot(None, "y"), "beta", "highest priority after alpha failed"),
        ("majority", ballot("7", "42", "42"), "beta", "2 of 3 agree"),
        ("majority", ballot("7", "42"), "alpha", "1 of 2 agree, a tie that the priority of alpha breaks"),
        ("majority", ballot("7", None, None), "alpha", "the only vote"),
        (
            {"majority": {"key": "number"}},
            ballot("none", "1/2", "0.5"),
            "beta",
            "2 of 2 agree; alpha gave nothing to compare",
        ),
        (
            "majority",
            ballot("42", "42", size=3, closed=False),
            "alpha",
            "2 of 2 agree; what is still out cannot change it",
        ),
        ({"majority": {"agree": 2}}, ballot("42", "42", size=5, closed=False), "alpha", "2 of 2 agree"),
        ("weighted", ballot("7", "42", weight=[3.0, 1.0]), "alpha", "a weight of 3 of 4 stands behind this answer"),
        ("guarded", ballot("7", "42", "42"), "beta", "2 agree and override alpha"),
        (
            "guarded",
            ballot("7", "42", "x"),
            "alpha",
            "the answer of alpha, the best that answered; 2 votes for another answer would override it, 1 agree",
        ),
        (
            "max_confidence",
            ballot("x", "y", "z", confidence=[0.4, 0.93, None]),
            "beta",
            "confidence 0.93, raw values of 2 targets compared; gamma gave none, counted as 0.5",
        ),
        (
            "max_confidence",
            ballot("x", "y", confidence=[0.9, 0.9]),
            "alpha",
            "confidence 0.9, raw values of 2 targets compared",
        ),
        (
            "max_confidence",
            ballot("x", "y", confidence=[float("nan"), 0.2]),
            "alpha",
            "confidence 0.5; alpha gave none, counted as 0.5",
        ),
    ],
)
def test_the_winner_and_the_reason(spec: Any, on: Ballot, winner: str, reason: str) -> None:
    """Reasons are short sentences for a header, a log line and a table."""
    selection = decided(spec, on)
    assert (selection.winner.target, selection.reason) == (winner, reason)


def test_a_selection_carries_agreement_tally_answer_and_signature() -> None:
    """Agreement is the winner's share of those that voted; who has no key is not counted."""
    selection = decided({"majority": {"key": "number"}}, ballot("1,000", "1e3", "7", "?"))
    assert selection.agreement == pytest.approx(2 / 3)
    assert selection.tally == {"1000": 2, "7": 1}
    assert (selection.answer, selection.selector) == ("1000", "majority")


@pytest.mark.parametrize(
    ("spec", "on"),
    [
        ({"majority": {"key": "number"}}, ballot("a", "b")),
        ({"majority": {"min_agreement": 0.6}}, ballot("a", "b")),
        ("weighted", ballot("a", "b", weight=[0.0, 0.0])),
        ({"quorum": {"k": 2, "of": "priority"}}, ballot("a", None, None)),
        ({"valid": {"check": "json", "of": "first"}}, ballot("a", "b")),
    ],
    ids=str,
)
def test_what_cannot_be_decided_is_left_to_the_next_in_the_chain(spec: Any, on: Ballot) -> None:
    """Alone the rule abstains; in a chain the next one decides and signs."""
    assert build(spec)(on) is None
    assert decided([spec, "priority"], on).selector == "priority"


def test_nobody_is_waited_for_who_cannot_change_the_result() -> None:
    """Two of three agree: decided; two of five: not yet, unless two are enough; a lost tie is waited for."""
    two = ballot("42", "42", size=3, closed=False)
    assert build("majority")(two)
    assert build("majority")(ballot("42", "42", size=5, closed=False)) is None
    assert build({"majority": {"agree": 2}})(ballot("42", "42", size=5, closed=False))
    assert build({"defer": "majority"})(two) is None
    assert build({"majority": {"min_agreement": 0.7}})(two) is None
    assert build("majority")(ballot("7", "42", "42", size=4, closed=False)) is None


def test_guarded_waits_only_while_an_override_is_possible() -> None:
    """Two of three votes for the best target's answer cannot be outvoted by the third; one of three can."""
    rule = build({"guarded": {"override": 1}})
    assert rule(ballot("7", "7", size=3, closed=False))
    assert rule(ballot("7", size=3, closed=False)) is None
    assert rule(ballot("7", size=2, closed=False))


def test_an_early_tie_counts_only_if_the_seats_say_that_it_is_won() -> None:
    """One vote of two: alpha wins a tie with beta, so beta is not waited for; with beta's place unknown it is."""
    known = ballot("7", size=2, closed=False)
    assert build("majority")(known)
    assert build("majority")(Ballot(2, known.candidates)) is None
    assert build("priority")(known)
    assert build("priority")(Ballot(2, known.candidates)) is None


def test_a_chain_waits_for_its_first_rule_while_the_ballot_is_open() -> None:
    """The next rule decides only after an abstention, and there is none before the ballot closes."""
    rule = build([{"majority": {"key": "number"}}, "first"])
    waiting = ballot("no number", size=2, closed=False)
    assert rule(waiting) is None
    assert rule(waiting.close())


def test_what_a_composition_declares() -> None:
    """Live only if the first candidate decides whatever it says; needs are the union; a deferred rule is final."""
    first, majority, confidence = fanin.first(), fanin.majority(agree=2), fanin.max_confidence()
    assert [
        rule.live
        for rule in (first, first | majority, majority | first, fanin.defer(first), fanin.valid("json", first))
    ] == [True, True, False, False, False]
    assert [fanin.quorum(k, first).live for k in (1, 2)] == [True, False]
    for rule in (
        majority | confidence,
        fanin.defer(confidence),
        fanin.quorum(2, confidence),
        fanin.valid("json", confidence),
    ):
        assert rule.needs == {"logprobs"}
    assert majority.exempt == fanin.quorum(1, fanin.priority()).exempt == {"final"}
    assert fanin.defer(majority).exempt == frozenset()
    assert [rule.abstains for rule in (majority, majority | confidence, fanin.quorum(2, first))] == [True, False, True]


def test_a_candidate_that_fails_the_check_counts_as_a_failure() -> None:
    """It is not chosen, and it does not keep the ballot open."""
    rule = build({"valid": {"check": "json", "of": "priority"}})
    selection = rule(ballot("sorry", "{}", size=3, closed=False))
    assert selection is not None
    assert (selection.winner.target, selection.reason) == ("beta", "highest priority after alpha failed")


def test_fanin_imports_the_standard_library_only_and_no_clock() -> None:
    """Pure: no event loop, no randomness, no clock, no other package; Hypothesis in the testing module alone."""
    folder = Path(fanin.__file__).parent
    for path in folder.rglob("*.py"):
        allowed = {"hypothesis"} if path.name == "testing.py" else set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for root in (name.partition(".")[0] for name in names):
                assert root in sys.stdlib_module_names | {"fanin"} | allowed, path
                assert root not in {"asyncio", "random", "time", "datetime", "secrets", "socket", "threading"}, path
