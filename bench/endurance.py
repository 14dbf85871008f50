"""Print how the gateway lasts: `python -m bench.endurance [--minutes N]`.

First a soak: a modest rate of requests and streams while every fault of the list goes on, and clients that leave:
memory, descriptors and threads must not grow. Then an overload: ten times what the limits let through, open loop;
memory must stay bounded, refusals quick and with Retry-After, and what is let through answered as if nothing were the
matter.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench.processes import Server, free_port, server
from gateway.providers.simulator import Simulator

RATE = 20.0
"""Requests a second of the soak."""
ROOM, LATENCY, TIMES = 16, 0.5, 10
"""Of the overload: requests at once, seconds that each takes, and how many times as many are asked."""
POOLED = 65.0
"""Seconds after the soak in which all idle connections end: what is open then has leaked."""
EVERY = 5.0
"""Seconds between two looks at the process."""
_SOAK = """
providers:
  a: {{api: openai, base_url: "http://127.0.0.1:{sim}/v1", api_key: a}}
  b: {{api: openai, base_url: "http://127.0.0.1:{sim}/v1", api_key: b}}
  c: {{api: openai, base_url: "http://127.0.0.1:{sim}/v1", api_key: c}}
routes:
  errors: {{targets: ["a/m?status=503&rate=0.3", "b/m?latency=0.05"], select: first}}
  resets: {{targets: ["a/n?reset&rate=0.5", "b/n?reset&rate=0.5", "c/n"], select: first}}
  silent: {{targets: ["a/o?silent", "b/o?latency=0.1"], launch: {{initial: 1, stagger: 100ms}}, timeout: 1s}}
  garbage: {{targets: ["a/p?html", "b/p?latency=0.05"], launch: fallback}}
  vote: {{targets: ["a/q?latency=0.05", "b/q?latency=0.02", "c/q?status=500&rate=0.5"], select: majority}}
  cut: {{targets: ["a/r?cut=5&tokens=20&gap=0.01&rate=0.5", "b/r?tokens=20&gap=0.01"], standby: warm}}
  long: {{targets: ["a/s?tokens=100&gap=0.02", "b/s?ttft=2"]}}
  dead: {{targets: ["a/t?status=500", "b/t?silent"], deadline: 500ms}}
"""
_STREAMED = ("errors", "cut", "long", "silent")
_OVERLOAD = """
providers: {{a: {{api: openai, base_url: "http://127.0.0.1:{sim}/v1", api_key: a}}}}
routes: {{one: {{targets: ["a/m?latency={latency}"]}}}}
limits: {{in_flight: {room}, queue: {room}}}
"""


@dataclass
class Seen:
    """What clients saw: how often which status, of which routes, and the seconds that answers of each took."""

    took: dict[str, list[float]] = field(default_factory=dict)
    unadvised: int = 0
    routes: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, what: str, seconds: float, route: str) -> None:
        """Take down one request."""
        self.took.setdefault(what, []).append(seconds)
        self.routes.setdefault(route, Counter())[what] += 1

    def told(self) -> str:
        """Return the counts in one line, frequent ones first."""
        counts = Counter({what: len(each) for what, each in self.took.items()})
        return ", ".join(f"{count} x {what}" for what, count in counts.most_common())

    def percentile(self, what: str, share: float) -> float:
        """Return the seconds within which this share of what had this end came; nan without any."""
        took = sorted(self.took.get(what, ()))
        return took[min(len(took) - 1, int(share * len(took)))] if took else float("nan")


@dataclass
class Watched:
    """What the process held at each look: bytes of memory, descriptors, threads."""

    process: Server
    held: list[tuple[int, int, int]] = field(default_factory=list)

    async def until_cancelled(self) -> None:
        """Look every few seconds."""
        while True:
            self.look()
            await asyncio.sleep(EVERY)

    def look(self) -> None:
        """Look now."""
        self.held.append((self.process.memory(), self.process.descriptors(), self.process.threads()))

    def told(self) -> Sequence[str]:
        """Return a line for each, over the fifths of the time: a leak rises from each to the next."""
        fifth = max(1, len(self.held) // 5)
        parts = [self.held[at : at + fifth] for at in range(0, fifth * 5, fifth) if self.held[at : at + fifth]]
        lines = []
        for index, (name, unit) in enumerate((("memory, MB", 1e6), ("descriptors", 1.0), ("threads", 1.0))):
            means = [statistics.fmean(one[index] for one in part) / unit for part in parts]
            most = max(one[index] for one in self.held) / unit
            lines.append(f"{name:14}" + "".join(f"{mean:9.1f}" for mean in means) + f"   most {most:.1f}")
        return lines


@asynccontextmanager
async def gateway(text: str) -> AsyncIterator[tuple[int, int, Server]]:
    """Run `hedgerow serve` with this configuration; give its port, that of its metrics, and the process."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name:
        folder, port, metrics_port = Path(name), free_port(), free_port()
        (folder / "gateway.yaml").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(folder / "gateway.yaml")]
        command += ["--port", str(port), "--metrics-port", str(metrics_port)]
        running = server(command, port, "/readyz", folder / "log")
        started = await asyncio.to_thread(running.__enter__)
        try:
            yield port, metrics_port, started
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


