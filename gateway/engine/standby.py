"""A live stream with others behind it: what breaks off after its first words is continued, not given up.

A sibling that has said the same so far goes on exactly there (`splice`); else a target that takes the beginning of an
answer gets what the client has (`prefill`). Only the text of one choice is continued: tool calls never are. Siblings
wait unread: what they say stays in the sockets' buffers, whose limit holds them back, until somebody needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec
from msgspec import Raw
from msgspec.structs import replace as struct_replace

from fanin import Ballot, Candidate, Rule
from gateway.domain import Answer, Caller, ChatRequest, Failure, Headers, Outcome, Plan, Target, Usage
from gateway.engine.events import Rescued, Verified
from gateway.errors import StreamBroken
from gateway.live_stream import LiveStream

_ALL = 0.999
"""An agreement above it is everybody's."""
ECHO = 16
"""Characters: a continuation that begins with so many of the last ones has repeated them."""

_encode = msgspec.json.Encoder().encode
_messages = msgspec.json.Decoder(list[Raw])


class Reserve(Protocol):
    """The branches that are still in flight behind the stream (see engine/fanout.py)."""

    @property
    def waiting(self) -> bool:
        """Whether one of them may still land."""
        ...

    async def another(self) -> list[Outcome]:
        """Wait for the next to land."""
        ...

    async def recall(self, ballot: Ballot, kept: tuple[Candidate, ...]) -> None:
        """Cancel and await them, and close all that has landed but what is kept."""
        ...


class Standby:
    """The stream that a client gets, whoever speaks it (see `LiveStream`)."""

    def __init__(self, plan: Plan, request: ChatRequest, call: Caller, reserve: Reserve, ballot: Ballot) -> None:
        self._plan, self._request, self._call, self._reserve = plan, request, call, reserve
        self._ballot = ballot
        self._speaker = ballot.candidates[0]
        self._before, self._skip = "", 0
        """What others have told the client, and how much of that the speaker says again."""
        self._began: bytes | None = None
        self.postscript: Mapping[str, Any] = {}

    def led_by(self, leader: Candidate) -> Candidate:
        """Return the candidate that carries this stream in place of its own."""
        self._speaker = leader
        stream: LiveStream = self
        return replace(leader, payload=stream)

    @property
    def _stream(self) -> LiveStream:
        stream: LiveStream = self._speaker.payload
        return stream

    @property
    def wire(self) -> str:
        """The protocol of the events."""
        return self._stream.wire

    @property
    def headers(self) -> Headers:
        """What the first answer's own headers say that a client may know."""
        return self._stream.headers

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of the client's fields that the speaker was not sent."""
        return self._stream.dropped

    @property
    def media(self) -> str | None:
        """The content type of what is not events."""
        return self._stream.media

    @property
    def target(self) -> str:
        """The name of the target that speaks at present."""
        return self._speaker.target

    @property
    def failure(self) -> Failure | None:
        """What broke it off for good."""
        return self._stream.failure

    @property
    def usage(self) -> Usage | None:
        """The tokens of the one that speaks: where another spoke before, its are booked as lost."""
        return self._stream.usage

    def on_close(self, callback: Any) -> None:
        """Have `callback` called when the present speaker's stream is over."""
        self._stream.on_close(callback)

    async def hear(self, count: int) -> str | None:
        """Read on; see `LiveStream`."""
        return await self._stream.hear(count)

    def forget(self) -> None:
        """Do nothing: what is said is needed to go on from there."""

    def resume(self, like: bytes, skip: int) -> AsyncIterator[list[bytes]]:
        """Continue another stream; see `LiveStream`."""
        return self._stream.resume(like, skip)

    async def __aiter__(self) -> AsyncIterator[list[bytes]]:
        """Give the events; raise StreamBroken when nobody can continue what broke off."""
        source: AsyncIterator[list[bytes]] = aiter(self._stream)
        while True:
            try:
                async for events in source:
                    self._began = self._began or events[0]
                    yield events
                break
            except StreamBroken:
                if not await self._hand_over():
                    raise
                assert self._began is not None  # noqa: S101 -- nothing is handed over before the first event
                source = self._stream.resume(self._began, self._skip)
        if self._plan.verify is not None:
            await self._verify(self._plan.verify)

    async def _hand_over(self) -> bool:
        """Let another speak on; False when nobody can."""
        spoken = await self._stream.hear(0)
        if spoken is None or self._began is None:
            return False
        said = self._before + spoken[self._skip :]
        heir, skip, how = await self._sibling(said), len(said), "splice"
        if heir is None:
            heir, skip, how = *await self._prefilled(said), "prefill"
        if heir is None:
            return False
        self._request.listen(Rescued(self.target, heir.target, how))
        await self._stream.aclose()
        self.postscript = {"rescued": [*self.postscript.get("rescued", ()), {"by": heir.target, "how": how}]}
        if heir not in self._ballot.candidates:
            self._ballot = self._ballot.add(heir)
        self._speaker, self._before, self._skip = heir, said, skip
        return True

    async def _sibling(self, said: str) -> Candidate | None:
        """Return a sibling whose text begins with what was said; one that is behind is waited for."""
        tried: list[Candidate] = [self._speaker]
        while True:
            untried = [each for each in self._ballot.ranked() if not any(each is other for other in tried)]
            for candidate in untried:
                tried.append(candidate)
                if await _says(candidate, said):
                    return candidate
            if not self._reserve.waiting:
                return None
            await self._gather()

    async def _gather(self) -> None:
        for outcome in await self._reserve.another():
            self._ballot = self._ballot.add(outcome)

    async def _prefilled(self, said: str) -> tuple[Candidate | None, int]:
        """Ask the targets that go on with the beginning of an answer, the one that broke off last."""
        able = [target for target in self._plan.targets if target.prefill is not None]
        for target in sorted(able, key=lambda target: target.name == self.target):
            request = prefilled(self._request, target, said)
            limit = asyncio.get_running_loop().time() + target.timeout
            outcome = await self._call(target, request, limit)
            if isinstance(outcome, Candidate) and not isinstance(outcome.payload, Answer):
                heard = await outcome.payload.hear(max(ECHO, min(len(said), 4 * ECHO)))
                if heard is not None and heard.startswith(said[: len(heard)]):
                    heard = await outcome.payload.hear(len(said))  # an echo from the beginning: hear it out
                if heard is not None:
                    return outcome, repeated(said, heard)
                await outcome.payload.aclose()
        return None, 0

    async def _verify(self, rule: Rule) -> None:
        """Hold the whole answer against the one that the siblings choose among theirs, by the route's own rule."""
        while self._reserve.waiting:
            await self._gather()
        whole = [answer for each in self._ballot.ranked() if (answer := await _whole(each)) is not None]
        mine = [each for each in whole if each.target == self.target]
        others = tuple(each for each in whole if each.target != self.target)
        theirs = rule(Ballot(len(others), others, closed=True)) if mine and others else None
        if theirs is None:
            self.postscript = {**self.postscript, "verified": {"agreed": None, "by": [], "reason": "nobody to compare"}}
            return
        both = rule(Ballot(2, (mine[0], theirs.winner), closed=True))
        agreed = both is not None and both.agreement is not None and both.agreement > _ALL
        self._request.listen(Verified(self.target, agreed))
        told = {"agreed": agreed, "by": [each.target for each in others], "reason": theirs.reason}
        self.postscript = {**self.postscript, "verified": told}

    async def aclose(self) -> None:
        """Close the stream and whatever stood by."""
        try:
            await self._stream.aclose()
        finally:
            await self._reserve.recall(self._ballot, (self._speaker,))


