"""A long message asked part by part: split, fan every part out with the one loop, reduce what comes back.

Part i begins with target i (counted around), so that the parts spread over the targets, and goes on to the others when
that one fails. The reduction is the loop once more, over answers that are already there: its rule may ask a scorer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
from msgspec import Raw
from msgspec.structs import replace as altered

import fanin
from gateway.domain import Caller, ChatRequest, Deadline, Launch, Map, Outcome, Plan, Target
from gateway.engine.events import Answered, Event, Launched, Selected, Spent, tell_lost
from gateway.engine.fanout import Verdict, fan_out
from gateway.engine.hedges import Hedging
from gateway.engine.shares import Shares
from gateway.errors import AllTargetsFailed, InvalidRequest, PartFailed

_FIRST = fanin.first()
_BREAK = {"paragraphs": re.compile(r"\n[ \t]*\n\s*"), "characters": re.compile(r"\s+")}
_messages = msgspec.json.Decoder(list[dict[str, Any]])


async def run(plan: Plan, request: ChatRequest, call: Caller, hedging: Hedging | None = None) -> Verdict:
    """Run one request through its plan, whole, share by share or part by part (see `fan_out`)."""
    if plan.launch.map is None:
        if request.parts:
            raise InvalidRequest(
                f"The route `{plan.route}` asks whole messages, expected no `hedgerow.map`.", param="hedgerow.map"
            )
        return await (_share_out if plan.choices else fan_out)(plan, request, call, hedging)
    return await _map_out(plan, plan.launch.map, request, call, hedging)


async def _share_out(plan: Plan, request: ChatRequest, call: Caller, hedging: Hedging | None) -> Verdict:
    """Run a request whose `n` the targets share."""
    shares = Shares(plan, request, call, hedging)
    verdict = await fan_out(plan, shares.request, shares.ask, hedging, shares)
    return altered(verdict, selection=shares.signed(verdict.selection))


async def _map_out(plan: Plan, how: Map, request: ChatRequest, call: Caller, hedging: Hedging | None) -> Verdict:
    """Ask the parts, at most `parallel` at once, and reduce.

    Raises:
        InvalidRequest: there is nothing to split, or there are more parts than the route allows.
        PartFailed: no target answered a part; the other parts are cancelled.
        Abstained: the rule chose none of the answers.
    """
    requests = list(_requests(how, request))
    turns, rescues = asyncio.Semaphore(how.parallel), [False]

    async def ask(index: int, part: ChatRequest) -> Verdict:
        async with turns:
            try:
                return await fan_out(_part_plan(plan, index), part, call, hedging)
            except AllTargetsFailed as failed:
                raise PartFailed(index + 1, len(requests), failed) from None

    def heard(event: Event) -> None:
        """Tell of the branches; what a part's answer is worth is told by the reduction."""
        if isinstance(event, Selected):
            rescues[0] |= event.rescued
        elif not (isinstance(event, Spent) and event.won):
            request.listen(event)

    asking: list[asyncio.Task[Verdict]] = []
    try:
        async with asyncio.TaskGroup() as group:
            asking += [group.create_task(ask(i, altered(part, listen=heard))) for i, part in enumerate(requests)]
    except BaseExceptionGroup as failures:  # the first; what it took down with it was cancelled
        raise failures.exceptions[0] from None
    finally:
        done = [task.result() for task in asking if task.done() and not task.cancelled() and not task.exception()]
        if len(done) < len(requests):
            for verdict in done:
                tell_lost(verdict.selection.winner, request.listen)
    return await _reduced(plan, request, call, done, rescued=rescues[0])


def _part_plan(plan: Plan, index: int) -> Plan:
    """Return the plan of one part: the same targets, beginning with another one each time; any answer will do."""
    first = index % len(plan.targets)
    targets = plan.targets[first:] + plan.targets[:first]
    return altered(plan, targets=targets, launch=replace(plan.launch, map=None), select=_FIRST, live=False)


