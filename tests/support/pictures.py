"""Pictures of the dashboards, drawn from what a Prometheus says to their own queries."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator
from PIL import Image

from deploy.grafana.panels import Board, Panel

INK, QUIET = "#1f2430", "#8b93a3"
COLOURS = ("#3b7dd8", "#e0752d", "#3f9e5a", "#c4384b", "#8560b8", "#b0892a", "#2aa3a8", "#d068a5", "#6b7280", "#94b82e")


GAP = 2.5
"""Seconds without a value after which a line is interrupted."""


class Series(NamedTuple):
    """One line: its legend, seconds since the start, values."""

    label: str
    at: list[float]
    values: list[float]


def taken(found: Mapping[str, list[Any]], start: float) -> list[Series]:
    """Return the series of what Prometheus said to one panel's queries, by legend; where it said nothing is a gap."""
    series = []
    for template, result in found.items():
        for one in result:
            points: list[tuple[float, float]] = []
            for at, value in ((float(at) - start, float(value)) for at, value in one["values"] if value != "NaN"):
                if points and at - points[-1][0] > GAP:
                    points.append(((at + points[-1][0]) / 2, math.nan))
                points.append((at, value))
            if points:
                at, values = zip(*points, strict=True)
                label = re.sub(r"\{\{(\w+)\}\}", lambda name, of=one["metric"]: of.get(name[1], ""), template)
                series.append(Series(label, list(at), list(values)))
    return series


def draw(board: Board, drawn: Mapping[str, list[Series]], into: Path) -> None:
    """Write a board as one picture: its figures in a line, its panels two abreast."""
    mpl.rcParams.update({"font.size": 7, "axes.edgecolor": QUIET, "text.color": INK})
    figures = [panel for panel in board.panels() if panel.figure]
    panels = [panel for panel in board.panels() if not panel.figure]
    heights = [0.4] * bool(figures) + [1.0] * -(-len(panels) // 2)
    picture = plt.figure(figsize=(10, 0.5 + 1.8 * sum(heights)), facecolor="white", layout="constrained")
    grid = picture.add_gridspec(len(heights), 12, height_ratios=heights)
    for index, panel in enumerate(figures):
        width = 12 // len(figures)
        _figure(picture.add_subplot(grid[0, index * width : (index + 1) * width]), panel, drawn[panel.title])
    for index, panel in enumerate(panels):
        line, column = divmod(index, 2)
        place = grid[line + bool(figures), column * 6 : column * 6 + 6]
        _lines(picture.add_subplot(place), panel, drawn[panel.title])
    picture.suptitle(board.title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    into.parent.mkdir(parents=True, exist_ok=True)
    whole = BytesIO()
    picture.savefig(whole, dpi=100)
    plt.close(picture)
    Image.open(whole).convert("RGB").quantize(64).save(into, optimize=True)


def _figure(axes: Axes, panel: Panel, series: list[Series]) -> None:
    axes.axis("off")
    axes.set_title(panel.title, fontsize=8, color=QUIET)
    shown = series[0].label if panel.title == "Version" else written(series[0].values[-1], panel.unit)
    axes.text(0.5, 0.4, shown, ha="center", va="center", fontsize=17, color=COLOURS[0], transform=axes.transAxes)


def _lines(axes: Axes, panel: Panel, series: list[Series]) -> None:
    axes.set_title(panel.title, fontsize=8, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e8ec", linewidth=0.6)
    axes.tick_params(length=2, colors=QUIET, labelsize=6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, panel.unit)))
    told = [one for one in series if any(one.values)] or series
    shown = sorted(told, key=lambda one: -sum(filter(math.isfinite, one.values)))[: len(COLOURS)]
    if panel.stacked:
        axis = sorted({at for one in shown for at in one.at})
        heights = [[_at(one).get(at, 0.0) for at in axis] for one in shown]
        axes.stackplot(axis, heights, labels=[one.label for one in shown], colors=COLOURS, alpha=0.75, linewidth=0)
    else:
        for colour, one in zip(COLOURS, shown, strict=False):
            axes.plot(one.at, one.values, label=one.label, color=colour, linewidth=1.2)
    top = max((value for one in shown for value in one.values if math.isfinite(value)), default=0.0)
    axes.set_ylim(bottom=0, top=None if top else 1)
    if panel.unit == "bytes" and top:
        axes.yaxis.set_major_locator(MultipleLocator(2 ** (math.ceil(math.log2(top)) - 2)))
    axes.margins(x=0)
    axes.legend(fontsize=5.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), labelcolor=INK)


def _at(one: Series) -> dict[float, float]:
    return {at: value for at, value in zip(one.at, one.values, strict=True) if math.isfinite(value)}


def written(value: float, unit: str) -> str:
    """Write a value as Grafana does."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    if unit == "bytes":
        return f"{value / 2**20:.4g} MiB"
    if unit == "currencyUSD":
        return f"${value:.3g}"
    return f"{value:.3g}" + (" /s" if unit == "reqps" else "")
