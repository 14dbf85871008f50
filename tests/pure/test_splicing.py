"""Putting two streams together: cut anywhere, and recognise what a continuation says again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.standby import repeated
from gateway.providers.splicing import Splice

LIKE = b'{"id":"first","created":1,"model":"m","choices":[]}'


def chunk(**delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return json.dumps({"id": "second", "created": 2, "model": "n", "choices": [choice]}).encode()


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=8), st.data())
def test_what_is_left_is_the_text_behind_the_cut(pieces: list[str], data: Any) -> None:
    """Wherever the cut falls, inside a piece or between two, and whatever characters they hold."""
    whole = "".join(pieces)
    skip = data.draw(st.integers(0, len(whole)))
    left = [json.loads(event) for event in Splice(LIKE, skip)([chunk(content=piece) for piece in pieces])]
    assert "".join(each["choices"][0]["delta"]["content"] for each in left) == whole[skip:]
    assert {each["id"] for each in left} <= {"first"}


def test_the_role_goes_and_the_finish_and_the_usage_stay() -> None:
    """A stream tells its role once, and its end with whoever ends it."""
    finish = b'{"id":"second","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    usage = b'{"id":"second","choices":[],"usage":{"total_tokens":9}}'
    role, empty = chunk(role="assistant", content=""), b'{"id":"second","choices":[]}'
    left = [json.loads(event) for event in Splice(LIKE, 0)([role, chunk(content="a"), empty, finish, usage])]
    assert [each["choices"][0]["delta"] if each["choices"] else each["usage"] for each in left] == [
        {"content": "a"},
        {},
        {"total_tokens": 9},
    ]


@pytest.mark.parametrize(
    ("said", "heard", "size"),
    [
        ("one two", " three", 0),
        ("one two ", " three", 1),
        ("one two ", "three", 0),
        ("one two", "one two three", 7),
        ("one two ", "one two three", 8),
        ("one two ", "one two\nthree", 7),
        ("there was a cat on the mat", "a cat on the mat and slept", 16),
        ("ha ha ha", "ha ha", 0),
        ("", "anything", 0),
    ],
)
def test_what_a_continuation_says_again_is_recognised(said: str, heard: str, size: int) -> None:
    """The whole beginning, its last words if they are many, and the white space that was cut off before."""
    assert repeated(said, heard) == size
