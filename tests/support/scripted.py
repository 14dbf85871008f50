"""A caller that follows a script on virtual time, and the tape of what the engine said about it.

    script("a: 5s Paris | b: 1s 429 | c: 2s Paris | d: hang")

An outcome is a word (the answer), a status (the failure), `hang` (never ends) or `raise` (breaks the contract); several
outcomes separated by commas are played one after another.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from fanin import Candidate, Rule
from gateway.domain import (
    Answer,
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
from gateway.engine import events

STATUSES = {
    "400": FailureKind.CALLER_FAULT,
    "401": FailureKind.CREDENTIAL,
    "429": FailureKind.RATE_LIMITED,
    "500": FailureKind.TRANSIENT,
    "503": FailureKind.TRANSIENT,
}


@dataclass
class Script:
    """The parsed script: targets in order, and a caller that plays their outcomes."""

    targets: tuple[Target, ...]
    plays: dict[str, list[tuple[float, str]]]
    calls: Counter[str] = field(default_factory=Counter)
    cancelled: list[str] = field(default_factory=list)
    tape: list[tuple[float, str, str]] = field(default_factory=list)
    events: list[events.Event] = field(default_factory=list)

    async def call(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        plays = self.plays[target.name]
        delay, word = plays[min(self.calls[target.name], len(plays) - 1)]
        self.calls[target.name] += 1
        try:
            await asyncio.sleep(delay)
        except asyncio.CancelledError:
            self.cancelled.append(target.name)
            raise
        if word == "raise":
            msg = "a caller broke its promise"
            raise ValueError(msg)
        if word in STATUSES:
            return Failure(target.name, STATUSES[word], f"the provider answered {word}", status=int(word))
        return Candidate(
            target.name, word, priority=target.priority, weight=target.weight, payload=Answer({}, Usage(1, len(word)))
        )

    def listen(self, event: events.Event) -> None:
        self.events.append(event)
        match event:
            case events.Launched(target, at):
                self.tape.append((at, "launched", target))
            case events.Answered(target, at):
                self.tape.append((at, "answered", target))
            case events.Failed(failure, at):
                self.tape.append((at, failure.kind.value, failure.target))
            case events.Superseded(target, at):
                self.tape.append((at, "superseded", target))
            case events.Expired(targets, at):
                self.tape.extend((at, "expired", target) for target in targets)
            case events.Selected(selection, _, at):
                self.tape.append((at, "selected", selection.winner.target))

    def plan(
        self, select: Rule, *, initial: int | None = None, stagger: float = float("inf"), deadline: float = 60
    ) -> Plan:
        launch = Launch(len(self.targets) if initial is None else initial, stagger)
        return Plan("test", self.targets, launch, select, deadline)

    def request(self) -> ChatRequest:
        return ChatRequest("req-1", "test", {}, listen=self.listen)


def script(text: str) -> Script:
    """Parse a script."""
    targets, plays = [], {}
    for priority, branch in enumerate(text.split("|")):
        name, _, outcomes = branch.strip().partition(":")
        targets.append(Target(name, "scripted", name, priority=priority))
        plays[name] = [_play(outcome.split()) for outcome in outcomes.split(",")]
    return Script(tuple(targets), plays)


def _play(words: list[str]) -> tuple[float, str]:
    if words == ["hang"]:
        return 1e9, "never"
    return float(words[0].removesuffix("s")), words[1]
