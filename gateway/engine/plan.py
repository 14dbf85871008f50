"""Pure planning: a route and what the client asked become the plan of one request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from msgspec.structs import replace as altered

import fanin
from fanin import Ballot, Rule, Selection
from gateway.domain import Launch, Plan, Route, Target

_FIRST = fanin.first()
MARGIN = 0.05
"""Seconds before the client's own limit at which it gets what there is: later it would no longer listen."""


def plan(route: Route, *, stream: bool, now: float, limit: float = math.inf) -> Plan:
    """Return what to do for one request that arrived at `now` (loop time).

    Only a rule that decides on any first words can stream live; every other rule needs whole answers, and the winner is
    replayed as a stream. A route that verifies streams the first words, too, and asks its rule at the end. `limit` is
    how many seconds the client waits; the deadline that every branch gets lies a little before it, so that the answer
    is on its way in time.
    """
    patience = min(route.deadline, max(limit - MARGIN, limit / 2))
    kept = max((scorer.share for scorer in route.select.scorers), default=0.0) * patience
    live = stream and not (route.buffered or route.launch.map) and (route.select.live or route.verified)
    verify = route.select if live and route.verified else None
    warm = live and (route.warm or route.verified)
    return Plan(
        route=route.name,
        targets=route.targets,
        launch=route.launch,
        select=_FIRST if verify else route.select,
        deadline=now + patience - kept,
        live=live,
        decide_by=now + patience,
        continued=warm or (live and any(target.prefill is not None for target in route.targets)),
        warm=warm,
        verify=verify,
        evades=route.evades,
    )


def _as_they_come(ballot: Ballot) -> Selection | None:
    """Begin with the first words of anybody: the others join in."""
    return Selection(ballot.candidates[0], "all answers side by side, as they come") if ballot.candidates else None


GATHERED = Rule("collect", _as_they_come, live=True)
"""Who decides for a stream that carries what all say."""


def gathering(plan: Plan, route: Route, choices: int, *, stream: bool) -> Plan:
    """Return the plan for a rule that gathers, and a client that can read `choices` answers side by side (1: any).

    Several are spread over the targets: each gets its share as its `n`, those of the highest priority one more where
    it does not come out even. With fewer choices than targets the last ones stand in for those that fail. A stream
    carries what each target says as it comes.
    """
    if route.launch.map is not None:
        return plan
    seats = len(plan.targets)
    if choices > 1:
        plan = altered(plan, targets=_shares(plan.targets, choices), choices=choices)
    if 1 < choices < seats:
        seats = choices
        enough = fanin.quorum(seats, plan.select) | plan.select
        plan = altered(plan, select=enough, launch=replace(plan.launch, initial=min(plan.launch.initial, seats)))
    if not stream or route.buffered:
        return plan
    return altered(plan, select=GATHERED, live=True, gathered=seats, continued=False, warm=False, verify=None)


def _shares(targets: Sequence[Target], choices: int) -> tuple[Target, ...]:
    share, more = divmod(choices, len(targets))
    return tuple(replace(target, choices=max(1, share + (place < more))) for place, target in enumerate(targets))


def describe(route: Route) -> str:
    """Say in plain lines what a request to this route does; `hedgerow explain` prints it."""
    initial = min(route.launch.initial, len(route.targets))
    lines = [f"route {route.name}", f"  launch    {_rhythm(route.launch, initial, len(route.targets))}"]
    parts = route.launch.map
    if parts is not None:
        lines.append(
            f"  map       splits the last message into parts of up to {parts.size} characters by {parts.by}: at most "
            f"{parts.most} parts, {parts.parallel} at a time, each launched so from another target on"
        )
    lines.append(f"  select    {route.select.name} ({_streaming(route)})")
    if route.learn is not None:
        use = "for the metrics only" if route.learn.rule is None else "the selector uses it"
        lines.append(f"  learns    how often each target is right, from its votes; {use}")
    for scorer in route.select.scorers:
        calls = scorer.calls(len(route.targets) if parts is None else parts.most)
        lines.append(
            f"  asks      {scorer.target.name} {scorer.describe()}: at most {calls} call{'s' * (calls > 1)} more, in "
            f"{scorer.share * route.deadline:g} s of the deadline"
        )
    lines.append(
        f"  deadline  {route.deadline:g} s, then decides on what has arrived"
        + ("; for a stream, until its first words" if route.select.live and parts is None else "")
    )
    if route.evades and initial < len(route.targets):
        lines.append("  filtered  asks the next target after a content policy's refusal")
    lines.append("  targets   in order of priority")
    lines += [_told(target, live=route.select.live) for target in route.targets]
    calls = sum(1 + target.retries for target in route.targets) * (1 if parts is None else parts.most)
    asked = len(route.targets) if parts is None else parts.most
    calls += sum(s.calls(asked) * (1 + s.target.retries) for s in route.select.scorers)
    lines.append(
        f"  cost      at least {initial} call{'s' * (initial > 1)} a request, at most {calls} with every retry"
    )
    return "\n".join(lines)


def _rhythm(launch: Launch, initial: int, count: int) -> str:
    if initial == count:
        return "asks all targets at once"
    if math.isinf(launch.stagger):
        return f"asks {initial} at once, the next when one fails or the answers leave it undecided"
    if launch.adaptive:
        return (
            f"asks {initial} at once, the next when one fails or is slower than in 95 of 100 cases "
            f"({launch.stagger:g} s until that is known)"
        )
    return f"asks {initial} at once, the next every {launch.stagger:g} s, or sooner when one fails"


def _told(target: Target, *, live: bool) -> str:
    extras = [f"timeout {target.timeout:g} s", f"retries {target.retries}"]
    if live:
        extras += [f"first words {min(target.first_token, target.timeout):g} s", f"idle {target.idle:g} s"]
    extras += [f"window {target.context} tokens"] * (target.context is not None)
    extras += [f"weight {target.weight:g}"] * (target.weight != 1.0)
    extras += ["own prompt"] * (target.prompt is not None)
    extras += ["continues what others began"] * (target.prefill is not None)
    extras += [f"params {', '.join(sorted(target.params))}"] * bool(target.params)
    extras += [f"defaults {', '.join(sorted(target.defaults))}"] * bool(target.defaults)
    extras += [f"drops {', '.join(sorted(target.drop))}"] * bool(target.drop)
    extras += [f"renames {old} to {new}" for old, new in target.rename.items()]
    extras += [f"same as {target.same_as}"] * (target.same_as is not None)
    extras += ["drops what it cannot do"] * (target.on_unsupported == "drop")
    return f"    {target.priority + 1}. {target.name}  ({'; '.join(extras)})"


def _streaming(route: Route) -> str:
    if route.buffered:
        return "replays streams when they are whole"
    if route.verified:
        return "streams the first words live, and asks the siblings at the end whether they agree"
    if route.select.gathers and not route.launch.map:
        return "streams all live, side by side"
    if not route.select.live or route.launch.map:
        return "needs whole answers"
    return "streams live, siblings stand by" if route.warm else "streams live"
