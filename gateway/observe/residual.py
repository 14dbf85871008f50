"""How much longer would it have taken? What a cancelled branch's answer would have cost in time, from what came before.

The product-limit estimator (E. L. Kaplan, P. Meier, "Nonparametric estimation from incomplete observations", 1958):
branches that were cancelled after t seconds count as "longer than t", not as t, so cancelling the slow ones does not
make a target look fast. It is restricted to what has been seen, hence never an overestimate beyond the longest answer.
"""

from __future__ import annotations

from bisect import bisect_left

EDGES = tuple(0.005 * 2 ** (step / 2) for step in range(34))
"""Upper ends of the buckets in seconds: 5 ms to 460 s, each longer by the root of two."""
EVERY = 32
"""So many observations may come before the estimate is made anew: making it costs a few microseconds."""
MEMORY = 1024.0
"""Beyond so many observations all count half: what a provider did yesterday says little."""


class Residual:
    """The mean residual life of one target's calls."""

    __slots__ = ("_cut", "_ended", "_more", "_since")

    def __init__(self) -> None:
        self._ended = [0.0] * (len(EDGES) + 1)
        self._cut = [0.0] * (len(EDGES) + 1)
        self._more = [0.0] * (len(EDGES) + 1)
        self._since = 0

    def ended(self, seconds: float) -> None:
        """A call took this long."""
        self._ended[bisect_left(EDGES, seconds)] += 1
        self._noted()

    def cut(self, seconds: float) -> None:
        """A call was given up after this long."""
        self._cut[bisect_left(EDGES, seconds)] += 1
        self._noted()

    def after(self, seconds: float) -> float:
        """Return how many seconds more a call takes on average that has taken `seconds` already; 0 where none did."""
        return self._more[bisect_left(EDGES, seconds)]

    def _noted(self) -> None:
        self._since += 1
        if self._since >= EVERY:
            self._since = 0
            self._estimate()

    def _estimate(self) -> None:
        """From the longest bucket down: who survives a bucket ends in the next with that one's hazard, or later."""
        at_risk, more = 0.0, 0.0
        for bucket in range(len(EDGES), 0, -1):
            at_risk += self._ended[bucket] + self._cut[bucket]
            hazard = self._ended[bucket] / at_risk if at_risk else 0.0
            width = EDGES[bucket] - EDGES[bucket - 1] if bucket < len(EDGES) else 0.0
            # Nobody seen beyond this bucket: what is cancelled there is said to have ended there.
            more = hazard * width / 2 + (1 - hazard) * (width + more) if at_risk and (hazard or more) else 0.0
            self._more[bucket - 1] = more
        if sum(self._ended) + sum(self._cut) > MEMORY:
            self._ended = [count / 2 for count in self._ended]
            self._cut = [count / 2 for count in self._cut]
