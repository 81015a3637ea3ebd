"""Tables for people, in colour where the terminal has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from proving.figures.statistics import Spread

if TYPE_CHECKING:
    from rich.console import RenderableType

    from proving.figures.tables import Bar, Cell, Column, Report, Result, Row, Table

_STYLES = {"ours": "bold cyan", "floor": "dim", "peer": ""}
_VERDICTS = {
    "goal": ("goal reached", "bold green"),
    "bar": ("bar met", "green"),
    "missed": ("missed", "bold red"),
    "short": ("short of the goal", "yellow"),
    "unknown": ("unknown", "yellow"),
}


def written(cell: Cell, column: Column) -> str:
    """A cell as text: a median, and the quartiles around it where they differ from it as shown."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, Spread):
        return f"{cell:,.{column.digits}f}"
    median, low, high = (f"{figure:,.{column.digits}f}" for figure in (cell.median, cell.low, cell.high))
    return median if low == high == median else f"{median} [{low}…{high}]"


def rendered(table: Table) -> RenderableType:
    """One table."""
    shown = RichTable(title=table.title, title_justify="left", title_style="bold", header_style="bold", expand=False)
    shown.add_column("")
    for column in table.columns:
        shown.add_column(_heading(column), justify="right")
    for row in table.rows:
        shown.add_row(row.name, *_cells(row, table), style=_STYLES[row.role])
    notes = [Text(f"  {note}", style="dim") for note in table.notes]
    return Group(shown, *notes)


def _heading(column: Column) -> str:
    arrow = {"low": " ↓", "high": " ↑", None: ""}[column.better]
    return column.name + arrow


def _cells(row: Row, table: Table) -> list[str]:
    return [written(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]


def bars(found: tuple[Bar, ...]) -> RenderableType:
    """What had to be reached, and what was."""
    shown = RichTable(title="Bars", title_justify="left", title_style="bold", header_style="bold")
    for heading in ("question", "ours", "bar", "goal", "met"):
        shown.add_column(heading)
    for bar in found:
        word, style = _VERDICTS[bar.verdict]
        shown.add_row(bar.question, bar.seen, bar.bar, bar.goal, Text(word, style=style))
    return shown


def show_result(console: Console, name: str, question: str, result: Result, *, bars_too: bool = True) -> None:
    """One scenario; without its bars if all bars are shown together at the end."""
    console.print()
    console.print(Panel(question, title=name, title_align="left", expand=False, border_style="cyan"))
    for table in result.tables:
        console.print(rendered(table))
    if result.bars and bars_too:
        console.print(bars(result.bars))


def show_verdicts(console: Console, report: Report, *, always: bool = False) -> None:
    """All bars of a run together; of a single scenario only if they were not shown with it."""
    found = tuple(bar for result in report.results.values() for bar in result.bars)
    if found and (always or len(report.results) > 1):
        console.print()
        console.print(bars(found))
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report.took_s.items())
    console.print(Text(f"{took}. {'; '.join(f'{key} {value}' for key, value in report.machine.items())}", style="dim"))
