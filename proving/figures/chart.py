"""A picture of a run: one panel a table, one bar a contender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proving.figures.statistics import Spread

if TYPE_CHECKING:
    from pathlib import Path

    from proving.figures.tables import Report, Table

_COLOURS = {"ours": "#0b7285", "floor": "#adb5bd", "peer": "#e8a33d"}
_WIDTH = 9.0


def draw(report: Report, path: Path) -> None:
    """Write an SVG or PNG, by the path's suffix.

    Raises:
        SystemExit: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit("--chart needs matplotlib: pip install matplotlib") from error
    tables = [table for result in report.results.values() for table in result.tables if table.charted is not None]
    if not tables:
        raise SystemExit("--chart: none of these scenarios has anything to draw")
    heights = [0.9 + 0.27 * len(_points(table)) for table in tables]
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    panels = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)
    for (panel,), table in zip(panels, tables, strict=True):
        _panel(panel, table)
    figure.savefig(path, dpi=150)


def _points(table: Table) -> list[tuple[str, Spread, str]]:
    points: list[tuple[str, Spread, str]] = []
    for row in table.rows:
        cell = row.cells[table.charted or 0]
        if isinstance(cell, int | float):
            cell = Spread(float(cell), float(cell), float(cell), 1)
        if isinstance(cell, Spread):
            points.append((row.name, cell, row.role))
    return points


def _panel(panel: Any, table: Table) -> None:
    points = _points(table)
    column = table.columns[table.charted or 0]
    names = [name for name, _, _ in points]
    medians = [figure.median for _, figure, _ in points]
    whiskers = [
        [figure.median - figure.low for _, figure, _ in points],
        [figure.high - figure.median for _, figure, _ in points],
    ]
    colours = [_COLOURS[role] for _, _, role in points]
    positive = [median for median in medians if median > 0]
    panel.barh(names, medians, xerr=whiskers, color=colours, ecolor="#495057", capsize=2)
    if positive and max(positive) / min(positive) > 30:
        panel.set_xscale("log")
    panel.invert_yaxis()
    panel.set_title(table.title, loc="left", fontsize=9, fontweight="bold")
    direction = {"low": " (less is better)", "high": " (more is better)", None: ""}[column.better]
    panel.set_xlabel(column.name + direction, fontsize=8)
    panel.tick_params(labelsize=8)
    for place, median in enumerate(medians):
        panel.annotate(
            f" {median:,.{column.digits}f}", (max(median, 0), place), va="center", fontsize=7, xytext=(6, 0),
            textcoords="offset points",
        )  # fmt: skip
    panel.margins(x=0.12)
    panel.spines[["top", "right"]].set_visible(False)
