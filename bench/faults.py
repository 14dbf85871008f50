"""Print what faults cost: `python -m bench.faults [--requests N]`.

Answers and 99th percentile with one of three providers dead in several ways beside healthy ones, which are asked in
turns so that a busy machine is as busy for both; answers with half of all connections reset; and how long after a
decision, or after its client has left, the upstream sees a call cut off.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import Connection, Unanswered, chat_request
from bench.processes import free_port, server
from gateway.providers.simulator import Simulator

LANES = 8
ROUNDS = 10
"""Turns in which the healthy providers and those with a dead one among them are asked."""
WARM = 64
"""Requests before anything is measured: connections are made, and a dead provider is found to be dead."""
LATENCY = 0.05
"""Seconds that a healthy answer takes."""
DEAD: Mapping[str, str] = {
    "healthy": f"latency={LATENCY}",
    "refused": "",
    "blackhole": "",
    "503": "status=503",
    "stall": "silent",
    "garbage": "html",
}
"""What the first of three providers does."""
WAYS: Mapping[str, tuple[str, bool]] = {
    "race": ("race", False),
    "vote": ("vote", False),
    "streams": ("race", True),
    "hedge": ("hedge", False),
    "fallback": ("fallback", False),
}
"""The routes that are asked, and whether for a stream."""
HALF = "reset&rate=0.5"
_ROUTES = """
providers:
  a: {{api: openai, base_url: "http://127.0.0.1:{first}/v1", api_key: a}}
  b: {{api: openai, base_url: "http://127.0.0.1:{sim}/v1", api_key: b}}
  c: {{api: openai, base_url: "http://127.0.0.1:{sim}/v1", api_key: c}}
routes:
  race: {{targets: ["a/m?{words}", "b/m?latency={latency}", "c/m?latency={latency}"], select: first}}
  vote: {{targets: ["a/m?{words}", "b/m?latency={latency}", "c/m?latency={latency}"], select: majority}}
  hedge: {{targets: ["a/m?{words}", "b/m?latency={latency}", "c/m?latency={latency}"], launch: hedge, timeout: 1s}}
  fallback:
    targets: ["a/m?{words}", "b/m?latency={latency}", "c/m?latency={latency}"]
    launch: fallback
    timeout: 1s
  half: {{targets: ["a/x?{half}", "b/y?{half}", "c/z?{half}"], select: first, retries: 2}}
  speaking: {{targets: ["a/m", "b/m?early=headers&ttft=60", "c/m?silent"]}}
  told: {{targets: ["a/m", "b/m?silent", "c/m?latency=60"]}}
  left-silent: {{targets: ["a/m?silent", "b/m?early=role&ttft=60"]}}
  left-stream: {{targets: ["a/m?gap=0.02&tokens=100000", "b/m?ttft=60"]}}
  left-warm: {{targets: ["a/m?gap=0.02&tokens=100000", "b/m?gap=0.02&tokens=100000"], standby: warm}}
  left-vote: {{targets: ["a/m?latency=60", "b/m?latency=60", "c/m"], select: majority}}
"""


@dataclass(frozen=True)
class Outcome:
    """How often a request was answered, and the seconds that the answers took, in order."""

    asked: int
    took: Sequence[float]

    @property
    def success(self) -> float:
        """The share of answers."""
        return len(self.took) / self.asked

    def percentile(self, share: float) -> float:
        """Return the seconds within which this share of the answers came."""
        return self.took[min(len(self.took) - 1, int(share * len(self.took)))]


@dataclass(frozen=True)
class Turns:
    """What was found in turns, with healthy providers and with one of them dead."""

    healthy: list[Outcome]
    dead: list[Outcome]

    def ratio(self, share: float) -> float:
        """Return how much longer this share of all answers took with a dead provider."""
        return _together(self.dead).percentile(share) / _together(self.healthy).percentile(share)

    def ratios(self, share: float) -> list[float]:
        """Return the same of each turn, in order: how far they lie apart is the machine's part in it."""
        pairs = zip(self.dead, self.healthy, strict=True)
        return sorted(dead.percentile(share) / healthy.percentile(share) for dead, healthy in pairs)


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    return Outcome(sum(each.asked for each in outcomes), sorted(took for each in outcomes for took in each.took))


@contextmanager
def blackhole() -> Iterator[int]:
    """Give a port that drops the packets of whoever connects: its backlog is full."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])


@asynccontextmanager
async def gateways(sim: Simulator, first: int, words: str = "") -> AsyncIterator[int]:
    """Run `hedgerow serve` over the simulator, its first provider at the port `first`; give its port."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name:
        folder, port = Path(name), free_port()
        file = folder / "gateway.yaml"
        text = _ROUTES.format(first=first, sim=sim.port, words=words, latency=LATENCY, half=HALF)
        file.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(file)]
        command += ["--port", str(port), "--metrics-port", str(free_port())]
        running = server(command, port, "/readyz", folder / "log")
        await asyncio.to_thread(running.__enter__)
        try:
            yield port
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def asked(port: int, route: str, count: int, *, stream: bool = False) -> Outcome:
    """Ask a route so many times in all, on LANES connections that are kept."""
    loop, took, left = asyncio.get_running_loop(), [], iter(range(count))
    request = chat_request(route, "Say something.", stream=stream)

    async def lane() -> None:
        connection = None
        for _ in left:
            if connection is None:
                _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
            start = time.perf_counter()
            try:
                await connection.ask(request)
            except Unanswered:
                connection.close()
                connection = None
            else:
                took.append(time.perf_counter() - start)
        if connection is not None:
            connection.close()

    async with asyncio.TaskGroup() as together:
        for _ in range(LANES):
            together.create_task(lane())
    return Outcome(count, sorted(took))


