"""Keys find the answer in what models write, and nothing that a model can write makes them fail or hang."""

from __future__ import annotations

import json
import re
import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin import Candidate
from fanin.keys import KEYS, as_key
from fanin.keys.cleaning import LONGEST_REMEMBERED, plain
from fanin.keys.conclusion import conclusions
from fanin.keys.number import _number
from fanin.tally import printable


def key_of(spec: Any, text: str) -> Any:
    """Return the key of a text."""
    return as_key(spec)(Candidate("t", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("42", "42"),
        ("1,000", "1000"),
        ("1000.0", "1000"),
        ("1/2", "0.5"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("1/3", "1/3"),
        ("-7", "-7"),
        ("\N{MINUS SIGN}7", "-7"),
        ("-$1,234.50", "-1234.5"),
        ("$18", "18"),
        ("5 km", "5"),
        ("50%", "50"),
        ("1e3", "1000"),
        ("2.5E-1", "0.25"),
        ("16 - 3 = 13", "13"),
        ("10-3", "3"),
        ("First 3, then 4. The answer is 12 (that is 3 times 4).", "12"),
        ("The answer is **1,000**.\nI hope this answers your 2 questions!", "1000"),
        ('{"reasoning": "9 * 2", "answer": "18"}', "18"),
        ('```json\n{"answer": 18, "confidence": 0.9}\n```', "18"),
        ("#### 72\n", "72"),
        (r"so \boxed{1{,}250} in 3 steps", "1250"),
        (r"\(\frac{3}{4}\)", "0.75"),
        ("<think>maybe 7</think>8", "8"),
        ("7 and then </think>8", "8"),
        ("8 <think>or rather 9", "8"),
        ("\N{ARABIC-INDIC DIGIT FOUR}\N{ARABIC-INDIC DIGIT TWO}", "42"),
        ("\N{FULLWIDTH DIGIT FOUR}\N{FULLWIDTH DIGIT TWO}", "42"),
        ("GPT4 is version v2 of x_1", None),
        ("no idea", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("1/0", None),
        ("1e999999999", None),
        ("1e-999999999", None),
        ("9" * 301, None),
        ("\N{SUPERSCRIPT TWO}", None),
    ],
)
def test_number_finds_the_number_that_the_answer_comes_to(text: str, expected: str | None) -> None:
    """Spelling does not count, and what cannot be computed in a moment is no answer."""
    found = key_of("number", text)
    assert (None if found is None else printable(found)) == expected


@given(
    st.fractions(max_denominator=10**6).map(lambda f: Fraction(round(f * 1000), 1000)),
    st.sampled_from(["{}", "${}", "The answer is {}.", "#### {}", "```\n{}\n```", "<think>1</think> **{}**"]),
)
def test_number_does_not_depend_on_how_it_is_written(value: Fraction, form: str) -> None:
    """Grouping, trailing zeros, fractions and the words around it all give the same key."""
    sign, size = ("-" if value < 0 else ""), abs(value)
    whole, part = divmod(size.numerator * 1000 // size.denominator, 1000)
    spellings = [
        f"{sign}{whole}.{part:03d}",
        f"{sign}{whole:,}.{part:03d}000",
        f"{sign}{size.numerator}/{size.denominator}",
    ]
    assert {key_of("number", form.format(s)) for s in spellings} == {value}


@given(
    text=st.text("0123456789.,/eE+-$*:=( \n\u0664\u2212", max_size=12),
    mark=st.sampled_from(["answer is", "Answer:", "#### ", "boxed{", "ANSWER WAS "]),
    key=st.sampled_from(["number", "latex"]),
)
def test_a_plain_conclusion_is_read_the_short_way_as_it_is_the_long_way(text: str, mark: str, key: str) -> None:
    """A backslash in the next line ends the short way for whole numbers; what is found stays the same."""
    said = f"1 and 2.\nSo the {mark}{text}"
    assert key_of(key, said) == key_of(key, f"{said}\n\\")


@given(st.fractions(max_denominator=10**9))
def test_a_printed_number_is_the_same_number(value: Fraction) -> None:
    """The printable key, read again, is the key."""
    assert key_of("number", printable(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(b)", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        ("B) Paris", "B"),
        ("B. Paris is the capital, unlike (A).", "B"),
        ("Answer: C", "C"),
        ("The answer is (C).", "C"),
        ("The answer is **option D**, since A dog cannot be B.", "D"),
        ("The correct answer is: C) Paris", "C"),
        (r"\boxed{\text{E}}", "E"),
        (r"$\boxed{E}$", "E"),
        ("Both A and B look right.\nFinal answer: B", "B"),
        ('{"answer": "J"}', "J"),
        ("I considered (A), but it must be (C)", "C"),
        ("<think>The answer is A</think>\n\nThe answer is B", "B"),
        ("Let me see.\n\nC", "C"),
        ("A dog is not a cat", None),
        ("The answer is a mystery", None),
        ("The answer is A's brother", None),
        ("Z", None),
        ("", None),
    ],
)
def test_choice_finds_the_letter(text: str, expected: str | None) -> None:
    """The letter that is settled on, not one that is only mentioned, and none where there is none."""
    assert key_of("choice", text) == expected


def test_choice_takes_only_the_letters_it_is_given() -> None:
    """A route for other options says so."""
    assert key_of({"choice": "XYZ"}, "Answer: Z") == "Z"
    assert key_of({"choice": {"letters": "XYZ"}}, "Answer: A") is None


@given(
    st.sampled_from("ABCDEFGHIJ"),
    st.sampled_from(
        [
            "{}",
            "({})",
            "{}.",
            "{})",
            "Answer: {}",
            "The answer is **{}**",
            "\\boxed{{{}}}",
            "```\n{}\n```",
            "<think>B? C?</think>{}",
        ]
    ),
)
def test_choice_does_not_depend_on_the_form(letter: str, form: str) -> None:
    """Each usual form of the same letter gives the same key, and the key of the key is itself."""
    assert key_of("choice", form.format(letter)) == letter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"b": 2.0, "a": [1e2, true, null]}', '{"a":[100,true,null],"b":2}'),
        ('```json\n{"a": 1}\n```', '{"a":1}'),
        ('Here you are:\n{"a": "x"}\nAnything else?', '{"a":"x"}'),
        ("The list [draft]: [1, 2]", "[1,2]"),
        ('{"a": 1} and {"a": 2}', '{"a":1}'),
        ('"word"', '"word"'),
        ("42", "42"),
        ("true", "true"),
        ("null", None),
        ("NaN", None),
        ("[NaN]", None),
        ("{'a': 1}", None),
        ("words only", None),
        ("", None),
        ('{"code": "```"}', '{"code":"```"}'),
        ('{"say": "<think>"}', '{"say":"<think>"}'),
        ("[" * 100_000, None),
        ("[1e999]", "[Infinity]"),
        (f"[{'9' * 10_000}]", "[Infinity]"),
    ],
)
def test_json_is_compared_by_its_meaning(text: str, expected: str | None) -> None:
    """The order of keys, white space, fences and words around the document do not count; true is not 1."""
    assert key_of("json", text) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_the_key_of_a_canonical_document_is_itself(value: Any) -> None:
    """The json key is idempotent."""
    first = key_of("json", json.dumps([value], indent=2))
    assert first is not None
    assert key_of("json", first) == first
    assert json.loads(first) == [value]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", "  paris. "),
        ("**Paris**", '"PARIS"!'),
        ("New\n York", "new york"),
        ("Straße", "STRASSE"),
        ("\N{LATIN SMALL LIGATURE FI}n", "fin"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("```\nyes\n```", "<think>hm</think>Yes"),
    ],
)
def test_text_ignores_what_is_only_form(one: str, other: str) -> None:
    """Case, width, spaces, outer punctuation, fences and thinking do not make two answers of one."""
    assert key_of("text", one) == key_of("text", other) is not None


