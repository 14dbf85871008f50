"""What the policies do about a route's calls, in words for the operator; `hedgerow explain` prints it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from gateway.domain import Route
from gateway.policies import budget, bulkhead, circuit, credentials, hedging


def describe(route: Route, concurrency: Mapping[str, int]) -> str:
    """Say in plain lines what guards the route's calls; `concurrency` is the bound of each provider."""
    targets = (*route.targets, *(scorer.target for scorer in route.select.scorers))
    providers = {target.provider for target in targets}
    accounts = sorted(name for name in concurrency if name.partition("#")[0] in providers)
    rooms = ", ".join(f"{name} {concurrency[name]}" for name in accounts)
    breaker = (
        f"a target is passed over after {circuit.CONSECUTIVE} failures in a row, or when {circuit.SHARE:.0%} of at "
        f"least {circuit.LEAST} calls in {circuit.WINDOW:g} s fail; one call tries it after {circuit.PAUSE:g} s, then "
        f"after up to {circuit.LONGEST_PAUSE:g} s, and the next target is asked beside it"
    )
    extra = (
        f"retries and hedges of a provider together: {budget.LEAST} under way, or {budget.SHARE:.0%} of its calls if "
        "that is more; none while most of its calls fail"
    )
    hedged = route.launch.initial < len(route.targets) and route.launch.stagger < route.deadline
    lines = [
        f"  breaker   {breaker}",
        f"  budget    {extra}",
        *([f"  hedges    {_hedges(route)}"] if hedged else []),
        f"  at once   calls to {rooms}; fewer while a provider limits or times out, at least {bulkhead.LEAST:g}",
        f"  keys      {_keys(accounts)}one that is refused is not used for {credentials.PAUSE / 60:g} minutes",
    ]
    return "\n".join(lines)


def _keys(accounts: Sequence[str]) -> str:
    counts = Counter(name.partition("#")[0] for name in accounts)
    several = ", ".join(f"{count} of {name}" for name, count in counts.items() if count > 1)
    return f"{several} take turns, and a call that one may not make is made with the next; " if several else ""


def _hedges(route: Route) -> str:
    launch = route.launch
    most = min(launch.hedges, len(route.targets) - launch.initial)
    told = f"at most {most:g} a request, each with a place in the budget"
    if launch.adaptive:
        told += (
            f"; {hedging.SHARE:.0%} of the route's requests and {hedging.BURST:g} more; after the "
            f"{hedging.PERCENTILE * 100:g}th percentile of the target's last {hedging.WINDOW} times, once "
            f"{hedging.ENOUGH} are known; none while everything is slow"
        )
    return told
