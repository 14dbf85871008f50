"""How often a slow test repeats what it proves: a share of it in CI, all of it with HEDGEROW_FULL=1."""

from __future__ import annotations

import os

FULL = os.environ.get("HEDGEROW_FULL", "") not in {"", "0"}


def times(usual: int, full: int) -> int:
    """Return the number of repetitions that is asked for."""
    return full if FULL else usual