async def ask(
    http: aiohttp.ClientSession, route: str, seen: Seen, *, stream: bool = False, patience: float = 30
) -> None:
    """Ask once, and leave when patience is over."""
    body = {"model": route, "stream": stream, "messages": [{"role": "user", "content": "Say something."}]}
    start = time.perf_counter()
    try:
        async with asyncio.timeout(patience), http.post("/v1/chat/completions", json=body) as answer:
            said = await answer.read()
            what = str(answer.status)
            if answer.status == 200 and stream and not said.rstrip().endswith(b"[DONE]"):
                what = "a stream that ended in an error"
            if answer.status in {429, 503} and "retry-after" not in answer.headers:
                seen.unadvised += 1
    except TimeoutError:
        what = "left" if patience < 1 else "hung"
    except aiohttp.ClientError as exc:
        what = type(exc).__name__
    seen.add(what, time.perf_counter() - start, route)


async def at_a_rate(rate: float, seconds: float, one: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do one thing `rate` times a second, whether or not the ones before have ended; wait for all."""
    due, end = time.perf_counter(), time.perf_counter() + seconds
    async with asyncio.TaskGroup() as together:
        while due < end:
            together.create_task(one())
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def soak(seconds: float) -> tuple[Seen, Watched, dict[str, float]]:
    """Ask every route, and return what clients saw, what the process held, and what is left of it."""
    chance, seen = random.Random(1), Seen()
    routes = [line.split(":")[0].strip() for line in _SOAK.partition("routes:")[2].strip().split("\n")]

    async with Simulator(keep=100) as sim, gateway(_SOAK.format(sim=sim.port)) as (port, metrics_port, process):
        watched = Watched(process)
        async with _client(port) as http:

            async def one() -> None:
                route = chance.choice(routes)
                patience = 0.03 if chance.random() < 0.05 else 30
                stream = route in _STREAMED and chance.random() < 0.7
                await ask(http, route, seen, stream=stream, patience=patience)

            looking = asyncio.get_running_loop().create_task(watched.until_cancelled())
            await at_a_rate(RATE, seconds, one)
            looking.cancel()
        await asyncio.sleep(POOLED)
        process_holds = {"MB": process.memory() / 1e6, "descriptors": process.descriptors()}
        return seen, watched, {**await _in_flight(metrics_port), **process_holds}


async def overload(seconds: float) -> tuple[Seen, Seen, Watched]:
    """Ask for ten times the room; return what clients saw then and in the five seconds after, and what was held."""
    during, after = Seen(), Seen()
    async with Simulator(keep=100) as sim:
        text = _OVERLOAD.format(sim=sim.port, latency=LATENCY, room=ROOM)
        async with gateway(text) as (port, _, process):
            watched = Watched(process)
            async with _client(port) as http:
                watched.look()
                looking = asyncio.get_running_loop().create_task(watched.until_cancelled())
                capacity = ROOM / LATENCY
                await at_a_rate(TIMES * capacity, seconds, lambda: ask(http, "one", during))
                await at_a_rate(capacity / 2, 5, lambda: ask(http, "one", after))
                looking.cancel()
                watched.look()
    return during, after, watched


def _client(port: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=0))


async def _in_flight(port: int) -> dict[str, float]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = (await answer.text()).split("\n")
    names = ("hedgerow_requests_in_flight", "hedgerow_calls_in_flight", "hedgerow_calls_waiting")
    return {name: sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)) for name in names}


async def _report(minutes: float, seconds: float) -> None:
    print(f"soak: {minutes:g} minutes at {RATE:g} requests/s", flush=True)
    seen, watched, left = await soak(minutes * 60)
    print(seen.told())
    for route, counts in seen.routes.items():
        print(f"  {route:10}", ", ".join(f"{count} x {what}" for what, count in counts.most_common()))
    print("                  mean of each fifth of the time")
    print("\n".join(watched.told()))
    print(f"after {POOLED:g} s of silence:", ", ".join(f"{name} {value:g}" for name, value in left.items()), flush=True)

    print(f"\noverload: {seconds:g} s at {TIMES * ROOM / LATENCY:g} requests/s, {ROOM / LATENCY:g} of which find room")
    during, after, watched = await overload(seconds)
    print(during.told(), f"({during.unadvised} of the refusals without Retry-After)")
    for what in ("200", "503"):
        p50, p99 = (during.percentile(what, share) * 1e3 for share in (0.5, 0.99))
        print(f"{what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms; {len(during.took.get(what, ())) / seconds:.1f}/s")
    print("\n".join(watched.told()))
    print(f"in the five seconds after it: {after.told()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.endurance", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="of the soak (10)")
    parser.add_argument("--overload", type=float, default=30, metavar="S", help="seconds of the overload (30)")
    given = parser.parse_args()
    asyncio.run(_report(given.minutes, given.overload))