async def _says(candidate: Candidate, said: str) -> bool:
    """Whether a sibling has said the same; it is read on until it has said as much, or something else."""
    stream = candidate.payload
    if isinstance(stream, Answer):
        return False
    heard = await stream.hear(0)
    while heard is not None and len(heard) < len(said) and said.startswith(heard):
        longer = await stream.hear(len(heard) + 1)
        if longer == heard:
            return False  # it is over
        heard = longer
    return heard is not None and heard.startswith(said)


async def _whole(candidate: Candidate) -> Candidate | None:
    """Return the candidate with all that it says; None when it broke off or says more than text."""
    stream = candidate.payload
    if isinstance(stream, Answer):
        return candidate
    heard: str | None = await stream.hear(1 << 62)
    return None if heard is None or stream.failure is not None else replace(candidate, text=heard)


def prefilled(request: ChatRequest, target: Target, said: str) -> ChatRequest:
    """Return the request with the beginning of its answer as the assistant's last message.

    Without white space at its end, which Anthropic refuses; the continuation is compared with what was said anyway.
    """
    begun: dict[str, Any] = {"role": "assistant", "content": said.rstrip(), **(target.prefill or {})}
    messages: Sequence[Any] = [*_messages.decode(request.fields["messages"]), begun]
    return struct_replace(request, fields={**request.fields, "messages": Raw(_encode(messages))}, native=None)


def repeated(said: str, heard: str) -> int:
    """Return how many characters at the start of a continuation the client has already.

    Models repeat the whole beginning, or its last words; and the white space that was cut off comes again.
    """
    core = said.rstrip()
    gap = said[len(core) :]
    if heard.startswith(core) and (len(heard) > len(core) or core == said):
        return len(core) + _common(gap, heard[len(core) :])
    for size in range(min(len(heard), len(core)), ECHO - 1, -1):
        if core.endswith(heard[:size]):
            return size + _common(gap, heard[size:])
    return _common(gap, heard)


def _common(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
