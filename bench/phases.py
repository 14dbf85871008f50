"""The phases: what is asked of which process, and what is read before and after."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import servers
from bench.load import (
    Connection,
    chat_request,
    closed_loop,
    connections,
    in_turns,
    messages_request,
    responses_request,
    streams,
)
from bench.processes import Server

LANES = 8
"""Connections of a closed loop."""
RATE = 50.0
"""Requests a second where latency is measured."""
PHASE_WITHIN = 120.0
"""Seconds after which a phase has failed."""
_QUESTION = "Please read the report and answer in one paragraph what follows from it. " * 12


@dataclass(frozen=True, slots=True)
class Scale:
    """How much one round asks for; `pairs` are requests through the gateway, each with a direct one beside it."""

    requests: int
    streams: int
    pairs: int
    idle_streams: int
    races: int


FULL = Scale(requests=2400, streams=24, pairs=100, idle_streams=1000, races=9)
QUICK = Scale(requests=400, streams=24, pairs=25, idle_streams=200, races=3)


def one_round(
    runner: asyncio.Runner, scale: Scale, gateway: Server, upstream: Server, nginx: Server | None
) -> dict[str, float]:
    """Run every phase once and return what was measured, by the names of `report.FIGURES`."""
    one, three = chat_request("one", _QUESTION), chat_request("three", _QUESTION)
    dialects = {
        "messages": messages_request("claude", _QUESTION),
        "responses": responses_request("one", _QUESTION),
        "messages_chat": messages_request("over-chat", _QUESTION),
        "responses_chat": responses_request("over-chat", _QUESTION),
    }
    return {
        "one": runner.run(cpu_per_request(gateway, one, scale.requests)),
        **{name: runner.run(cpu_per_request(gateway, asked, scale.requests // 2)) for name, asked in dialects.items()},
        "three": runner.run(cpu_per_request(gateway, three, scale.requests // 2)),
        "event": runner.run(cpu_per_event(gateway, scale.streams)),
        "latency": runner.run(added_latency(gateway, upstream, scale.pairs)),
        "race": runner.run(race(gateway, scale.races)),
    } | ({} if nginx is None else {"nginx": runner.run(cpu_per_request(nginx, one, scale.requests))})


def one_start(runner: asyncio.Runner, scale: Scale, folder: Path, upstream: Server) -> dict[str, float]:
    """Start a gateway of its own and return what only a fresh one can tell."""
    with servers.gateway(folder, upstream) as fresh:
        return {
            "ready": fresh.started_in,
            "memory": fresh.memory() / 1e6,
            "idle": runner.run(memory_per_stream(fresh, scale.idle_streams)),
        }


async def cpu_per_request(measured: Server, request: bytes, total: int) -> float:
    """Return the CPU microseconds that a server takes for a request."""
    async with asyncio.timeout(PHASE_WITHIN), connections(measured.port, LANES) as opened:
        await closed_loop(opened, request, LANES)
        before = measured.cpu_seconds()
        await closed_loop(opened, request, total)
        return (measured.cpu_seconds() - before) / total * 1e6


async def cpu_per_event(measured: Server, count: int) -> float:
    """Return the CPU microseconds that a server takes for one event of a paced stream, its opening shared out."""
    async with asyncio.timeout(PHASE_WITHIN), connections(measured.port, count) as opened:
        before = measured.cpu_seconds()
        events = await streams(opened, chat_request("paced", _QUESTION, stream=True))
        return (measured.cpu_seconds() - before) / events * 1e6


async def added_latency(measured: Server, upstream: Server, pairs: int) -> float:
    """Return by how many milliseconds the median answer comes later than one of the upstream asked directly."""
    request = chat_request("one", _QUESTION)
    async with (
        asyncio.timeout(PHASE_WITHIN),
        connections(measured.port, 1) as through,
        connections(upstream.port, 1) as directly,
    ):
        taken = await in_turns([*through, *directly], request, RATE, pairs)
    behind_gateway, direct = map(statistics.median, taken)
    return (behind_gateway - direct) * 1e3


async def race(measured: Server, count: int) -> float:
    """Return the median seconds that a stream takes whose slower target sends its headers and role at once, too."""
    request, taken = chat_request("race", _QUESTION, stream=True), []
    async with asyncio.timeout(PHASE_WITHIN), connections(measured.port, 1) as (opened,):
        for _ in range(count):
            start = time.perf_counter()
            await opened.ask(request)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


async def memory_per_stream(measured: Server, count: int) -> float:
    """Return the resident kilobytes that an open stream takes in which nothing happens."""
    request = chat_request("held", _QUESTION, stream=True)
    async with (
        asyncio.timeout(PHASE_WITHIN),
        connections(measured.port, LANES) as first,
        connections(measured.port, count) as opened,
    ):
        await _begin(first, request)
        before = measured.memory()
        await _begin(opened, request)
        return (measured.memory() - before) / count / 1e3


async def _begin(opened: Sequence[Connection], request: bytes) -> None:
    for connection in opened:
        await connection.begin(request)