async def _reduced(
    plan: Plan, request: ChatRequest, call: Caller, parts: Sequence[Verdict], *, rescued: bool
) -> Verdict:
    """Decide over the parts' answers in their order, with the loop and its scorers."""
    answers = {f"part {place + 1}": replace(part.selection.winner, priority=place) for place, part in enumerate(parts)}

    async def answered(target: Target, asked: ChatRequest, deadline: Deadline) -> Outcome:
        return answers.get(target.name) or await call(target, asked, deadline)

    def heard(event: Event) -> None:
        if isinstance(event, Selected):
            event = altered(event, rescued=rescued)
        if not isinstance(event, (Launched, Answered)):
            request.listen(event)

    targets = tuple(Target(name, "", "", priority=place) for place, name in enumerate(answers))
    # Nothing is waited for: the answers are there, though the deadline may have passed with the last of them.
    soon = max(plan.deadline, asyncio.get_running_loop().time() + 1)
    intent = altered(plan, targets=targets, launch=Launch(len(targets)), deadline=soon, live=False)
    verdict = await fan_out(intent, altered(request, listen=heard, native=None), answered)
    durations: dict[str, float] = {}
    for part in parts:
        for name, duration in part.durations.items():
            durations[name] = max(duration, durations.get(name, 0.0))
    return altered(
        verdict,
        asked=sum(part.asked for part in parts),
        durations=durations,
        launched_at=min(part.launched_at for part in parts),
        decided_at=max(part.decided_at for part in parts) if not verdict.consulted else verdict.decided_at,
        parts=tuple(parts),
    )


def _requests(how: Map, request: ChatRequest) -> Iterator[ChatRequest]:
    """Give the request of each part."""
    if bytes(request.fields.get("n", b"1")) not in {b"1", b"null"}:
        raise InvalidRequest("`n` is more than 1, expected 1 where a message is asked part by part.", param="n")
    try:
        messages = _messages.decode(request.fields["messages"])
    except msgspec.MsgspecError as exc:
        raise InvalidRequest(f"`messages` cannot be split: {exc}.", param="messages") from None
    if not request.parts:
        at = max((place for place, each in enumerate(messages) if each.get("role") == "user"), default=-1)
        if at < 0:
            raise InvalidRequest("`messages` has no message of the user's to split.", param="messages")
        parts = split(_text(messages[at], at), how)
    else:
        at, parts = len(messages) - 1, list(request.parts)
    if len(parts) > how.most:
        raise InvalidRequest(
            f"The message has {len(parts)} parts, expected at most {how.most}: send a shorter one, or fewer parts.",
            param="hedgerow.map" if request.parts else "messages",
        )
    for part in parts:
        said = _asked_of(messages, at, part) if request.parts else _replaced(messages, at, part)
        fields = {**request.fields, "messages": Raw(msgspec.json.encode(said))}
        yield altered(request, fields=fields, native=None, parts=(), live=False)


def _text(message: dict[str, Any], at: int) -> str:
    """Return a message's text; anything but text would have to be sent with every part."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    pieces = content if isinstance(content, list) else [None]
    if not all(isinstance(piece, dict) and isinstance(piece.get("text"), str) for piece in pieces):
        raise InvalidRequest(
            f"`messages[{at}].content` is not text alone, expected text to split.", param=f"messages[{at}].content"
        )
    return "\n\n".join(piece["text"] for piece in cast("list[dict[str, str]]", pieces))


def _replaced(messages: list[dict[str, Any]], at: int, part: str) -> list[dict[str, Any]]:
    return [*messages[:at], {**messages[at], "content": part}, *messages[at + 1 :]]


def _asked_of(messages: list[dict[str, Any]], at: int, part: str) -> list[dict[str, Any]]:
    """Put a part behind the user's last words: some models bear no two messages of one role in a row."""
    if at >= 0 and messages[at].get("role") == "user":
        return _replaced(messages, at, f"{_text(messages[at], at)}\n\n{part}")
    return [*messages, {"role": "user", "content": part}]


def split(text: str, how: Map) -> list[str]:
    """Return the parts: as much as fits into `size` characters, ending where `by` says, else between two words.

    Nothing but white space between parts is lost. A word longer than `size` is cut.
    """
    parts, rest = [], text.strip()
    while len(rest) > how.size:
        end, after = _cut(rest, how)
        parts.append(rest[:end].rstrip())
        rest = rest[after:].lstrip()
    return [*parts, rest]


def _cut(text: str, how: Map) -> tuple[int, int]:
    """Return where the first part ends and the next begins."""
    for pattern in (_BREAK[how.by], _BREAK["characters"]):
        last = None
        for found in pattern.finditer(text, 1, how.size + 2):
            if found.start() <= how.size:
                last = found
        if last is not None:
            return last.start(), last.end()
    return how.size, how.size
