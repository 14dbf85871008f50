"""The text of a live stream: whole for whoever may continue it, and short for everybody else."""

from __future__ import annotations

from gateway.providers.spoken import LOOP, Spoken


def test_all_that_was_said_is_kept_whatever_its_length() -> None:
    """A sibling that takes over is held against every character, at any point of the stream."""
    spoken, said = Spoken(), ""
    for number in range(3 * LOOP):
        assert not spoken.add(f"{number} ")
        said += f"{number} "
        if number % 97 == 0:
            assert spoken.text == said
    assert spoken.text == said


def test_what_nobody_will_ask_for_is_not_kept() -> None:
    """The memory of a stream that goes on for ever does not grow with it."""
    spoken = Spoken()
    spoken.forget()
    for number in range(50 * LOOP):
        spoken.add(f"{number} ")
    assert spoken.text is None
    kept = sum(len(piece.split()) for piece in (*spoken._blocks, *spoken._pieces))
    assert LOOP <= kept < 2 * LOOP


def test_a_loop_is_found_whether_the_text_is_kept_or_not() -> None:
    """It is found early after it has begun, behind however much that made sense, and not before."""
    for kept in (True, False):
        spoken = Spoken()
        if not kept:
            spoken.forget()
        assert not any(spoken.add(f"{number} ") for number in range(5 * LOOP))
        assert not any(spoken.add("so it is. ") for _ in range(LOOP - 1))
        assert any(spoken.add("so it is. ") for _ in range(LOOP))
