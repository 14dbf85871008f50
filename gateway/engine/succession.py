"""Who is asked next: whom nobody should wait for alone, and whom it makes no sense to ask after a failure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from gateway.domain import Failure, FailureKind, Plan, Target


def next_up(queue: deque[Target], count: int, doubts: Callable[[Target], bool], besides: set[str]) -> list[Target]:
    """Take the next `count` targets out of the queue, and `besides` those before them that failed too often lately.

    They are asked at the same time and do not count: so nobody waits for a probe, and none has to be waited for.
    """
    targets: list[Target] = []
    while queue and count > 0:
        targets.append(target := queue.popleft())
        if doubts(target):
            besides.add(target.name)
        else:
            count -= 1
    return targets


def passed_over(failure: Failure, plan: Plan, queue: deque[Target]) -> list[Failure]:
    """Take out of the queue whom it makes no sense to ask after this failure; return a failure for each.

    A prompt that was too long goes to the targets with a larger window first, then to those whose window is not
    known. What a content policy refused is not carried from one provider to the next unless the route says so.
    """
    if failure.kind is FailureKind.CONTEXT_LENGTH:
        failed = plan.target(failure.target)
        window = None if failed is None else failed.context
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
