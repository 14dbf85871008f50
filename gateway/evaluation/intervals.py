"""How sure a measured figure is: Wilson's interval, a paired bootstrap with a fixed seed, quantiles by nearest rank."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

_Z = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""

_RESAMPLES = 1000
_SEED = 20221


def wilson(right: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (0 to 1), which unlike the normal one holds near 0 and 1.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not n:
        return (0.0, 1.0)
    share, spread = right / n, _Z * _Z / n
    middle = share + spread / 2
    reach = _Z * math.sqrt(share * (1 - share) / n + spread / n / 4)
    return (max(0.0, (middle - reach) / (1 + spread)), min(1.0, (middle + reach) / (1 + spread)))


def paired_difference(ours: Sequence[bool], theirs: Sequence[bool]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of how much larger our share of successes is on the same rows.

    Only rows on which the two differ move the difference, so only their numbers are drawn anew.
    """
    n = len(ours)
    changes = [int(mine) - int(other) for mine, other in zip(ours, theirs, strict=True)]
    if not n or not any(changes):
        return (0.0, 0.0)
    draw = random.Random(_SEED)  # noqa: S311 -- a resample, not a secret
    differences = sorted(sum(draw.choices(changes, k=n)) / n for _ in range(_RESAMPLES))
    return (quantile(differences, 0.025), quantile(differences, 0.975))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of all values does not exceed (the nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked) - 1e-9) - 1)]
