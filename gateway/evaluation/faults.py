"""What stops an evaluation, said in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class CannotEvaluate(Exception):
    """The recording, the targets or the selector cannot be used; `str()` is one sentence with the cure."""


def unknown_target(name: str, known: Collection[str], source: str) -> CannotEvaluate:
    """Return the error for a target that the recording does not hold, with the nearest known one if any is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    cure = f"; did you mean {near[0]!r}?" if near else ""
    return CannotEvaluate(f"{source} holds no answers of {name!r}, only of {', '.join(known)}{cure}")
