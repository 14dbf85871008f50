"""A configuration value becomes a rule, or an error that names every fault, what was expected and the nearest name."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from typing import Annotated, Any, Literal

import pytest

import fanin
from fanin import Ballot, Candidate, Fault, Range, Rule, Selection, SpecError, build, registry
from fanin.faults import listed
from fanin.registry import BUILTINS

CLOSED = Ballot(
    3,
    (Candidate("a", "42"), Candidate("b", "It is 42.", priority=1), Candidate("c", "7", priority=2)),
    closed=True,
)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("first", "first"),
        ({"majority": None}, "majority"),
        ({"majority": {"key": {"regex": r"(\d+)"}, "agree": 2, "min_agreement": 0.5}}, "majority"),
        ({"weighted": {"key": "number", "weights": {"a": 2, "b": 0.5}}}, "weighted"),
        ({"max_confidence": {"default": 0.3}}, "max_confidence"),
        (["majority", "priority"], "majority | priority"),
        (["majority"], "majority"),
        ({"defer": "majority"}, "defer(majority)"),
        ({"defer": ["majority", "first"]}, "defer(majority | first)"),
        ({"defer": {"majority": {"key": "number"}}}, "defer(majority)"),
        ({"defer": {"of": "majority"}}, "defer(majority)"),
        ({"quorum": {"k": 2, "of": "majority"}}, "quorum(2, majority)"),
        ({"valid": {"check": {"length": {"least": 2, "most": 9}}, "of": "first"}}, "valid(first)"),
        pytest.param(fanin.first(), "first", id="a rule"),  # its repr holds an address, which no two runs share
    ],
    ids=str,
)
def test_a_value_becomes_a_rule(spec: Any, name: str) -> None:
    """Every form that a configuration may have is read."""
    assert build(spec).name == name


EVERY = listed(sorted({*BUILTINS, "fuse", "judge"}))  # those two are the gateway's
CHECKS = "json, json_schema, language, length, refusal, regex or tool_arguments"
PATTERN = "a regular expression"
KEYS = "choice, json, json_field, latex, number, python, regex, text or tool_calls"
FORM = "the name of a selector, one name with its options, or a list of these"


@pytest.mark.parametrize(
    ("spec", "faults"),
    [
        ("majorty", [f"unknown selector 'majorty'; did you mean 'majority'?, expected {EVERY}"]),
        ({"xyz": {}}, [f"xyz: unknown selector 'xyz', expected {EVERY}"]),
        (
            {"majority": {"agre": 2, "agree": 0, "key": "nmber", "min_agreement": "high"}},
            [
                "majority.agre: unknown option 'agre'; did you mean 'agree'?, expected agree, key or min_agreement",
                "majority.agree: is 0, expected an integer >= 1",
                f"majority.key: unknown key 'nmber'; did you mean 'number'?, expected {KEYS}",
                "majority.min_agreement: is 'high', expected a number from 0 to 1",
            ],
        ),
        ({"majority": {"agree": True}}, ["majority.agree: is True, expected an integer >= 1"]),
        ({"majority": {"agree": 2.0}}, ["majority.agree: is 2.0, expected an integer >= 1"]),
        (
            {"majority": {"min_agreement": float("nan")}},
            ["majority.min_agreement: is nan, expected a number from 0 to 1"],
        ),
        (
            {"majority": {"key": {"regex": "("}}},
            [
                "majority.key.regex: is '(': missing ), unterminated subpattern at position 0, expected " + PATTERN,
            ],
        ),
        ({"majority": {"key": {"regex": 5}}}, ["majority.key.regex: is 5, expected a regular expression"]),
        (
            {"majority": {"key": "regex"}},
            ["majority.key.regex: lacks the option 'pattern', expected pattern: a regular expression"],
        ),
        (
            {"majority": {"key": {"number": {"x": 1}}}},
            ["majority.key.number.x: unknown option 'x', expected no options"],
        ),
        ({"majority": 3}, ["majority: is 3, expected its options: agree, key or min_agreement"]),
        ({"first": {"x": 1}}, ["first.x: unknown option 'x', expected no options"]),
        (
            {"weighted": {"weights": {"a": "x", "b": -1}}},
            ["weighted.weights.a: is 'x', expected a number >= 0", "weighted.weights.b: is -1, expected a number >= 0"],
        ),
        (
            {"max_confidence": {"defalt": 1}},
            [
                "max_confidence.defalt: unknown option 'defalt'; did you mean 'default'?, expected calibration, default or raw"  # noqa: E501
            ],
        ),
        (
            "quorum",
            [
                "quorum: lacks the option 'k', expected k: an integer >= 1",
                "quorum: lacks the option 'of', expected of: a selector",
            ],
        ),
        (
            {"quorum": {"k": 0, "of": "frist"}},
            [
                "quorum.k: is 0, expected an integer >= 1",
                f"quorum.of: unknown selector 'frist'; did you mean 'first'?, expected {EVERY}",
            ],
        ),
        ({"defer": {"majority": {"agree": -1}}}, ["defer.majority.agree: is -1, expected an integer >= 1"]),
        (
            {"valid": {"check": "jsn", "of": "first"}},
            [f"valid.check: unknown check 'jsn'; did you mean 'json'?, expected {CHECKS}"],
        ),
        (
            ["first", {"majority": {"agree": "x"}}, "wat"],
            ["[1].majority.agree: is 'x', expected an integer >= 1", f"[2]: unknown selector 'wat', expected {EVERY}"],
        ),
        ([], ["is an empty list, expected at least one selector"]),
        ({"first": None, "majority": None}, [f"names 2 of them (first, majority), expected {FORM}"]),
        ({}, [f"is {{}}, expected {FORM}"]),
        ({1: 2}, [f"is {{1: 2}}, expected {FORM}"]),
        (None, [f"is None, expected {FORM}"]),
        (False, [f"is False, expected {FORM}"]),
    ],
    ids=str,
)
def test_every_fault_is_named_at_once(spec: Any, faults: list[str]) -> None:
    """The message says where, what, and what was expected, with the nearest name."""
    with pytest.raises(SpecError) as caught:
        build(spec)
    assert str(caught.value).split("\n") == faults
    assert [str(fault) for fault in caught.value.faults] == faults


@pytest.mark.parametrize(
    ("prefix", "path", "joined"),
    [
        ("routes.a.select", "majority.agree", "routes.a.select.majority.agree"),
        ("routes.a.select", "[0].majority", "routes.a.select[0].majority"),
        ("routes.a.select", "", "routes.a.select"),
        ("", "majority", "majority"),
    ],
)
def test_a_fault_can_be_seen_from_further_out(prefix: str, path: str, joined: str) -> None:
    """The configuration puts its own path before the one that the rule knows."""
    assert Fault(path, "is 0", "more").under(prefix) == Fault(joined, "is 0", "more")


def test_quoted_values_stay_short() -> None:
    """A wrong value does not flood the message."""
    with pytest.raises(SpecError, match=r"^unknown selector 'x{56}\.\.\., expected"):
        build("x" * 10_000)


@fanin.selector
def shortest(
    ballot: Ballot, limit: Annotated[int, Range(1, 9)] = 3, how: Literal["chars", "words"] = "chars"
) -> Selection | None:
    """Stand for a selector of another package."""
    if not ballot.closed or not ballot.candidates:
        return None
    return Selection(min(ballot.ranked(), key=lambda c: len(c.text)), f"the shortest in {how}, at most {limit}")


def picky(*, ranks: Sequence[int]) -> Rule:
    """Stand for a factory that checks its options itself."""
    if len(set(ranks)) < len(ranks):
        raise ValueError("a rank is given twice")
    return fanin.first()


class _Distribution(types.SimpleNamespace):
    name: str


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install entry points as packages would: `offer(("name", object or exception, "package"), ...)`."""
    registry._offered.cache_clear()

    class Offered(EntryPoint):
        def load(self) -> Any:
            found = objects[self.value]
            if isinstance(found, Exception):
                raise found
            return found

    objects: dict[str, Any] = {}

    def install(*offers: tuple[str, Any, str]) -> None:
        entries = []
        for name, found, package in offers:
            value = f"{package}:{name}"
            objects[value] = found
            entry = Offered(name, value, registry.GROUP)
            vars(entry).update(dist=_Distribution(name=package))
            entries.append(entry)
        monkeypatch.setattr(registry, "entry_points", lambda group: entries)
        registry._offered.cache_clear()

    yield install
    registry._offered.cache_clear()


