"""Who is not asked any more after a failure: another target would only say the same."""

from __future__ import annotations

from collections import deque

from gateway.domain import Failure, FailureKind, Plan, Target


def passed_over(failure: Failure, plan: Plan, queue: deque[Target]) -> list[Failure]:
    """Take out of the queue whom it makes no sense to ask after this failure; return a failure for each.

    A prompt that was too long goes to the targets with a larger window first, then to those whose window is not
    known. What a content policy refused is not carried from one provider to the next unless the route says so.
    """
    if failure.kind is FailureKind.CONTEXT_LENGTH:
        window = next((target.context for target in plan.targets if target.name == failure.target), None)
        if window is None:
            return []
        passed = [target for target in queue if target.context is not None and target.context <= window]
        left = [target for target in queue if target not in passed]
        queue.clear()
        queue.extend(sorted(left, key=lambda target: target.context is None))
        detail = f"not asked: its window is no larger than that of {failure.target}"
    elif failure.kind is FailureKind.FILTERED and not plan.evades:
        passed = list(queue)
        queue.clear()
        detail = f"not asked: a content policy refused at {failure.target}"
    else:
        return []
    return [Failure(target.name, failure.kind, detail) for target in passed]
