"""Pure planning: a route and what the client asked become the plan of one request."""

from __future__ import annotations

import math

from gateway.domain import Plan, Route

MARGIN = 0.05
"""Seconds before the client's own limit at which it gets what there is: later it would no longer listen."""


def plan(route: Route, *, stream: bool, now: float, limit: float = math.inf) -> Plan:
    """Return what to do for one request that arrived at `now` (loop time).

    Only a rule that decides on any first words can stream live; every other rule needs whole answers, and the winner is
    replayed as a stream. `limit` is how many seconds the client waits; the deadline that every branch gets lies a
    little before it, so that the answer is on its way in time.
    """
    return Plan(
        route=route.name,
        targets=route.targets,
        launch=route.launch,
        select=route.select,
        deadline=now + min(route.deadline, max(limit - MARGIN, limit / 2)),
        live=stream and route.select.live,
    )


def describe(route: Route) -> str:
    """Say in plain lines what a request to this route does; `hedgerow explain` prints it."""
    initial, stagger = min(route.launch.initial, len(route.targets)), route.launch.stagger
    if initial == len(route.targets):
        rhythm = "asks all targets at once"
    elif math.isinf(stagger):
        rhythm = f"asks {initial} at once, the next when one fails or the answers leave it undecided"
    else:
        rhythm = f"asks {initial} at once, the next every {stagger:g} s, or sooner when one fails"
    lines = [f"route {route.name}", f"  launch    {rhythm}"]
    lines.append(
        f"  select    {route.select.name}" + (" (streams live)" if route.select.live else " (needs whole answers)")
    )
    lines.append(
        f"  deadline  {route.deadline:g} s, then decides on what has arrived"
        + ("; for a stream, until its first words" if route.select.live else "")
    )
    lines.append("  targets   in order of priority")
    for target in route.targets:
        extras = [f"timeout {target.timeout:g} s", f"retries {target.retries}"]
        if route.select.live:
            extras += [f"first words {min(target.first_token, target.timeout):g} s", f"idle {target.idle:g} s"]
        extras += [f"weight {target.weight:g}"] * (target.weight != 1.0)
        extras += ["own prompt"] * (target.prompt is not None)
        extras += [f"params {', '.join(sorted(target.params))}"] * bool(target.params)
        lines.append(f"    {target.priority + 1}. {target.name}  ({'; '.join(extras)})")
    calls = sum(1 + target.retries for target in route.targets)
    lines.append(
        f"  cost      at least {initial} call{'s' * (initial > 1)} a request, at most {calls} with every retry"
    )
    return "\n".join(lines)