@pytest.mark.parametrize(("one", "other"), [("-5", "5"), ("C", "C++"), ("yes", "yes and no"), ("a b", "ab")])
def test_text_keeps_what_has_a_meaning(one: str, other: str) -> None:
    """Different answers stay different."""
    assert key_of("text", one) != key_of("text", other)


@given(st.text())
def test_the_key_of_a_normal_text_is_itself(text: str) -> None:
    """The text key is idempotent where cleaning has nothing left to take away."""
    found = key_of("text", text)
    if found is not None and plain(found) == found:
        assert key_of("text", found) == found


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"Verdict: (\w+)", "Verdict: Yes. On reflection, verdict: x. Verdict: NO", "no"),
        (r"(?i)(?:verdict|result): (\w+)", "Result: Yes", "yes"),
        (r"\d{4}-\d\d", "from 2023-01 to 2024-02", "2024-02"),
        (r"a(b)?", "a", None),
        (r"x", "y", None),
    ],
)
def test_regex_takes_the_first_group_of_the_last_match(pattern: str, text: str, expected: str | None) -> None:
    """The whole match where there is no group; a group that took no part abstains."""
    assert key_of({"regex": pattern}, text) == expected
    assert key_of({"regex": {"pattern": re.compile(pattern)}}, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think>b", "b"),
        ("a<think>b", "a"),
        ("a</think>b", "b"),
        ("<THINKING>a</THINKING> b <reasoning>c</reasoning>", "b"),
        ("<think>a<think>b</think>c</think>d", "d"),
        ("```python\nx = 1\n```", "x = 1"),
        ("```42```", "42"),
        ('```json\n{"code": "```x```"}\n```', '{"code": "```x```"}'),
        ("1 < 2", "1 < 2"),
        (" a ", "a"),
    ],
)
def test_cleaning_leaves_the_answer_alone(text: str, expected: str) -> None:
    """Thinking goes, also half of it; fences go, what is in them stays."""
    assert plain(text) == expected


