"""What is noted at one moment is told to every series that it belongs to, once, whoever tells and when."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.observe.tally import Family, Spread, Sum


class Metrics:
    """A histogram of seconds, with counters by its values and of their sum."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Family(
            Histogram("seconds", "Time.", buckets=(1, 2), registry=self.registry, labelnames=["a"]), Spread
        )
        self.calls = Family(Counter("calls", "Calls.", ["b"], registry=self.registry), Sum)
        self.spent = Family(Counter("spent", "Sum of all.", ["c"], registry=self.registry), Sum)

    def tell(self) -> None:
        for family in (self.seconds, self.calls, self.spent):
            family.tell()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_a_value_is_told_to_its_histogram_and_to_the_counters_that_are_joined_with_it() -> None:
    """Two ways into one histogram, each with a counter of its own; a sum; and a counter that is added to as well."""
    metrics = Metrics()
    seconds, calls = metrics.seconds.labels("x"), metrics.calls
    good, bad = seconds.joined(calls.labels("good")), seconds.joined(calls.labels("bad"), calls.labels("any"))
    assert seconds.joined(calls.labels("good")) is good
    total = seconds.joined(total=metrics.spent.labels("all"))
    for _ in range(2):
        good.values += [0.5, 1.5]
        bad.values.append(5)
        total.values.append(0.25)
        seconds.values.append(1.0)
        calls.labels("any").value += 10
        metrics.tell()
    metrics.tell()
    assert [metrics.value("calls_total", b=kind) for kind in ("good", "bad", "any")] == [4, 2, 22]
    assert metrics.value("spent_total", c="all") == 0.5
    assert metrics.value("seconds_sum", a="x") == 2 * 8.25
    assert [metrics.value("seconds_bucket", a="x", le=edge) for edge in ("1.0", "2.0", "+Inf")] == [6, 8, 10]


def test_nothing_is_lost_or_told_twice_that_is_counted_while_another_thread_tells() -> None:
    """The event loop counts between any two lines of what the thread of a scrape does; the next scrape has it all."""
    metrics = Metrics()
    both, spent = metrics.seconds.labels("x").joined(metrics.calls.labels("all")), metrics.spent.labels("all")
    counted = 0

    def meanwhile(frame: FrameType, _: str, __: Any) -> Any:
        nonlocal counted
        if frame.f_code.co_name == "tell":
            both.values.append(1.5)
            spent.value += 2
            counted += 1
        return meanwhile

    traced = sys.gettrace()
    sys.settrace(meanwhile)
    try:
        metrics.tell()
        metrics.tell()
    finally:
        sys.settrace(traced)
    metrics.tell()
    assert counted > 20
    assert metrics.value("calls_total", b="all") == metrics.value("seconds_count", a="x") == counted
    assert metrics.value("spent_total", c="all") == 2 * counted
