"""How much longer a cancelled call would have taken: the product-limit estimate against laws that are known."""

from __future__ import annotations

import random
import statistics

import pytest

from gateway.observe.residual import MEMORY, Residual


def test_nothing_is_claimed_before_anything_was_seen() -> None:
    """No observation, no saving; and calls that were only ever cancelled give none either."""
    residual = Residual()
    assert residual.after(1.0) == 0
    for _ in range(200):
        residual.cut(0.5)
    assert residual.after(0.1) == 0


def test_a_target_without_memory_always_has_its_mean_left() -> None:
    """Exponential times: however long a call has taken, one mean is still to come."""
    residual, chance = Residual(), random.Random(1)  # noqa: S311 -- repeatable
    for _ in range(960):
        residual.ended.append(chance.expovariate(1 / 2.0))
    for seconds in (0.1, 0.5, 2.0):
        assert residual.after(seconds) == pytest.approx(2.0, rel=0.25)


def test_cancelling_the_slow_calls_does_not_make_the_target_look_fast() -> None:
    """Half of the calls are cut at one second; the mean of those that ended would say far less than is true."""
    residual, chance, ended = Residual(), random.Random(2), []  # noqa: S311 -- repeatable
    for _ in range(960):
        seconds = chance.expovariate(1 / 2.0)
        if seconds > 1.0 and chance.random() < 0.5:
            residual.cut(1.0)
        else:
            residual.ended.append(seconds)
            ended.append(seconds)
    naive = statistics.mean(ended) - 1.0
    assert residual.after(1.0) == pytest.approx(2.0, rel=0.3)
    assert naive < 0.7


def test_what_was_long_ago_counts_less() -> None:
    """A target that became quick is believed after some thousand calls."""
    residual = Residual()
    for _ in range(1000):
        residual.ended.append(10.0)
    assert residual.after(0.05) > 8
    for _ in range(5000):
        residual.ended.append(0.1)
        residual.after(0.05)
    assert residual.after(0.05) < 0.6


def test_where_no_call_is_cut_only_the_last_answers_are_kept() -> None:
    """Nobody asks for years: what is remembered does not grow, and is what came last."""
    residual = Residual()
    for seconds in (10.0, 0.1):
        for _ in range(10_000):
            residual.ended.append(seconds)
    assert len(residual.ended) == MEMORY
    assert residual.cut(0.05) < 0.1
