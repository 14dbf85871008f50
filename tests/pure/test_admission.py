"""The gate before the endpoints: who is let in, who waits, who is sent away, and that no place is ever lost."""

from __future__ import annotations

import asyncio

import pytest

from gateway.api.admission import Admission
from gateway.errors import Overloaded
from gateway.settings import Limits

pytestmark = pytest.mark.anyio


async def enter(gate: Admission) -> None:
    """As the front does it."""
    if gate.crowded:
        await gate.wait()
    else:
        gate.inside += 1


async def test_who_waits_gets_the_place_of_who_leaves_in_order() -> None:
    """First come, first served; the count does not change when a place is handed on."""
    gate, order = Admission(Limits(in_flight=1, queue=2, queue_timeout=5)), []
    await enter(gate)

    async def visit(name: str) -> None:
        await enter(gate)
        order.append(name)
        gate.leave()

    async with asyncio.TaskGroup() as group:
        for name in ("a", "b"):
            group.create_task(visit(name))
            await asyncio.sleep(0)
        gate.leave()
    assert order == ["a", "b"]
    assert gate.inside == 0


async def test_a_full_queue_and_a_long_wait_are_refused() -> None:
    """At once where the queue is full, after the queue's time where nobody leaves."""
    gate = Admission(Limits(in_flight=1, queue=1, queue_timeout=0.01))
    await enter(gate)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(_refused(gate))
        await asyncio.sleep(0)
        assert "1 requests are in flight and 1 wait" in await _refused(gate)
        assert "none ended in time" in await waiting
    gate.leave()
    assert gate.inside == 0


async def _refused(gate: Admission) -> str:
    with pytest.raises(Overloaded) as refused:
        await enter(gate)
    assert refused.value.headers["retry-after"] in {"1", "2", "3"}
    return str(refused.value)


async def test_a_place_that_comes_with_a_cancellation_is_passed_on() -> None:
    """A client may be cancelled in the very moment in which its place becomes free."""
    gate = Admission(Limits(in_flight=1, queue=1, queue_timeout=5))
    await enter(gate)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(enter(gate))
        await asyncio.sleep(0)
        gate.leave()
        waiting.cancel()
    assert gate.inside == 0
    assert not gate.crowded


async def test_a_loop_that_is_late_twice_takes_nothing_new() -> None:
    """Once is a hiccup. When the loop keeps its time again, requests are taken again."""
    gate = Admission(Limits(loop_lag=0.1))
    gate.note_lag(0.5)
    await enter(gate)
    gate.note_lag(0.5)
    assert "0.1 s behind" in await _refused(gate)
    gate.note_lag(0.0)
    await enter(gate)
