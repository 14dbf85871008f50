"""How a long message is split: nothing is lost but white space, no part is too long, parts end where they should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import Map
from gateway.engine.mapped import split

TEXTS = st.text(st.sampled_from("ab \n\té"), max_size=80)


@given(TEXTS, st.integers(1, 12), st.sampled_from(["paragraphs", "characters"]))
def test_nothing_is_lost_and_no_part_is_too_long(text: str, size: int, by: str) -> None:
    """What is not white space comes back in order, whatever the text."""
    parts = split(text, Map(by, size))
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(part) <= size for part in parts)
    assert all(parts) or parts == [""]


@pytest.mark.parametrize(
    ("text", "how", "parts"),
    [
        ("one\n\ntwo\n\nthree", Map("paragraphs", 8), ["one\n\ntwo", "three"]),
        ("one two\n \nthree", Map("paragraphs", 9), ["one two", "three"]),
        ("one two three", Map("paragraphs", 8), ["one two", "three"]),
        ("one\n\ntwo three", Map("characters", 9), ["one\n\ntwo", "three"]),
        ("abcdefgh", Map("characters", 3), ["abc", "def", "gh"]),
        ("short", Map(), ["short"]),
    ],
)
def test_a_part_ends_at_a_paragraph_else_between_words_else_anywhere(text: str, how: Map, parts: list[str]) -> None:
    """As many whole paragraphs as fit go into one part."""
    assert split(text, how) == parts
