"""Print what a decision over five answers of 1 kB costs, at the end and on every arrival, in microseconds."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "selectors"))

import fanin

ROUNDS = 2_000
SENTENCE = "We add the 3 parts of step {}, which gives a part of the sum. "


NUMBERS = ("1000", "1001", "1000", "1003", "1000")


def answers(serial: int, conclusions: Sequence[str] = NUMBERS) -> list[fanin.Candidate]:
    """Return five answers of about 1 kB that no key has read before: three agree on one conclusion."""
    found = []
    for index, conclusion in enumerate(conclusions):
        reasoning = "".join(SENTENCE.format(serial + step) for step in range(16))
        text = f"{reasoning}\nSo the answer is {conclusion}."
        found.append(fanin.Candidate(f"target-{index}", text, priority=index))
    return found


def choosing(serial: int) -> list[fanin.Candidate]:
    """Return five such answers of which each concludes with a letter."""
    return answers(serial, ("(B)", "(C)", "(B)", "(D)", "(B)"))


def microseconds(prepare: Callable[[int], Callable[[], object]]) -> float:
    """Return the median time of what `prepare` gives, prepared anew for each of the rounds."""
    taken = []
    for serial in range(ROUNDS):
        run = prepare(serial)
        start = time.perf_counter_ns()
        run()
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1000


def calling(serial: int) -> list[fanin.Candidate]:
    """Return five answers that each make one call which no key has read before: three agree, one differs in a part."""
    found = []
    for index in range(5):
        city = "Oslo" if index == 4 else "Paris"
        arguments = f'{{"city": "{city}", "days": {serial + 7 * (index == 1)}, "unit": "metric", "id": "{serial}"}}'
        found.append(fanin.Candidate(f"target-{index}", "", (fanin.ToolCall("weather", arguments),), priority=index))
    return found


def judging(base: int, rule: fanin.Rule, make: Callable[[int], list[fanin.Candidate]]) -> tuple[float, float]:
    """Return what a closed ballot of five costs, and the check after the third arrival."""
    seats = tuple(fanin.Seat(f"target-{index}", index) for index in range(5))

    def at_the_end(serial: int) -> Callable[[], object]:
        ballot = fanin.Ballot(5, tuple(make(base * 1_000_000 + serial * 100)), (), True, seats)
        return lambda: rule(ballot)

    def on_arrival(serial: int) -> Callable[[], object]:
        candidates = make(base * 1_000_000 + 500_000 + serial * 100)
        for count in (1, 2):
            rule(fanin.Ballot(5, tuple(candidates[:count]), (), False, seats))
        ballot = fanin.Ballot(5, tuple(candidates[:3]), (), False, seats)
        return lambda: rule(ballot)

    return microseconds(at_the_end), microseconds(on_arrival)


SPECS: dict[str, Any] = {
    "majority, text": {"majority": {"key": "text"}},
    "majority, number": {"majority": {"key": "number"}},
    "majority, choice": {"majority": {"key": "choice"}},
    "majority, json": {"majority": {"key": "json"}},
    "majority, latex": {"majority": {"key": "latex"}},
    "majority, python": {"majority": {"key": "python"}},
    "majority, regex": {"majority": {"key": {"regex": r"answer is (\d+)"}}},
    "guarded, number": {"guarded": {"key": "number", "override": 2}},
    "weighted, number": {"weighted": {"key": "number"}},
    "confidence_vote, number": {"confidence_vote": {"key": "number"}},
    "stop at a lead of 2": {"stop": {"lead": 2, "of": {"majority": {"key": "number"}}}},
    "cluster_vote": "cluster_vote",
    "medoid": "medoid",
    "tool_calls": "tool_calls",
}

MAKERS = {"tool_calls": calling, "majority, choice": choosing}
"""What is judged where it is not numbers."""


def machine() -> float:
    """Return what a fixed sum of pure Python takes here, by which figures of two machines can be compared."""
    return microseconds(lambda _: lambda: sum(number * number for number in range(500)))


def main() -> None:
    """Measure each selector, and the heavy one a few times."""
    print(f"for comparison: summing 500 squares takes {machine():.1f} µs here")
    print(f"{'selector':<24} {'at the end':>12} {'per arrival':>12}   (µs, median of {ROUNDS})")
    for base, (name, spec) in enumerate(SPECS.items(), start=1):
        make = MAKERS.get(name, answers)
        end, arrival = judging(base, fanin.build(spec), make)
        print(f"{name:<24} {end:>12.1f} {arrival:>12.1f}")
    started = time.perf_counter_ns()
    for serial in range(20):
        fanin.mbr()(fanin.Ballot(5, tuple(answers(90_000_000 + serial * 100)), closed=True))
    print(f"{'mbr (off the event loop)':<24} {(time.perf_counter_ns() - started) / 20_000:>12.1f}")


if __name__ == "__main__":
    main()
