"""`hedgerow gameday`: the operator's own routes through sixteen faults, with a simulator in each provider's place.

The gateway is the real one with the routes, selectors and time limits of the configuration, behind a real socket; only
the providers' addresses are others. In every scenario it is the first target of the route that breaks. A verdict is
`pass` (the whole answer, or the right error, and the provider was treated as it should), `partial` (an answer, with a
call too many or a policy evaded), `safe` (an honest error) or `fail` (a hang, or half an answer sold as a whole one).
The verdicts go by what the providers say: a route whose answers are made of several, or that accepts none of what we
let them say, is left out, and that is told.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from gateway.app import Gateway
from gateway.domain import Route, Target
from gateway.observe.log import Log
from gateway.providers.simulator import Simulator
from gateway.serving.loopback import serving
from gateway.settings import ProviderSettings, Secret, Settings

VERDICTS = ("pass", "partial", "safe", "fail")
"""From best to worst."""
AT_ONCE = 8
"""Scenarios that are played at the same time."""
GRACE = 10.0
"""Seconds beyond a route's deadline after which a request counts as hung."""
OUTAGE, ASKED, BACK = 3.0, 20, 40.0
"""Of a provider that flaps: seconds that it is down, requests meanwhile and after, seconds until it must be back."""
_WORDS = " ".join(f"word{number}" for number in range(60))
ANSWERS = (f"{_WORDS}. The answer is (B).", json.dumps({"answer": 42, "why": _WORDS}))
"""What the providers say: prose with numbers and a choice in it, and a document for routes that want one."""
_ACCOUNTED = 77
"""The tokens that every provider says it used: more than that would be a sum over several."""


@dataclass(frozen=True)
class Scenario:
    """What the first target does, and how many calls it may get; `refusal` is the status of a right error."""

    id: str
    title: str
    fault: Mapping[str, Any]
    most: int
    refusal: int | None = None
    others: Mapping[str, Any] | None = None


SCENARIOS = (
    Scenario("S01", "429 with Retry-After, once", {"status": 429, "retry_after": 2, "first": 1}, 2),
    Scenario("S02", "429 for ever", {"status": 429, "retry_after": 0.01, "retry_as": "ms"}, 6),
    Scenario("S03", "500 once", {"status": 500, "first": 1}, 2),
    Scenario("S04", "503 for ever", {"status": 503}, 4),
    Scenario("S05", "a reset before the headers, once", {"reset": True, "first": 1}, 2),
    Scenario("S06", "silence", {"silent": True}, 1),
    Scenario("S07", "a first token after 20 s", {"early": "role", "ttft": 20}, 1),
    Scenario("S08", "cut after 40 of 60 tokens", {"cut": 40, "cut_by": "rst"}, 3),
    Scenario("S09", "a stall of 30 s in the middle", {"stall": 30, "stall_at": 20}, 3),
    Scenario("S10", "a chunk that is no JSON", {"malformed": 20}, 3),
    Scenario("S11", "no [DONE] at the end", {"no_done": True}, 1),
    Scenario("S12", "the prompt is too long", {"status": 400, "error": "context_length"}, 1, 400),
    Scenario("S13", "a content policy refuses", {"status": 400, "error": "content_policy"}, 1, 400),
    Scenario("S14", "cut, and nobody takes a prefill", {"cut": 40}, 3, None, {"prefill": 0}),
    Scenario("S15", f"down for {OUTAGE:g} s, then well", {"status": 503, "until": OUTAGE}, 0),
    Scenario("S16", "503, and the winner's accounts", {"status": 503}, 4),
)


WELL = Scenario("S00", "all are well", {}, 1)


@dataclass(frozen=True)
class Judged:
    """The verdict on one route in one scenario, and why it is no better."""

    scenario: Scenario
    route: str
    verdict: str
    why: str


@dataclass(frozen=True)
class Day:
    """All verdicts, and by name the routes that were left out, each with the reason."""

    judged: Sequence[Judged]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Seen:
    """What one request came to; `text` is None where neither an end nor an error was told."""

    status: int
    text: str | None
    failed: bool
    tokens: int = 0


class CannotPlay(Exception):
    """There is no route to play on; the message says why."""


