"""Flaws of answers and checks on them, without a gateway: refusals, loops, languages, schemas."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from fanin import Ballot, Candidate, SpecError, ToolCall, build, checks, flaws

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I can\u2019t assist with that request.",
    "I cannot provide that.",
    "I'm unable to help with this.",
    "As an AI language model, I cannot provide medical advice.",
    "Sorry, I can't do that.",
    "I won't help with that",
    "Es tut mir leid, aber dabei kann ich nicht helfen.",
    "Je suis d\u00e9sol\u00e9, mais je ne peux pas vous aider.",
]
ANSWERS = [
    "391",
    "I can't believe it: 391.",
    "Sorry for the delay. The answer is 391.",
    "I cannot stress this enough: 391.",
    "Unfortunately, 391 is not prime.",
    "I will not be there.",
    "I'm sorry, but I can't help with that." + " But here is how it goes instead." * 30,
    "The clerk said: I can't help with that.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_known_by_its_first_words(text: str) -> None:
    """Stock phrases at the start of a short text."""
    assert flaws.refuses(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_not_mistaken_for_a_refusal(text: str) -> None:
    """Rather a refusal missed than an answer suspected."""
    assert not flaws.refuses(text)


SQUARES = " ".join(str(i * i) for i in range(100))


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("So it is. " * 20, True),
        ("a" * 192, True),
        ("a" * 191, False),
        ("Once. " + "x" * 3 + "The cat sat on the mat. " * 9, True),
        ("The cat sat on the mat. " * 7, False),
        ("The cat sat on the mat. " * 9 + "The end", False),
        ("".join(f"line {i}\n" for i in range(200)), False),
        (SQUARES * 3, True),
        (SQUARES * 2, False),
        ("| a | b |\n|---|---|\n" + "# " + "-" * 80 + "\n", False),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_a_loop_is_three_copies_that_cover_enough(text: str, loops: bool) -> None:
    """A line of dashes is none, nor a list whose lines differ."""
    assert flaws.repeats(text) is loops


def ballot(*candidates: Candidate, closed: bool = True) -> Ballot:
    return Ballot(3, candidates, closed=closed)


def test_while_only_refusals_are_in_a_vote_waits_for_an_answer() -> None:
    """Two of three refuse, which no third vote could outweigh by number: it is waited for all the same."""
    no = "I can't help with that."
    refusals = Candidate("a", no, flaw="refused"), Candidate("b", no, flaw="refused", priority=1)
    assert build("majority")(ballot(*refusals, closed=False)) is None
    found = build("majority")(ballot(*refusals, Candidate("c", "391", priority=2)))
    assert found is not None
    assert found.winner.text == "391"


RUSSIAN = "Это не тот ответ, который ждали"
JAPANESE = "これは私たちが求めていた答えではありませんでした"

CHECKED: list[tuple[Any, str, bool]] = [
    ("refusal", "I can't help with that.", False),
    ("refusal", "391", True),
    ({"language": "de"}, "Das ist nicht die Antwort, die wir von dem Modell wollten.", True),
    ({"language": "de"}, "This is not the answer that we wanted to get from the model.", False),
    ({"language": "en"}, "This is not the answer that we wanted to get from the model.", True),
    (
        {"language": "en"},
        RUSSIAN,
        False,
    ),
    (
        {"language": "ja"},
        JAPANESE,
        True,
    ),
    (
        {"language": "zh"},
        JAPANESE,
        False,
    ),
    ({"language": "fr"}, "391", True),
    ({"json_schema": {"schema": {"type": "object", "required": ["a"]}}}, 'Here: {"a": 1}', True),
    ({"json_schema": {"schema": {"type": "object", "required": ["a"]}}}, '{"b": 1}', False),
    ("json_schema", "no document", False),
]


@pytest.mark.parametrize(("check", "text", "passes"), CHECKED, ids=str)
def test_a_check_lets_in_what_it_should(check: Any, text: str, passes: bool) -> None:
    """Each check by its name in a configuration, under `valid`."""
    found = build({"valid": {"check": check, "of": "priority"}})(ballot(Candidate("a", text)))
    assert (found is not None) is passes


def test_tool_arguments_are_checked_by_what_the_gateway_found_and_as_json() -> None:
    """The rule says that it needs the schemas compared, through whatever is around it."""
    rule = build([{"defer": {"valid": {"check": "tool_arguments", "of": "tool_calls"}}}, "priority"])
    assert "tool_arguments" in rule.needs
    bad = Candidate("a", tool_calls=(ToolCall("f", '{"x": 1}'),), flaw="invalid")
    cut = Candidate("b", tool_calls=(ToolCall("f", '{"x": '),), priority=1)
    good = Candidate("c", tool_calls=(ToolCall("f", '{"x": 2}'),), priority=2)
    found = rule(ballot(bad, cut, good))
    assert found is not None
    assert found.winner is good


def test_an_operators_schema_that_is_none_is_a_fault_with_its_path() -> None:
    """What is wrong with it is said, and where."""
    with pytest.raises(SpecError) as caught:
        build({"valid": {"check": {"json_schema": {"schema": {"type": "objekt"}}}, "of": "first"}})
    assert str(caught.value).startswith("valid.check.json_schema: cannot be made: no JSON Schema: 'objekt' is not")


def polite(candidate: Candidate, *, word: str = "please") -> bool:
    return word in candidate.text


def test_a_package_offers_a_check_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the entry-point group `fanin.checks`; its options are checked like those of a built-in one."""
    entry = EntryPoint("polite", "tests.pure.test_flaws_and_checks:polite", checks.GROUP)
    monkeypatch.setattr(checks, "load", lambda *_: polite)
    monkeypatch.setattr(checks, "_offered", lambda: {"polite": entry})
    rule = build({"valid": {"check": {"polite": "thanks"}, "of": "first"}})
    assert rule(ballot(Candidate("a", "thanks"))) is not None
    assert rule(ballot(Candidate("a", "please"))) is None
    with pytest.raises(SpecError, match=r"valid\.check\.polite\.words: unknown option"):
        build({"valid": {"check": {"polite": {"words": "x"}}, "of": "first"}})
