"""How much longer would it have taken? What a cancelled branch's answer would have cost in time, from what came before.

The product-limit estimator (E. L. Kaplan, P. Meier, "Nonparametric estimation from incomplete observations", 1958):
branches that were cancelled after t seconds count as "longer than t", not as t, so cancelling the slow ones does not
make a target look fast. It is restricted to what has been seen, hence never an overestimate beyond the longest answer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

EDGES = tuple(0.005 * 2 ** (step / 2) for step in range(34))
"""Upper ends of the buckets in seconds: 5 ms to 460 s, each longer by the root of two."""
EVERY = 32
"""So many observations may come before the estimate is made anew: making it costs more than counting a request."""
MEMORY = 512
"""After so many observations all of them count half: what a provider did yesterday says little."""


class Residual:
    """The mean residual life of one target's calls.

    Append to `ended` how long a call took: it is looked at when one is cut; where none ever is, the last are kept.
    """

    __slots__ = ("_cut", "_ended", "_more", "_new", "_seen", "ended")

    def __init__(self) -> None:
        self.ended: deque[float] = deque(maxlen=MEMORY)
        self._ended = [0.0] * (len(EDGES) + 1)
        self._cut = [0.0] * (len(EDGES) + 1)
        self._more = [0.0] * (len(EDGES) + 1)
        self._new = self._seen = 0

    def cut(self, seconds: float) -> float:
        """Learn of a call that was given up after so long; return how many seconds more it would have taken."""
        self._cut[bisect_left(EDGES, seconds)] += 1
        self._new += 1
        return self.after(seconds)

    def after(self, seconds: float) -> float:
        """Return how many seconds more a call takes on average that has taken `seconds` already; 0 where none did."""
        if self._new + len(self.ended) >= EVERY:
            self._estimate()
        return self._more[bisect_left(EDGES, seconds)]

    def _estimate(self) -> None:
        """From the longest bucket down: who survives a bucket ends in the next with that one's hazard, or later."""
        self._seen += self._new + len(self.ended)
        if self._seen >= MEMORY:
            self._seen = 0
            self._ended, self._cut = [n / 2 for n in self._ended], [n / 2 for n in self._cut]
        for seconds in self.ended:
            self._ended[bisect_left(EDGES, seconds)] += 1
        self.ended.clear()
        self._new = 0
        at_risk, more = 0.0, 0.0
        for bucket in range(len(EDGES), 0, -1):
            at_risk += self._ended[bucket] + self._cut[bucket]
            hazard = self._ended[bucket] / at_risk if at_risk else 0.0
            width = EDGES[bucket] - EDGES[bucket - 1] if bucket < len(EDGES) else 0.0
            # Nobody seen beyond this bucket: what is cancelled there is said to have ended there.
            more = hazard * width / 2 + (1 - hazard) * (width + more) if at_risk and (hazard or more) else 0.0
            self._more[bucket - 1] = more