async def play(settings: Settings) -> Day:
    """Play every scenario on every route that it makes sense for.

    Raises:
        CannotPlay: there is no such route.
    """
    room = asyncio.Semaphore(AT_ONCE)

    async def one(part: _Part, scenario: Scenario) -> Judged:
        async with room:
            return Judged(scenario, part.route.name, *await part.play(scenario))

    parts, left_out = [], {}
    for route in settings.routes.values():
        found = await _suited(settings, route)
        if isinstance(found, _Part):
            parts.append(found)
        else:
            left_out[route.name] = found
    if not parts:
        reasons = "".join(f"\n{name}: {why}" for name, why in left_out.items())
        raise CannotPlay(f"gameday needs a route that answers a chat with a provider's text; there is none{reasons}")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(part, scenario)) for scenario in SCENARIOS for part in parts]
    return Day([task.result() for task in tasks], left_out)


async def _suited(settings: Settings, route: Route) -> _Part | str:
    """Return a route with an answer that it gives to its client when all are well, or why it has none."""
    why = ""
    for answer in ANSWERS:
        part = _Part(settings, route, answer)
        async with part.simulated(WELL) as (url, _):
            seen = await _ask(url, route)
        if seen.text == answer and not seen.failed:
            return part
        why = why or _unsuited(seen)
    return why


def _unsuited(seen: _Seen) -> str:
    if seen.failed:
        return f"all are well, and the client gets an error ({seen.status}): no text of ours is what it asks for"
    return "its answer is made of several providers' answers, or is no chat's"


def run(settings: Settings) -> Day:
    """Play every scenario on every route that it makes sense for, in a loop of its own."""
    return asyncio.run(play(settings))


def document(day: Day) -> dict[str, Any]:
    """Return the worst verdict of each scenario, all of them by route, and the routes that were left out."""
    judged = day.judged
    worst = [
        max((each for each in judged if each.scenario is scenario), key=lambda each: VERDICTS.index(each.verdict))
        for scenario in SCENARIOS
    ]
    told = [{"id": each.scenario.id, "route": each.route, "verdict": each.verdict, "why": each.why} for each in judged]
    scenarios = [{"id": each.scenario.id, "verdict": each.verdict, "why": each.why} for each in worst]
    left_out = [{"route": route, "why": why} for route, why in day.left_out.items()]
    return {"scenarios": scenarios, "routes": told, "left_out": left_out}


def lines(day: Day) -> Iterator[str]:
    """Give the scorecard for people."""
    width = max(len(each.route) for each in day.judged)
    for each in day.judged:
        scenario = each.scenario
        yield f"{scenario.id}  {scenario.title:34}  {each.route:{width}}  {each.verdict:7}  {each.why}".rstrip()
    for route, why in day.left_out.items():
        yield f"left out: {route}: {why}"
    counts = Counter(each.verdict for each in day.judged)
    yield ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)


class _Primary:
    """The model that breaks, as its provider sees it."""

    def __init__(self, sim: Simulator, model: str) -> None:
        self._sim, self._model = sim, model

    @property
    def calls(self) -> int:
        return sum(entry.model == self._model for entry in self._sim.journal)

    @property
    def answered(self) -> int:
        return sum(entry.model == self._model and entry.status == 200 for entry in self._sim.journal)


