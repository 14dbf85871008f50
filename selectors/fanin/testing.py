"""The laws of a selector as checks that any package can run over its own: `check_laws(my_selector)`. Needs Hypothesis.

The laws: **honest** (the winner is one of the candidates, the reason is one line), **total** (no ballot makes it
raise, and it gives a selection for every closed ballot with candidates unless it declares `abstains`), **patient**
(no decision without candidates), **fair** (the order of arrival does not change a closed ballot's winner), **final**
(an early decision gives the answer that the ballot gives in the end), **pure** (the same ballot, the same selection),
and **live** as declared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from fanin.ballot import Ballot, Candidate, Failure, Seat, Selection, ToolCall
from fanin.rule import Rule

EXEMPTIBLE = frozenset({"fair", "final"})
"""The laws that a rule may declare not to keep."""

TEXTS: st.SearchStrategy[str] = st.one_of(
    st.sampled_from(
        [
            "42",
            "The answer is 42.",
            "42.0",
            "41",
            "1/2",
            "0.5",
            "(B)",
            "B",
            "a",
            '{"a": 1}',
            '{"a": 1.0}',
            "[2]",
            "",
            "yes",
            "Yes.",
        ]
    ),
    st.text(max_size=12),
)
"""Answers of which some mean the same under every built-in key."""


class LawBrokenError(AssertionError):
    """A rule does not keep a law; the message names both and says how."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One way a vote may go: who has a seat, what comes in and in what order, and how much is known beforehand."""

    seats: tuple[Seat, ...]
    outcomes: tuple[Candidate | Failure, ...]
    known: str

    def opening(self) -> Ballot:
        """Return the ballot before anything has come in."""
        size = 0 if self.known == "nothing" else len(self.seats)
        return Ballot(size=size, seats=self.seats if self.known == "seats" else ())

    def openings(self) -> Iterator[Ballot]:
        """Give the open ballot before the first and after each arrival."""
        ballot = self.opening()
        yield ballot
        for outcome in self.outcomes:
            ballot = ballot.add(outcome)
            yield ballot

    def variants(self) -> Iterator[Vote]:
        """Give the same vote in telling orders of arrival, with all, some and nothing known beforehand."""
        ranked = sorted(self.outcomes, key=lambda outcome: (getattr(outcome, "priority", 0), outcome.target))
        for order in (self.outcomes, self.outcomes[::-1], tuple(ranked), tuple(ranked[::-1])):
            for known in ("seats", "size", "nothing"):
                yield Vote(self.seats, order, known)

    def closed(self) -> Ballot:
        """Return the ballot with all that comes in, closed."""
        *_, last = self.openings()
        return last.close()


@st.composite
def votes(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXTS) -> Vote:
    """Draw a vote of up to six targets whose answers often agree and whose priorities and weights are often equal."""
    names = draw(st.lists(st.sampled_from("abcdefgh"), max_size=6, unique=True))
    seats = [
        Seat(name, draw(st.integers(0, 3)), draw(st.sampled_from([1.0, 1.0, 2.0, 0.5, 0.1, 0.0]))) for name in names
    ]
    palette = draw(st.lists(texts, min_size=1, max_size=3))
    outcomes = [draw(_outcome(seat, palette)) for seat in seats]
    known = draw(st.sampled_from(["seats", "size", "nothing"]))
    return Vote(tuple(seats), tuple(draw(st.permutations(outcomes))), known)


@st.composite
def _outcome(draw: st.DrawFn, seat: Seat, palette: list[str]) -> Candidate | Failure:
    if draw(st.integers(0, 5)) == 0:
        return Failure(seat.target, "timeout", "no answer in time")
    return Candidate(
        seat.target,
        draw(st.sampled_from(palette)),
        tool_calls=draw(st.sampled_from([(), (), (ToolCall("look", '{"at": 1}'),)])),
        finish_reason=draw(st.sampled_from(["stop", "length", None])),
        confidence=draw(st.sampled_from([None, 0.0, 0.5, 0.93, 1.0])),
        score=draw(st.sampled_from([None, 0.0, 1.0])),
        weight=seat.weight,
        priority=seat.priority,
        flaw=draw(st.sampled_from(["", "", "", "", "truncated", "refused"])),
    )


Law: TypeAlias = Callable[[Rule, Vote], None]


def honest(rule: Rule, vote: Vote) -> None:
    """The winner is one of the candidates; agreement is a share, the reason one line of text."""
    for ballot in (*vote.openings(), vote.closed()):
        selection = rule(ballot)
        if selection is None:
            continue
        _require(selection.winner in ballot.candidates, "honest", rule, f"chose {selection.winner} on {ballot}")
        strangers = [c.target for c in selection.together if c not in ballot.candidates]
        _require(not strangers, "honest", rule, f"puts {strangers} together, which are no candidates of {ballot}")
        share = selection.agreement
        _require(share is None or 0 <= share <= 1, "honest", rule, f"claims an agreement of {share}")
        one_line = bool(selection.reason.strip()) and "\n" not in selection.reason
        _require(one_line, "honest", rule, f"gives the reason {selection.reason!r}, not one line of text")


