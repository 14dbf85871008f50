"""Print what counting one request costs in microseconds of CPU, at most 10, or 20 for three targets.

`python -m bench.metrics_speed` sets it beside what the machine takes for an increment of prometheus-client's own. With
`PROMETHEUS_MULTIPROC_DIR` set to an empty directory it measures what a worker of several pays.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from prometheus_client import Counter

import fanin
from gateway.domain import Answer, Launch, Price, Route, Target, Usage
from gateway.engine import events
from gateway.observe.metrics import Metrics

ROUNDS, REQUESTS = 21, 2_000
ANSWER = Answer({}, Usage(12, 40))


def tape(*targets: str) -> Sequence[events.Event]:
    """Return the events of a request that all these targets answer, the first of them being selected."""
    winner = fanin.Candidate(targets[0], "391", payload=ANSWER)
    ballot = fanin.Ballot(len(targets), (winner,))
    selected = fanin.Selection(winner, "they agree", 1.0, {"391": len(targets)}, "majority")
    return (
        *(events.Launched(name, 10.0) for name in targets),
        *(event for name in targets for event in (events.Attempted(name, None, 0.4), events.Answered(name, 10.4, 0.4))),
        *(events.Spent(name, ANSWER.usage or Usage(), won=False) for name in targets[1:]),
        events.Selected(selected, ballot, 10.4, rescued=False),
        events.Spent(targets[0], ANSWER.usage or Usage(), won=True),
        events.Finished(200, 0.4, 0.0004),
    )


def microseconds(metrics: Metrics, said: Sequence[events.Event]) -> float:
    """Return the median CPU time of counting one request."""
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        for _ in range(REQUESTS):
            hear = metrics.listener("r").hear
            for event in said:
                hear(event)
        metrics.tell()
        taken.append((time.process_time_ns() - start) / REQUESTS / 1000)
    return statistics.median(taken)


def main() -> None:
    """Measure one target, and three that vote."""
    price = Price(0.15, 0.6)
    targets = tuple(Target(name, "p", name, priority=at, price=price) for at, name in enumerate("abc"))
    metrics = Metrics([Route("r", targets, Launch(3), fanin.build("majority"))])
    metrics.priced(lambda target: target.price)
    print(f"one target         {microseconds(metrics, tape('a')):5.1f} µs a request")
    plain = Counter("plain", "To compare machines with.", registry=None)
    start = time.process_time_ns()
    for _ in range(ROUNDS * REQUESTS):
        plain.inc()
    unit = (time.process_time_ns() - start) / ROUNDS / REQUESTS / 1000
    print(f"majority of three  {microseconds(metrics, tape('a', 'b', 'c')):5.1f} µs a request")
    print(f"for comparison     {unit:5.2f} µs an increment of prometheus-client's own")


if __name__ == "__main__":
    main()