@asynccontextmanager
async def one_dead(kind: str) -> AsyncIterator[int]:
    """Run a gateway of which the first of three providers is dead in this way; give its port."""
    async with Simulator() as sim:
        with blackhole() as hole:
            first = {"refused": free_port(), "blackhole": hole}.get(kind, sim.port)
            async with gateways(sim, first, DEAD[kind]) as port:
                yield port


async def with_one_dead(kind: str, count: int) -> dict[str, Outcome]:
    """Ask in every way while the first of three providers is dead in this one."""
    async with one_dead(kind) as port:
        return {way: await asked(port, route, count, stream=stream) for way, (route, stream) in WAYS.items()}


async def beside_healthy(kind: str, count: int) -> dict[str, Turns]:
    """Ask so often in every way, in turns, while all three providers are healthy and while the first is dead."""
    async with one_dead("healthy") as healthy, one_dead(kind) as dead:
        found = {}
        for way, (route, stream) in WAYS.items():
            turns = Turns([], [])
            for port in (healthy, dead):
                await asked(port, route, WARM, stream=stream)
            for number in range(ROUNDS):
                order = [(healthy, turns.healthy), (dead, turns.dead)]
                for port, outcomes in order[:: 1 if number % 2 else -1]:
                    outcomes.append(await asked(port, route, count // ROUNDS, stream=stream))
            found[way] = turns
        return found


async def with_half_reset(count: int) -> Outcome:
    """Ask three providers of which each resets half of its calls before it answers."""
    async with Simulator() as sim, gateways(sim, sim.port) as port:
        return await asked(port, "half", count)


async def losers_cut(count: int) -> list[float]:
    """Return how many seconds after the winner's first byte the upstream saw each loser's connection close."""
    async with Simulator(keep=4 * count) as sim, gateways(sim, sim.port) as port:
        lags: list[float] = []
        for number in range(count):
            route, stream = ("speaking", True) if number % 2 else ("told", False)
            before = len(sim.journal)
            async with _client(port) as client:
                await client.ask(chat_request(route, "Say something.", stream=stream))
            await _quiet(sim)
            winner, *losers = sorted(sim.journal[before:], key=lambda entry: entry.outcome)
            decided = winner.first_byte or 0.0
            lags += [(entry.ended or 0.0) - decided for entry in losers]
        return lags


async def leavers_cut(count: int) -> list[float]:
    """Return how many seconds after its client had left the upstream saw each call cut off."""
    async with Simulator(keep=4 * count) as sim, gateways(sim, sim.port) as port:
        routes = [("left-silent", True), ("left-stream", True), ("left-warm", True), ("left-vote", False)]
        lags: list[float] = []
        for number in range(count):
            route, stream = routes[number % len(routes)]
            before = len(sim.journal)
            async with _client(port) as client:
                request = chat_request(route, "Say something.", stream=stream)
                waiting = asyncio.get_running_loop().create_task(client.begin(request))
                await asyncio.wait({waiting}, timeout=0.05)
                left = sim.now
            await asyncio.wait({waiting})
            waiting.exception()
            await _quiet(sim)
            lags += [(e.ended or 0.0) - left for e in sim.journal[before:] if e.outcome == "disconnected"]
        return lags


@asynccontextmanager
async def _client(port: int) -> AsyncIterator[Connection]:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    try:
        yield connection
    finally:
        connection.close()


async def _quiet(sim: Simulator) -> None:
    async with asyncio.timeout(30):
        while sim.running:  # noqa: ASYNC110 -- the simulator has no event for it
            await asyncio.sleep(0.001)


async def _report(count: int) -> None:
    print(f"{'first of':10}{'':8}{'':>12}{'p50 ms':>9}{'':>9}{'p99 ms':>9}{'':>9}{'p99, dead / healthy':>30}")
    print(
        f"{'three':10}{'asked':8}{'answered':>12}{'healthy':>9}{'dead':>9}{'healthy':>9}{'dead':>9}"
        f"{'all':>8}   median (min..max) of turns"
    )
    for kind in DEAD:
        for way, turns in (await beside_healthy(kind, count)).items():
            healthy, dead, each = _together(turns.healthy), _together(turns.dead), turns.ratios(0.99)
            times = [outcome.percentile(share) * 1e3 for share in (0.5, 0.99) for outcome in (healthy, dead)]
            spread = f"{turns.ratio(0.99):.2f}   {statistics.median(each):.2f} ({each[0]:.2f}..{each[-1]:.2f})"
            columns = "".join(f"{took:9.1f}" for took in times)
            print(f"{kind:10}{way:8}{dead.success:>12.4%}{columns}    {spread}", flush=True)
    half = await with_half_reset(count)
    print(f"half of all connections reset, 2 retries: {half.success:.3%} of {count} answered")
    for what, lags in (
        ("a race is decided", losers_cut(count // 10)),
        ("its client has left", leavers_cut(count // 10)),
    ):
        seen = sorted(await lags)
        middle, p99 = statistics.median(seen) * 1e3, seen[int(0.99 * len(seen))] * 1e3
        print(f"cut off after {what}: median {middle:.1f} ms, p99 {p99:.1f} ms, of {len(seen)} calls")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000, metavar="N", help="for each line of the table (10,000)")
    asyncio.run(_report(parser.parse_args().requests))