EVERY_KEY = [
    *sorted(set(KEYS.names()) - {"regex", "json_field", "tool_calls"}),
    {"regex": r"(\w+)"},
    {"json_field": "a.0"},
]
"""Every key that reads the text, with the options it must have."""


@pytest.mark.parametrize("spec", EVERY_KEY, ids=str)
def test_no_text_makes_a_key_fail(spec: Any) -> None:
    """Whatever a model writes, a key is found, hashable and printable on one line, or abstains; twice the same."""

    @given(st.text() | st.text('0123456789.,/eE+-$ \n[]{}":`<>thinkanswerboxed#\\N\u0664\u2212', max_size=60))
    def holds(text: str) -> None:
        found = key_of(spec, text)
        assert found == key_of(spec, text)
        if found is not None:
            hash(found)
            assert printable(found)

    holds()


@pytest.mark.parametrize("spec", EVERY_KEY, ids=str)
@pytest.mark.parametrize(
    "part",
    [
        "1",
        "1,",
        "1,000",
        "1/",
        "1e",
        ".",
        "-",
        "$",
        "{",
        "[1,",
        "<think>",
        "</think>",
        "`",
        "```\n",
        "answer ",
        "answer: ",
        "boxed{",
        "####",
        "(A",
        "\n",
        " ",
        "a ",
        "\u0664",
        '{"a":',
    ],
    ids=repr,
)
def test_long_answers_take_time_in_proportion(spec: Any, part: str) -> None:
    """A hundred thousand characters of anything are read in well under a second: no pattern backtracks over them."""
    key, text = as_key(spec), (part * 100_000)[:100_000]
    start = time.thread_time()
    key(Candidate("t", text))
    assert time.thread_time() - start < 5  # CPU seconds on a busy machine: backtracking would take minutes


def test_long_texts_are_not_remembered() -> None:
    """What the keys remember is bounded in characters, not only in number."""
    _number.cache_clear()
    key_of("number", "7" + " " * LONGEST_REMEMBERED)
    assert _number.cache_info().currsize == 0
    key_of("number", "7")
    key_of("number", "7")
    assert _number.cache_info()[:2] == (1, 1)


def test_an_answer_without_text_has_no_key() -> None:
    """A candidate that only calls tools abstains under the keys that read text."""
    assert [key_of(spec, "") for spec in EVERY_KEY] == [None] * len(EVERY_KEY)


def test_a_function_is_a_key() -> None:
    """From Python a key may be any function of a candidate."""
    assert as_key(lambda candidate: candidate.target)(Candidate("t")) == "t"


@pytest.mark.parametrize("padding", [0, 1, 100, 200, 250, 255, 256, 257, 300, 2000])
def test_every_mark_of_a_conclusion_is_found_the_last_one_first(padding: int) -> None:
    """However far they are from the end, and from each other: near the end one search finds the only one needed."""
    text = rf"The answer is one.{' ' * padding}ANSWER: two. \boxed{{three}}{' ' * padding}##### four{' ' * padding}"
    assert [re.findall("[a-z]+", span)[0] for span in conclusions(text)] == ["four", "three", "two", "one"]
    assert [*conclusions("no mark" + " " * padding)] == []
