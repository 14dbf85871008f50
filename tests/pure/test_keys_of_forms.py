"""Keys for mathematics, Python values, JSON fields and tool calls see the meaning and not the form."""

from __future__ import annotations

import ast
import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin import Candidate, ToolCall
from fanin.keys import as_key
from fanin.keys.calls import NO_CALL
from fanin.tally import printable


def key_of(spec: Any, text: str) -> Any:
    """Return the key of a text."""
    return as_key(spec)(Candidate("t", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{42}", "42"),
        (r"First \boxed{1}, no: \boxed{2}.", "2"),
        (r"$\boxed{\dfrac12}$", "0.5"),
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"\boxed{-\tfrac{3}{4}}", "-0.75"),
        (r"\boxed{1/3}", "1/3"),
        (r"\boxed{.5}", "0.5"),
        (r"\boxed{1{,}000}", "1000"),
        (r"\boxed{1,000}", "1000"),
        (r"\boxed{50\%}", "50"),
        (r"\boxed{\$18.90}", "18.9"),
        (r"\boxed{90^\circ}", "90"),
        (r"\boxed{x = 3}", "3"),
        (r"\boxed{x \in [0,1]}", "[0,1]"),
        (r"\boxed{5\text{ cm}^2}", "5"),
        (r"\boxed{\text{Monday}}", "monday"),
        (r"\boxed{\left( 1, \frac32 \right)}", r"(1,\frac{3}{2})"),
        (r"\boxed{2\sqrt3}", r"2\sqrt{3}"),
        (r"\boxed{\sqrt{\frac{a}{b}}}", r"\sqrt{\frac{a}{b}}"),
        (r"The answer is $\frac{3}{4}$.", "0.75"),
        ("The answer is **7**.", "7"),
        ("#### 72", "72"),
        ('{"reasoning": "so it is", "answer": "-15"}', "-15"),
        (r'{"reasoning": "\(a^2\)", "answer": "\\frac{1}{2}"}', "0.5"),
        (r'{"answer": "$\frac{1}{2}$"}', "0.5"),
        (r"<think>\boxed{1}</think>\boxed{8}", "8"),
        (r"\boxed{3", None),
        (r"\boxed{}", None),
        (r"\boxed{\frac{1}{0}}", r"\frac{1}{0}"),
        ("two\nlines", None),
        ("", None),
    ],
)
def test_latex_is_compared_by_what_it_says(text: str, expected: str | None) -> None:
    """The last box that closes, without spacing, units and spellings of the same fraction."""
    found = key_of("latex", text)
    assert (None if found is None else printable(found)) == expected


FORMS = [
    r"\boxed{%s}",
    r"So $\boxed{ %s }$.",
    r"The answer is $%s$.",
    r"Hence \[\boxed{x=%s}\]",
    r"\fbox{\left.%s\right.}",
]


@given(
    st.fractions(max_denominator=10**6), st.sampled_from(FORMS[:4]), st.sampled_from(["frac", "dfrac", "tfrac", "/"])
)
def test_a_fraction_is_the_same_in_every_form(value: Fraction, form: str, spelling: str) -> None:
    """Any box, any of the fraction commands, a slash: one key, and printing and reading it again changes nothing."""
    sign, over, under = ("-" if value < 0 else ""), abs(value.numerator), value.denominator
    written = f"{sign}{over}/{under}" if spelling == "/" else rf"{sign}\{spelling}{{{over}}}{{{under}}}"
    found = key_of("latex", form % written)
    assert found == value
    assert key_of("latex", printable(found)) == value


