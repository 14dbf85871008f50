"""What a dashboard is made of: panels as plain data, and how they become Grafana's JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as boards
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WINDOW = "$__rate_interval"


@dataclass(frozen=True)
class Panel:
    """One picture: `queries` maps a legend (with `{{label}}` in it) to PromQL.

    `unit` is Grafana's word for it: percentunit, s, currencyUSD, reqps, short, bytes.
    """

    title: str
    text: str
    unit: str
    queries: dict[str, str]
    figure: bool = False
    """A single number instead of lines."""
    stacked: bool = False

    @property
    def width(self) -> int:
        """Of Grafana's 24 columns."""
        return 6 if self.figure else 12


@dataclass(frozen=True)
class Board:
    """A dashboard: rows of panels by heading, and the labels that its readers may choose from."""

    uid: str
    title: str
    text: str
    choices: tuple[str, ...]
    rows: dict[str, Sequence[Panel]]

    def panels(self) -> Iterator[Panel]:
        """Give all panels in order."""
        for row in self.rows.values():
            yield from row

    def json(self) -> str:
        """Return what Grafana imports."""
        board = (
            boards.Dashboard(self.title)
            .uid(self.uid)
            .description(self.text)
            .tags(["hedgerow"])
            .timezone("browser")
            .refresh("30s")
            .time("now-1h", "now")
            .with_variable(boards.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        )
        for label in self.choices:
            board = board.with_variable(_choice(label))
        number = count(1)
        for heading, row in self.rows.items():
            board = board.with_row(boards.Row(heading).id(next(number)))
            for panel in row:
                board = board.with_panel(_built(panel).id(next(number)))
        return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _choice(label: str) -> boards.QueryVariable:
    metric = {"route": "hedgerow_requests_total", "target": "hedgerow_target_info"}[label]
    return (
        boards.QueryVariable(label)
        .label(label.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({metric}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .multi(True)
        .all_value(".*")
    )


def _built(panel: Panel) -> stat.Panel | timeseries.Panel:
    if panel.figure:
        built: stat.Panel | timeseries.Panel = (
            stat.Panel()
            .height(4)
            .graph_mode(common.BigValueGraphMode.AREA)
            .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        )
    else:
        built = (
            timeseries.Panel()
            .height(8)
            .fill_opacity(30 if panel.stacked else 8)
            .show_points(common.VisibilityMode.NEVER)
            .legend(
                common_builders.VizLegendOptions()
                .display_mode(common.LegendDisplayMode.TABLE)
                .placement(common.LegendPlacement.BOTTOM)
                .calcs(["mean", "lastNotNull"])
                .show_legend(True)
            )
        )
        if panel.stacked:
            built = built.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    built = built.title(panel.title).description(panel.text).unit(panel.unit).span(panel.width).datasource(SOURCE)
    for letter, (legend, expression) in zip(ascii_uppercase, panel.queries.items(), strict=False):
        built = built.with_target(prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend))
    return built
