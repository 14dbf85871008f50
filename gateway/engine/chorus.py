"""The streams of several targets as one, live: what each says goes out as it comes, as the choices of its own number.

One task reads one target, and hands over what came together before it reads on: a slow client holds all of them back,
in their own sockets. A target that breaks off ends its own choices; the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

import msgspec
from msgspec import Raw

from fanin import Ballot, Candidate
from gateway.domain import Answer, ChatRequest, Failure, FailureKind, Headers, Plan, Usage
from gateway.engine.awaiting import KEEP_ALIVE_EVERY, ended
from gateway.engine.choices import Part, Score, added, chunks
from gateway.engine.events import Spent, Streamed
from gateway.errors import StreamBroken
from gateway.live_stream import LiveStream


class Reserve(Protocol):
    """The branches that are still in flight or yet to start (see engine/fanout.py)."""

    @property
    def due(self) -> bool:
        """Whether the next target starts now."""
        ...

    def proceed(self) -> None:
        """Ask the next target, if it may be asked."""
        ...

    async def step(self, ballot: Ballot) -> Ballot:
        """Wait for what lands and return the ballot with it, closed when nothing more can come."""
        ...

    async def recall(self, ballot: Ballot, kept: tuple[Candidate, ...]) -> None:
        """Cancel and await those in flight, and close all that has landed but what is kept."""
        ...


class Chorus:
    """The stream that a client gets (see `LiveStream`): every target's own, told apart by `index`.

    Target i of the plan has the choices behind those of the targets before it: one, or its share of the client's `n`.
    With fewer choices than targets, the last ones have none; they stand in where another fails before its first words.
    Choices that nobody gives, or that break off, end with `finish_reason: length` and an `error` object that says why.
    """

    wire, media = "chat", None

    def __init__(self, plan: Plan, request: ChatRequest, reserve: Reserve, ballot: Ballot, leader: Candidate) -> None:
        self._request, self._reserve, self._ballot = request, reserve, ballot
        self._leader = leader
        self._loop = asyncio.get_running_loop()
        self._open = _places(plan)
        """The choices that nobody gives yet, by the priority of the target whose they are."""
        self._names = {target.priority: target.name for target in plan.targets}
        self._count = sum(len(place) for place in self._open.values())
        self._replaced = len(plan.targets) > len(self._open) or plan.choices > 0
        """Whether another target may give the choices of one that failed."""
        self._include_usage = _wants_usage(request)
        self._voices: list[_Voice] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._recalling: asyncio.Task[None] | None = None
        self._ready: list[tuple[list[bytes], asyncio.Future[None]]] = []
        self._waker: asyncio.Future[None] | None = None
        self._fault: BaseException | None = None
        self._told: dict[int, dict[str, Any]] = {}
        self._score: asyncio.Future[Score] = self._loop.create_future()
        self.failure: Failure | None = None
        """What broke the last one off that did."""

    def led_by(self, leader: Candidate) -> Candidate:
        """Return the candidate that carries the stream of all in place of its own."""
        stream: LiveStream = self
        return replace(leader, payload=stream)

    @property
    def postscript(self) -> Mapping[str, Any]:
        """Who gave which choice, and what broke off."""
        return {"choices": [self._told[index] for index in sorted(self._told)]}

    @property
    def target(self) -> str:
        """The one whose first words came first."""
        return self._leader.target

    @property
    def headers(self) -> Headers:
        """The leader's."""
        return self._payload.headers

    @property
    def dropped(self) -> tuple[str, ...]:
        """What the leader was not sent."""
        return self._payload.dropped

    @property
    def _payload(self) -> Answer | LiveStream:
        payload: Answer | LiveStream = self._leader.payload
        return payload

    @property
    def usage(self) -> Usage | None:
        """Nothing: each target's tokens are booked as its own when the stream is closed."""
        return None

    def on_close(self, callback: Any) -> None:
        """Have `callback` called when the leader's stream is over."""
        if not isinstance(self._payload, Answer):
            self._payload.on_close(callback)

    async def hear(self, count: int) -> str | None:  # noqa: ARG002
        """Tell nothing: it says more than the text of one choice."""
        return None

    def forget(self) -> None:
        """Do nothing; each target's stream has been told."""

    def resume(self, like: bytes, skip: int) -> AsyncIterator[list[bytes]]:
        """Never asked for, as `hear` tells nothing."""
        raise NotImplementedError

    async def __aiter__(self) -> AsyncIterator[list[bytes]]:
        """Give the chunks, none after a long silence; raise StreamBroken at the end when no answer is whole."""
        self._seat()
        self._start(self._gather())
        while True:
            while self._ready:
                ready, self._ready = self._ready, []
                yield [chunk for chunks_of_one, _ in ready for chunk in chunks_of_one]
                for _, taken in ready:
                    taken.set_result(None)
            if self._fault is not None:
                raise self._fault
            if not self._tasks:
                break
            self._waker = self._loop.create_future()
            alarm = self._loop.call_later(KEEP_ALIVE_EVERY, self._wake)
            try:
                await self._waker
            finally:
                alarm.cancel()
            if not self._ready and self._loop.time() >= alarm.when():
                yield []
        if self.failure is not None and not any(voice.whole for voice in self._voices):
            raise StreamBroken(self.failure)
        if self._include_usage:
            told = [voice.part.usage for voice in self._voices if voice.part is not None and voice.part.usage]
            yield [self._score.result().total(added(told) if told else None)]

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._fault = self._fault or task.exception()
        self._wake()

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def _gather(self) -> None:
        """Let the others join in as they begin to speak, in the rhythm of the route, until every choice has a voice."""
        while self._open and not self._ballot.closed:
            if self._reserve.due:
                self._reserve.proceed()
            self._ballot = await self._reserve.step(self._ballot)
            self._seat()
        self._recalling = self._loop.create_task(self._recall())
        await asyncio.shield(self._recalling)
        for priority in [*self._open]:
            self._give_up(priority)

    async def _recall(self) -> None:
        await self._reserve.recall(self._ballot, tuple(voice.candidate for voice in self._voices))

    def _seat(self) -> None:
        """Give the new voices on the ballot their places; who has none of its own takes one that nobody has taken.

        Who makes up for a target that failed has the priority of that one.
        """
        seen = {id(voice.candidate) for voice in self._voices}
        for candidate in self._ballot.candidates:
            if id(candidate) not in seen and self._open:
                priority = candidate.priority if candidate.priority in self._open else self._forsaken()
                voice = _Voice(candidate, self._open.pop(priority))
                self._voices.append(voice)
                self._start(self._sing(voice))
        if not self._replaced:
            failed = {failure.target for failure in self._ballot.failures}
            for priority in [priority for priority in self._open if self._names[priority] in failed]:
                self._give_up(priority)

    def _forsaken(self) -> int:
        """Return whose choices a stand-in gives: those of one that has failed, else those of the first that is out."""
        failed = {failure.target for failure in self._ballot.failures}
        return next((priority for priority in self._open if self._names[priority] in failed), next(iter(self._open)))

    def _give_up(self, priority: int) -> None:
        """End the choices of a target that never spoke."""
        name, failures = self._names[priority], cast("Sequence[Failure]", self._ballot.failures)
        unasked = Failure(name, FailureKind.TIMEOUT, "not asked before the route's deadline")
        failure = next((failure for failure in failures if failure.target == name), unasked)
        self._start(self._break_off(self._open.pop(priority), failure))

    async def _sing(self, voice: _Voice) -> None:
        """Pass on what one target says, to its end."""
        target = voice.candidate.target
        self._told |= {index: {"index": index, "target": target} for index in voice.place}
        try:
            async for events in chunks(voice.candidate.payload, include_usage=self._include_usage):
                if not events:  # one target's several answers are silent
                    continue
                if voice.part is None:
                    voice.part = Part(self._scored(events[0]), voice.place)
                if heard := voice.part(events):
                    voice.note()
                    await self._hand_over(heard)
            voice.whole = True
        except StreamBroken as broken:
            await self._break_off(voice.place if voice.part is None else sorted(voice.part.unfinished), broken.failure)

    async def _break_off(self, indices: Sequence[int], failure: Failure) -> None:
        self.failure = failure
        error = {"message": f"{failure.target}: {failure.detail}", "type": "upstream_error", "code": failure.kind.value}
        for index in indices:
            self._told[index] = {"index": index, "target": failure.target, "kind": failure.kind.value}
        score = await asyncio.shield(self._score)
        if indices:
            await self._hand_over([score.ending(indices, error)])

    async def _hand_over(self, events: list[bytes]) -> None:
        """Wait until these chunks are with the client."""
        taken = self._loop.create_future()
        self._ready.append((events, taken))
        self._wake()
        await taken

    def _scored(self, first: bytes) -> Score:
        """Return what all chunks share; the first target to speak opens the choices of all."""
        if not self._score.done():
            score = Score(first, include_usage=self._include_usage)
            self._ready.append(([score.opening(self._count)], self._loop.create_future()))
            self._score.set_result(score)
        return self._score.result()

    async def aclose(self) -> None:
        """Close all streams, cancel whoever has not spoken, and book what each has said."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if self._recalling is None:
            self._recalling = self._loop.create_task(self._recall())
        closing = [self._loop.create_task(voice.aclose()) for voice in self._voices]
        interrupted = await ended([*tasks, self._recalling, *closing])
        for voice in self._voices:
            voice.book(self._request)
        if interrupted is not None:
            raise interrupted


class _Voice:
    """One target that speaks: who, how far, and how fluently (seconds of `time.perf_counter`)."""

    def __init__(self, candidate: Candidate, place: range) -> None:
        self.candidate, self.place = candidate, place
        self.part: Part | None = None
        self.whole = False
        self._began = self._last = time.perf_counter()
        self._longest = 0.0

    def note(self) -> None:
        """Take down that it has spoken."""
        now = time.perf_counter()
        self._longest, self._last = max(self._longest, now - self._last), now

    async def aclose(self) -> None:
        """Close its stream."""
        if not isinstance(self.candidate.payload, Answer):
            await self.candidate.payload.aclose()

    def book(self, request: ChatRequest) -> None:
        """Tell its tokens, and its rhythm."""
        usage, target = self.candidate.payload.usage, self.candidate.target
        if usage is not None:
            request.listen(Streamed(target, usage.completion, self._last - self._began, self._longest))
            request.listen(Spent(target, usage, won=True))


def _places(plan: Plan) -> dict[int, range]:
    """Return the choices of each target by its priority, as far as there are any for it."""
    places: dict[int, range] = {}
    first = 0
    for target in plan.targets[: plan.gathered]:
        count = target.choices or 1
        places[target.priority] = range(first, first + count)
        first += count
    return places


def _wants_usage(request: ChatRequest) -> bool:
    options = msgspec.json.decode(request.fields.get("stream_options", Raw(b"null")))
    return isinstance(options, dict) and options.get("include_usage") is True