@given(st.text(r"abxyz0123456789+-*/^_() ,=.", min_size=1, max_size=30))
def test_the_key_of_a_formula_is_itself(formula: str) -> None:
    """Normalising what is normal changes nothing, and spaces around it do not count."""
    found = key_of("latex", rf"\boxed{{{formula}}}")
    assert key_of("latex", rf"\boxed{{ {formula} }}") == found
    if found is not None:
        assert key_of("latex", rf"\boxed{{{printable(found)}}}") == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2.0, 'a']", "[1, 2, 'a']"),
        ("assert f(3) == [1, 2]", "[1, 2]"),
        ("[ANSWER]\nf('a') == {'b': 1, 'a': (1,)}\n[/ANSWER]", "{'a': (1,), 'b': 1}"),
        ("The answer is `'x == y'`", "'x == y'"),
        ("The loop ends.\nAnswer: {2, 1}", "{1, 2}"),
        ("It returns\n```python\n(1, 2)\n```", "(1, 2)"),
        ('{"reasoning": "x", "answer": "[1, (2,)]"}', "[1, (2,)]"),
        ('{"answer": "word"}', "'word'"),
        (r'{"answer": "\"word\""}', "'word'"),
        ("True", "True"),
        ("1", "1"),
        ("None", "None"),
        ('"a"', "'a'"),
        ("set()", "set()"),
        ("1 + 1", None),
        ("f(x)", None),
        ("__import__('os')", None),
        ("{[]: 1}", None),
        (r"'\d'", "'\\\\d'"),
        ("[" * 9_000, None),
        ("-" * 5_000 + "1", None),
        ("words only", None),
        ("", None),
    ],
)
def test_python_literals_are_compared_by_value(text: str, expected: str | None) -> None:
    """Quotes, order and spelling do not count; nothing is ever run."""
    assert key_of("python", text) == expected


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("ab'\" ,", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.tuples(inner)
        | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    LITERALS,
    st.sampled_from(["%s", "```python\n%s\n```", "assert f(2) == %s", "Done.\nAnswer: %s", "<think>7</think>%s"]),
)
def test_a_literal_is_the_same_in_every_form(value: Any, form: str) -> None:
    """The key is a spelling of the same value, and its own key."""
    found = key_of("python", form % repr(value))
    assert found is not None
    assert ast.literal_eval(found) == value
    assert key_of("python", found) == found


def json_like(value: Any) -> str:
    """Return Python source of the value on one line."""
    return repr(value)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("label", '{"label": "Spam!", "why": "x"}', "spam"),
        ("score", '```json\n{"score": 2.0}\n```', "2"),
        ("a.b.1", '{"a": {"b": [1, {"z": 1, "y": 2}]}}', '{"y":2,"z":1}'),
        ("ok", '{"ok": false}', "false"),
        ("a.b", '{"a": 1}', None),
        ("a.5", '{"a": [1]}', None),
        ("a", '{"a": null}', None),
        ("a", '{"a": " "}', None),
        ("a", "no json", None),
        ("length", '"text"', None),
    ],
)
def test_a_json_field_is_compared_alone(path: str, text: str, expected: str | None) -> None:
    """What stands at the path counts, the reasons beside it do not."""
    assert key_of({"json_field": path}, text) == expected


def calls(*given: tuple[str, str]) -> Any:
    """Return the key of an answer that makes these calls."""
    made = tuple(ToolCall(name, arguments, id=f"call_{index}") for index, (name, arguments) in enumerate(given))
    return as_key("tool_calls")(Candidate("t", "Let me see.", tool_calls=made))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("math.hypot", '{"x": 4, "y": 5}')], [("math_hypot", '{"y":5.0,"x":4}')]),
        ([("get", '{"city": " Paris"}')], [("get", '{"city": "PARIS"}')]),
        ([("get", '{"c": ["A", {"b": "C"}]}')], [("get", '{"c": ["a", {"b": "c "}]}')]),
        ([("a", "{}"), ("b", "{}")], [("b", ""), ("a", "{}")]),
        ([("a", "{broken")], [("a", " {broken ")]),
    ],
)
def test_calls_that_mean_the_same_have_the_same_key(one: list[Any], other: list[Any]) -> None:
    """Dots, order, number spelling, case and ids do not count."""
    assert calls(*one) == calls(*other) is not None


def test_calls_that_differ_have_different_keys() -> None:
    """The multiset counts, so does true against 1, and no call is an answer of its own."""
    once, twice = calls(("a", "{}")), calls(("a", "{}"), ("a", "{}"))
    keys = [once, twice, calls(("a", '{"x": 1}')), calls(("a", '{"x": true}')), calls(("a", '{"x": "1"}')), calls()]
    assert len(set(keys)) == len(keys)
    assert keys[-1] == NO_CALL


@given(
    st.dictionaries(st.text("abc", max_size=2), st.integers() | st.text("aB ", max_size=3), max_size=4), st.randoms()
)
def test_the_order_of_arguments_does_not_count(arguments: dict[str, Any], random: Any) -> None:
    """Shuffled and re-spaced arguments give the same key, and the key of its own arguments is itself."""
    items = list(arguments.items())
    random.shuffle(items)
    found = calls(("f", json.dumps(arguments)))
    assert calls(("f", json.dumps(dict(items), indent=1))) == found
    ((name, inner),) = json.loads(found)
    assert calls((name, json.dumps(inner))) == found


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_arguments_make_the_key_fail(name: str, arguments: str) -> None:
    """Whatever a model writes as arguments, the calls have a printable key."""
    assert printable(calls((name, arguments)))