def test_a_selector_of_another_package_is_found_and_its_options_are_checked(offer: Callable[..., None]) -> None:
    """Third-party selectors get the same messages, from nothing but their signature."""
    offer(("shortest", shortest, "acme"))
    selection = build({"shortest": {"limit": 2, "how": "words"}})(CLOSED)
    assert selection is not None
    assert (selection.reason, selection.selector) == ("the shortest in words, at most 2", "shortest")
    with pytest.raises(SpecError) as caught:
        build({"shortest": {"limt": 1, "limit": 10, "how": "lines"}})
    assert str(caught.value).split("\n") == [
        "shortest.limt: unknown option 'limt'; did you mean 'limit'?, expected how or limit",
        "shortest.limit: is 10, expected an integer from 1 to 9",
        "shortest.how: is 'lines', expected chars or words",
    ]
    with pytest.raises(SpecError, match=r"unknown selector 'shortes'; did you mean 'shortest'"):
        build("shortes")


def test_a_factory_that_refuses_its_options_is_quoted(offer: Callable[..., None]) -> None:
    """What the factory says becomes a fault at its place, list items are checked one by one."""
    offer(("picky", picky, "acme"))
    with pytest.raises(
        SpecError, match=r"^\[0\].picky: cannot be made: a rank is given twice, expected options that fit"
    ):
        build([{"picky": {"ranks": [1, 1]}}, "first"])
    with pytest.raises(SpecError, match=r"^picky.ranks\[1\]: is 'x', expected an integer$"):
        build({"picky": {"ranks": [1, "x"]}})


