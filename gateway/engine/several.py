"""`n` answers of a target whose model gives one at a time: it is asked so many times at once, by the one loop."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import msgspec
from msgspec import Raw
from msgspec.structs import replace as altered

import fanin
from gateway.domain import (
    Answer,
    Caller,
    ChatRequest,
    Deadline,
    Failure,
    FailureKind,
    Launch,
    Outcome,
    Plan,
    Target,
    Usage,
)
from gateway.engine.choices import together
from gateway.engine.events import Attempted, BudgetDenied, Event, Spent, Streamed
from gateway.engine.fanout import fan_out
from gateway.engine.plan import GATHERED
from gateway.errors import AllTargetsFailed

MOST = 16
"""Calls to one target for one request."""
_MOST_LEARNED = 1024
_NAMED = re.compile(r"(?<![\w.])[`'\"]?n[`'\"]?(?![\w.-])")
_COLLECT = fanin.collect()


def several(call: Caller) -> Caller:
    """Ask a target for its share of the client's `n`; one that refuses `n` so many times for one answer each, up to 16.

    The refusal is remembered. The answers are the choices of one, or of one stream, with the tokens of all; what fails
    is missing, as long as there is one.
    """
    single: set[str] = set()

    async def of_several(target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        if target.choices is not None:
            request = _asking_for(target.choices, request)
        count = target.choices or _count(request.fields.get("n"))
        if not 1 < count <= MOST:
            return await call(target, request, deadline)
        model = f"{target.provider}/{target.model}"
        if model not in single:
            outcome = await call(target, request, deadline)
            if not (isinstance(outcome, Failure) and refuses_n(outcome)):
                return outcome
            if len(single) < _MOST_LEARNED:
                single.add(model)
        return await _one_by_one(count, call, target, _asking_for(1, request), deadline)

    return of_several


def _asking_for(count: int, request: ChatRequest) -> ChatRequest:
    fields = {name: value for name, value in request.fields.items() if name != "n"}
    return altered(request, fields=fields if count == 1 else {**fields, "n": Raw(b"%d" % count)})


def _count(given: Raw | None) -> int:
    count = 1 if given is None else msgspec.json.decode(given)
    return count if isinstance(count, int) else 1


def refuses_n(failure: Failure) -> bool:
    """Whether a target says that it does not give several answers at once."""
    if failure.kind is not FailureKind.CALLER_FAULT or failure.error is None:
        return False
    param = failure.error.get("param")
    return param == "n" if param else bool(_NAMED.search(str(failure.error.get("message") or "")))


async def _one_by_one(count: int, call: Caller, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
    copies = tuple(replace(target, name=f"{target.name} {i + 1}/{count}", priority=i, choices=1) for i in range(count))

    async def ask(copy: Target, part: ChatRequest, limit: Deadline) -> Outcome:
        return replace(await call(target, part, limit), target=copy.name)

    def heard(event: Event) -> None:
        """Tell of the calls under the target's own name; what a whole answer cost is told of all together."""
        if isinstance(event, (Attempted, BudgetDenied)):
            request.listen(event)
        elif isinstance(event, Streamed) or (isinstance(event, Spent) and (request.live or not event.won)):
            request.listen(altered(event, target=target.name))

    plan = Plan("", copies, Launch(count), _COLLECT, deadline)
    if request.live:
        plan = altered(plan, select=GATHERED, live=True, gathered=count)
    try:
        verdict = await fan_out(plan, altered(request, listen=heard), ask)
    except AllTargetsFailed as failed:
        return replace(failed.failures[0], target=target.name)
    winner = replace(verdict.selection.winner, target=target.name, priority=target.priority)
    if not isinstance(winner.payload, Answer):
        return winner
    answers: list[Answer] = [candidate.payload for candidate in verdict.selection.together]
    return replace(winner, payload=altered(together(answers[0], answers), usage=_sum(answers)))


def _sum(answers: Sequence[Answer]) -> Usage | None:
    told = [answer.usage for answer in answers if answer.usage is not None]
    if not told:
        return None
    return sum(told[1:], told[0])
