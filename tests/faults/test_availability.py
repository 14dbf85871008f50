"""One of three providers dead, half of all connections reset: answers come all the same, and losers are cut off.

CI plays a share of the requests; `HEDGEROW_FULL=1 python -m pytest -m slow tests/faults/test_availability.py` plays
10,000 of each kind. `python -m bench.faults` prints the figures: no time is judged here, but for what is absurd.
"""

from __future__ import annotations

import pytest

from bench.faults import DEAD, leavers_cut, losers_cut, with_half_reset, with_one_dead
from tests.support.counts import FULL, times

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(3600 if FULL else 300)]

REQUESTS = times(200, 10_000)
ABSURD = 2.0
"""Seconds; the promise is a tenth of a second."""


@pytest.mark.parametrize("kind", [kind for kind in DEAD if kind != "healthy"])
async def test_one_dead_provider_of_three_costs_no_answer(kind: str) -> None:
    """99.99 % are answered, raced, voted on or streamed, whatever it is that one of them does."""
    for asked_for, outcome in (await with_one_dead(kind, REQUESTS)).items():
        print(f"{kind}, {asked_for}: {outcome.success:.4%}, p99 {outcome.percentile(0.99) * 1e3:.0f} ms")  # noqa: T201
        assert outcome.success >= 0.9999


async def test_half_of_all_connections_reset_hardly_shows() -> None:
    """Three attempts at each of three providers: 99.5 % are answered at least; without retries it would be 92 %."""
    half = await with_half_reset(times(1_500, 10_000))
    print(f"half of all connections reset: {half.success:.3%}")  # noqa: T201
    assert half.success >= 0.995


async def test_what_nobody_waits_for_is_cut_off_at_once() -> None:
    """Losers when a race is decided, and all calls of a client that has left, whatever the phase."""
    for lags in (sorted(await losers_cut(times(60, 1_000))), sorted(await leavers_cut(times(60, 1_000)))):
        p99 = lags[int(0.99 * len(lags))]
        print(f"{len(lags)} calls cut off, p99 {p99 * 1e3:.1f} ms")  # noqa: T201
        assert len(lags) >= 40
        assert p99 < ABSURD