def test_a_broken_package_is_named_and_breaks_nothing_else(offer: Callable[..., None]) -> None:
    """Its own selector gives a clear fault; all others work, and listing the names does not load it."""
    offer(("broken", ImportError("No module named 'numpy'"), "acme"), ("shortest", shortest, "other"))
    assert build("shortest").name == "shortest"
    assert build("majority").name == "majority"
    with pytest.raises(SpecError) as caught:
        build(["broken", "wat"])
    assert str(caught.value).split("\n")[0] == (
        "[0]: selector 'broken' of package acme cannot be loaded (ImportError: No module named 'numpy'), "
        "expected acme:broken to be importable"
    )


def test_nobody_can_replace_a_built_in_selector(offer: Callable[..., None]) -> None:
    """A foreign `majority` is refused by name; the built-in one, listed as an entry point, is no collision."""
    offer(("majority", fanin.majority, "hedgerow"), ("first", shortest, "acme"))
    assert build("majority").name == "majority"
    with pytest.raises(
        SpecError, match=r"^selector 'first' of package acme collides with the built-in one, expected every name once"
    ):
        build("first")


def test_a_name_that_two_packages_offer_is_refused(offer: Callable[..., None]) -> None:
    """Which of them would win is not left to the order of installation."""
    offer(("best", shortest, "acme"), ("best", picky, "other"))
    with pytest.raises(SpecError, match=r"^selector 'best' is offered by package acme and package other, expected"):
        build("best")


def test_an_entry_point_that_makes_no_rule_is_refused(offer: Callable[..., None]) -> None:
    """An entry point names a factory of rules."""
    offer(("text", "a string", "acme"), ("number", lambda: 42, "acme"))
    with pytest.raises(
        SpecError, match=r"^selector 'text' of package acme is 'a string', expected a function that makes"
    ):
        build("text")
    with pytest.raises(SpecError, match=r"^'number' gives 42, expected a fanin\.Rule$"):
        build("number")


@pytest.mark.parametrize(
    "offered",
    [*BUILTINS.values(), *fanin.keys.KEYS.entries.values(), fanin.chain],
    ids=lambda offered: str(offered.__name__),
)
def test_everything_that_can_be_configured_says_when_not_to(offered: Callable[..., object]) -> None:
    """Whoever picks a selector or a key by its name reads there where it misleads."""
    assert re.search(r"\bnot\s+(use|put)\b", inspect.getdoc(offered) or "")
