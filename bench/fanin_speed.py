"""Print what a decision costs: majority over five answers of 1 kB, at the end and on every arrival, in microseconds."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "selectors"))

import fanin

ROUNDS = 2_000
SENTENCE = "We add the 3 parts of step {}, which gives a part of the sum. "


def answers(serial: int) -> list[fanin.Candidate]:
    """Return five answers of about 1 kB that no key has read before: three agree on one number."""
    found = []
    for index in range(5):
        reasoning = "".join(SENTENCE.format(serial + step) for step in range(16))
        text = f"{reasoning}\nSo the answer is {1000 + index % 2 * index}."
        found.append(fanin.Candidate(f"target-{index}", text, priority=index))
    return found


def microseconds(prepare: Callable[[int], Callable[[], object]]) -> float:
    """Return the median time of what `prepare` gives, prepared anew for each of the rounds."""
    taken = []
    for serial in range(ROUNDS):
        run = prepare(serial)
        start = time.perf_counter_ns()
        run()
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / 1000


def main() -> None:
    """Measure each key."""
    seats = tuple(fanin.Seat(f"target-{index}", index) for index in range(5))
    print(f"{'key':<8} {'at the end':>12} {'per arrival':>12}   (µs, median of {ROUNDS})")
    for base, key in enumerate(["text", "number", "choice", "json", {"regex": r"answer is (\d+)"}], start=1):
        rule = fanin.build({"majority": {"key": key}})

        def at_the_end(serial: int, rule: fanin.Rule = rule, base: int = base) -> Callable[[], object]:
            ballot = fanin.Ballot(5, tuple(answers(base * 1_000_000 + serial * 100)), (), True, seats)
            return lambda: rule(ballot)

        def on_arrival(serial: int, rule: fanin.Rule = rule, base: int = base) -> Callable[[], object]:
            candidates = answers(base * 1_000_000 + 500_000 + serial * 100)
            for candidate in candidates[:2]:
                rule(fanin.Ballot(5, (candidate,), (), False, seats))
            ballot = fanin.Ballot(5, tuple(candidates[:3]), (), False, seats)
            return lambda: rule(ballot)

        name = key if isinstance(key, str) else "regex"
        print(f"{name:<8} {microseconds(at_the_end):>12.1f} {microseconds(on_arrival):>12.1f}")


if __name__ == "__main__":
    main()