def total(rule: Rule, vote: Vote) -> None:
    """No ballot makes the rule raise; a closed ballot with candidates gets a selection or a declared abstention."""
    for ballot in (*vote.openings(), *(ballot.close() for ballot in vote.openings())):
        try:
            selection = rule(ballot)
        except Exception as error:
            raise LawBrokenError(f"total: {rule.name} raises {error!r} on {ballot}") from error
        known = isinstance(selection, Selection) or selection is None
        _require(known, "total", rule, f"returns {selection!r}")
        if selection is None and ballot.closed and ballot.candidates:
            _require(rule.abstains, "total", rule, f"abstains without declaring `abstains=True` on {ballot}")


def patient(rule: Rule, vote: Vote) -> None:
    """Without candidates there is no decision, whatever has failed, open or closed."""
    failures = tuple(Failure(seat.target, "timeout") for seat in vote.seats)
    for some in range(len(failures) + 1):
        ballot = replace(vote.opening(), failures=failures[:some])
        for empty in (ballot, ballot.close()):
            _require(rule(empty) is None, "patient", rule, f"decides without a candidate on {empty}")


def fair(rule: Rule, vote: Vote) -> None:
    """The order of arrival does not change the winner of a closed ballot."""
    ballot = vote.closed()
    expected = rule(ballot)
    for turn in range(len(ballot.candidates)):
        turned = ballot.candidates[turn:] + ballot.candidates[:turn]
        for order in (turned, turned[::-1]):
            got = rule(replace(ballot, candidates=order))
            same = (got and got.winner) == (expected and expected.winner)
            _require(
                same, "fair", rule, f"{_told(expected)} becomes {_told(got)} in the order {[c.target for c in order]}"
            )


def final(rule: Rule, vote: Vote) -> None:
    """An early decision has the answer, or where answers are not compared the winner, that the closed ballot gives."""
    for variant in vote.variants():
        in_the_end = rule(variant.closed())
        for ballot in variant.openings():
            early = rule(ballot)
            if early is None:
                continue
            same = in_the_end is not None and _essence(early) == _essence(in_the_end)
            _require(same, "final", rule, f"{_told(early)} on {ballot} becomes {_told(in_the_end)}")


def _essence(selection: Selection) -> Candidate | str:
    return selection.winner if selection.answer is None else selection.answer


def pure(rule: Rule, vote: Vote) -> None:
    """The same ballot gives the same selection, also after others and as a copy, and stays as it was."""
    ballots = [*vote.openings(), vote.closed()]
    before = copy.deepcopy(ballots)
    first = [rule(ballot) for ballot in ballots]
    again = [rule(ballot) for ballot in reversed(before)][::-1]
    _require(first == again, "pure", rule, f"decides {first}, then {again} on the same ballots")
    _require(before == ballots, "pure", rule, f"changes the ballot {before} to {ballots}")


def live(rule: Rule, vote: Vote) -> None:
    """A rule that declares `live` decides on the first candidate that it sees, whatever that candidate says."""
    for ballot in vote.openings() if rule.live else ():
        selection = rule(ballot)
        chosen = selection and selection.winner
        expected = ballot.candidates[0] if ballot.candidates else None
        _require(chosen == expected, "live", rule, f"decides {_told(selection)} on {ballot}")


LAWS: Mapping[str, Law] = {law.__name__: law for law in (honest, total, patient, fair, final, pure, live)}
"""Every law by its name."""


def check_laws(
    rule: Rule | Callable[[], Rule],
    *,
    laws: Iterable[str] = LAWS,
    texts: st.SearchStrategy[str] = TEXTS,
    max_examples: int = 200,
) -> None:
    """Check the laws on many votes; raise LawBrokenError with the simplest vote found that breaks one.

    A law that the rule declares not to keep is left out, if it is one that may be declared away. `texts` are the
    answers that targets give: pass your own where the selector reads a form of its own.
    """
    made = rule if isinstance(rule, Rule) else rule()
    if made.exempt - EXEMPTIBLE:
        raise LawBrokenError(f"{made.name} may not be exempt from {', '.join(sorted(made.exempt - EXEMPTIBLE))}")
    kept = [LAWS[law] for law in laws if law not in made.exempt]

    @settings(max_examples=max_examples, deadline=None, database=None, derandomize=True, report_multiple_bugs=False)
    @given(votes(texts))
    def hold(vote: Vote) -> None:
        for law in kept:
            law(made, vote)

    hold()


def _require(kept: bool, law: str, rule: Rule, how: str) -> None:
    if not kept:
        raise LawBrokenError(f"{law}: {rule.name} {how}")


def _told(selection: Selection | None) -> str:
    if selection is None:
        return "no decision"
    return f"{selection.winner.target} ({selection.reason})"
