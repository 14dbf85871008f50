"""The report: each figure with its target and its samples, and the machine they were taken on."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """What is measured, in which unit, and the most that its median should be; None where it stands for comparison."""

    name: str
    unit: str
    target: float | None = None


FIGURES = {
    "one": Figure("CPU per request, one target", "µs", 250),
    "three": Figure("CPU per request, majority of three", "µs", 500),
    "messages": Figure("CPU per request, Anthropic's dialect and target", "µs", 375),
    "responses": Figure("CPU per request, Responses, a target that has it", "µs", 375),
    "messages_chat": Figure("CPU per request, Anthropic's dialect over chat", "µs"),
    "responses_chat": Figure("CPU per request, Responses over chat", "µs"),
    "event": Figure("CPU per event of a paced stream", "µs", 60),
    "latency": Figure("added latency at 50 requests/s, p50", "ms", 1.2),
    "race": Figure("time of a race of two streams, 60 tokens", "s", 0.55),
    "ready": Figure("start until the first 200 of /readyz", "s", 1),
    "memory": Figure("memory when ready (RSS)", "MB", 90),
    "idle": Figure("memory of an idle open stream (RSS)", "kB", 45),
    "nginx": Figure("CPU per request of nginx, the limit", "µs"),
}


REFERENCE_NGINX = 17.0
"""CPU µs that nginx costs a request on the machine that the targets were set on."""
_CPU = frozenset({"one", "three", "event", "messages", "responses", "messages_chat", "responses_chat"})


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and its samples, one a round.

    `scaled` are the samples as they would be where nginx costs what it did when the targets were set: machines differ
    by a factor of two, and one and the same machine from minute to minute, so each round has its own scale.
    """

    figure: Figure
    samples: tuple[float, ...]
    scaled: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples)

    @property
    def verdict(self) -> str:
        """Whether the target is met; nothing where there is none."""
        if self.figure.target is None:
            return ""
        return "met" if self.median <= self.figure.target else "MISSED"


def rows(rounds: Sequence[Mapping[str, float]]) -> list[Row]:
    """Return a row for each figure that the rounds have measured."""

    def scaled(key: str) -> tuple[float, ...]:
        if key not in _CPU or not all("nginx" in measured for measured in rounds):
            return ()
        return tuple(measured[key] * REFERENCE_NGINX / measured["nginx"] for measured in rounds)

    return [
        Row(figure, tuple(measured[key] for measured in rounds), scaled(key))
        for key, figure in FIGURES.items()
        if all(key in measured for measured in rounds)
    ]


def table(found: Sequence[Row]) -> str:
    """Return the rows for a reader: the median and, in brackets, the smallest and the largest sample."""
    lines = [("figure", "target", "median", "min..max", "at nginx 17 µs", "")]
    for row in found:
        unit, target = row.figure.unit, row.figure.target
        lines.append(
            (
                row.figure.name,
                "" if target is None else f"<= {target:g} {unit}",
                f"{_short(row.median)} {unit}",
                f"({_short(min(row.samples))}..{_short(max(row.samples))})",
                f"{_short(statistics.median(row.scaled))} {unit}" if row.scaled else "",
                row.verdict,
            )
        )
    name, target_, median, spread, scale, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        f"{a:<{name}}  {b:>{target_}}  {c:>{median}}  {d:<{spread}}  {e:>{scale}}  {f}".rstrip()
        for a, b, c, d, e, f in lines
    )


def as_json(found: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows for a program, with every sample."""
    return [
        {
            "figure": row.figure.name,
            "unit": row.figure.unit,
            "target": row.figure.target,
            "median": row.median,
            "met": None if row.figure.target is None else row.median <= row.figure.target,
            "samples": row.samples,
            "scaled": row.scaled,
        }
        for row in found
    ]


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code; the load is the average of the last minute."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def _processor() -> str:
    """Return the processor's name; Linux tells it in a file only."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in text.split("\n") if line.startswith("model name"))
    return next(names, platform.machine())