@dataclass(frozen=True)
class _Part:
    """A route in the play, and what its providers answer."""

    settings: Settings
    route: Route
    answer: str

    async def play(self, scenario: Scenario) -> tuple[str, str]:
        """Return the verdict on one scenario, and why it is no better."""
        async with self.simulated(scenario) as (url, primary):
            if scenario.id == "S15":
                return await self._flap(url, primary)
            return self._verdict(scenario, await _ask(url, self.route), primary.calls)

    @asynccontextmanager
    async def simulated(self, scenario: Scenario) -> AsyncIterator[tuple[str, _Primary]]:
        """Run the gateway on the route alone, a simulator in each provider's place; give its address."""
        settings, route, first = self.settings, self.route, self.route.targets[0]
        targets = (*route.targets, *(scorer.target for scorer in route.select.scorers))
        async with AsyncExitStack() as stack:
            sims = {
                name: await stack.enter_async_context(Simulator(self._script(name, targets, scenario)))
                for name in sorted({target.provider for target in targets})
            }
            providers = {
                name: ProviderSettings(
                    name,
                    base_url=sim.base_url,
                    api_key=Secret("gameday"),
                    concurrency=settings.providers[name].concurrency,
                )
                for name, sim in sims.items()
            }
            played = replace(route, learn=None)
            gateway = Gateway(Settings(providers, {route.name: played}, limits=settings.limits), Log(io.BytesIO()))
            url = await stack.enter_async_context(serving(gateway.asgi))
            yield url, _Primary(sims[first.provider], first.model)

    def _script(self, provider: str, targets: Sequence[Target], scenario: Scenario) -> dict[str, Any]:
        well, first = {"answer": self.answer, "usage_tokens": _ACCOUNTED}, self.route.targets[0]
        script = {t.model: {**well, **(scenario.others or {})} for t in targets if t.provider == provider}
        if first.provider == provider:
            script[first.model] = {**well, **scenario.fault}
        return script

    def _verdict(self, scenario: Scenario, seen: _Seen, calls: int) -> tuple[str, str]:
        """Return the verdict on what client and provider saw, and why it is no better."""
        many = f"the first target was called {calls} times, expected at most {scenario.most}"
        if seen.text is None:
            return "fail", "the client got neither a whole answer nor an error"
        if seen.failed:
            if seen.status == scenario.refusal:
                return ("pass", "") if calls <= scenario.most else ("partial", many)
            return "safe", f"the client got an error ({'in the stream' if seen.status == 200 else seen.status})"
        if seen.text != self.answer:
            return "fail", "the client got another answer than any provider gave, and no error"
        if calls > scenario.most:
            return "partial", many
        if scenario.id == "S13" and self.route.launch.initial == 1:
            return "partial", "the request went on to a provider whose policy allows it"
        if scenario.id == "S16" and seen.tokens != _ACCOUNTED:
            return "partial", f"usage says {seen.tokens} tokens, the winner said {_ACCOUNTED}"
        return "pass", ""

    async def _flap(self, url: str, primary: _Primary) -> tuple[str, str]:
        """Ask while the first target is down and after; it must serve again soon."""
        for number in range(ASKED):
            seen = await _ask(url, self.route)
            if seen.text is None or (seen.text != self.answer and not seen.failed):
                return "fail", f"request {number + 1} got neither a whole answer nor an error"
            if seen.failed:
                return "safe", f"request {number + 1} of {ASKED} got an error"
            await asyncio.sleep(2 * OUTAGE / ASKED)
        try:
            async with asyncio.timeout(BACK):
                while not primary.answered:
                    await _ask(url, self.route)
                    await asyncio.sleep(0.5)
        except TimeoutError:
            return "partial", f"the first target was not asked again within {BACK:g} s"
        return "pass", ""


async def _ask(url: str, route: Route) -> _Seen:
    """Ask for a stream, as a client that checks what it gets."""
    messages = [{"role": "user", "content": "Count."}]
    body = {"model": route.name, "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    raw = b""
    try:
        async with (
            asyncio.timeout(route.deadline + max(target.idle for target in route.targets) + GRACE),
            aiohttp.ClientSession() as session,
            session.post(f"{url}/v1/chat/completions", json=body) as response,
        ):
            async for piece in response.content.iter_any():
                raw += piece
    except (TimeoutError, aiohttp.ClientError):
        return _Seen(200, None, failed=False)
    return _read(raw) if response.status == 200 else _Seen(response.status, "", failed=True)


def _read(raw: bytes) -> _Seen:
    """Read a stream. Of one with the answers of several side by side, a choice that ends in its own error is told."""
    events = [line.removeprefix("data: ") for line in raw.decode().split("\n") if line.startswith("data: ")]
    chunks: list[Any] = [json.loads(event) for event in events if event != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    broken = {choice["index"] for choice in choices if "error" in choice}
    whole = {choice["index"] for choice in choices if choice["finish_reason"]} - broken
    shown = min(whole, default=0)
    text = "".join(choice["delta"].get("content") or "" for choice in choices if choice["index"] == shown)
    tokens = sum((chunk.get("usage") or {}).get("completion_tokens", 0) for chunk in chunks)
    failed = any("error" in chunk for chunk in chunks)
    return _Seen(200, text if failed or (whole and events[-1:] == ["[DONE]"]) else None, failed, tokens)
