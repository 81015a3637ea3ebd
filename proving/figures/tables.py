"""What a scenario hands over: tables, and the bars it was measured against."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from proving.figures.statistics import Spread

Verdict: TypeAlias = Literal["goal", "bar", "missed", "short", "unknown"]
Cell: TypeAlias = Spread | str | float | int | bool | None
"""A figure with its spread, a plain one, a word, or nothing where it does not apply."""


class Column(msgspec.Struct, frozen=True):
    """One column.

    Attributes:
        name: Its heading, with the unit.
        digits: Digits behind the point.
        better: Which way is good, for the colours; ``None``: neither.
    """

    name: str
    digits: int = 1
    better: Literal["low", "high"] | None = None


class Row(msgspec.Struct, frozen=True):
    """One contender.

    Attributes:
        name: Who.
        cells: One a column.
        role: Ours, the floor that is compared with, or a peer.
    """

    name: str
    cells: tuple[Cell, ...]
    role: Literal["ours", "floor", "peer"] = "peer"


class Table(msgspec.Struct, frozen=True):
    """Some contenders side by side.

    Attributes:
        title: What is compared.
        columns: Ratios first, absolute figures after them.
        rows: The contenders.
        notes: What must be known to read it.
        charted: The column that a chart shows; ``None``: it is not charted.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    charted: int | None = None

    def cell(self, row: str, column: str) -> Cell:
        """The figure of a row, both by name.

        Raises:
            KeyError: There is no such row or column.
        """
        index = next((i for i, c in enumerate(self.columns) if c.name == column), None)
        found = next((r for r in self.rows if r.name == row), None)
        if index is None or found is None:
            raise KeyError(f"no {row!r} / {column!r} in {self.title!r}")
        return found.cells[index]


class Bar(msgspec.Struct, frozen=True):
    """One thing that had to be reached.

    Attributes:
        question: What.
        bar: What had to be reached.
        goal: What was hoped for.
        seen: What was measured.
        verdict: How it came out; ``"short"``: there is no bar, and the goal was not reached; ``"unknown"``: a rival that
            it needs is not installed.
    """

    question: str
    bar: str
    goal: str
    seen: str
    verdict: Verdict


class Result(msgspec.Struct, frozen=True):
    """What one scenario found.

    Attributes:
        tables: Its tables.
        bars: Its bars.
    """

    tables: tuple[Table, ...]
    bars: tuple[Bar, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        machine: Where it was made.
        results: What each scenario found, by its name.
        took_s: How long each took.
    """

    machine: dict[str, str]
    results: dict[str, Result]
    took_s: dict[str, float]


def judged(
    question: str,
    seen: float,
    *,
    bar: float | None = None,
    goal: float | None = None,
    higher: bool = False,
    unit: str = "",
) -> Bar:
    """Hold a figure against a bar and a goal.

    Args:
        question: What was asked.
        seen: The figure.
        bar: What it must reach; ``None``: nothing.
        goal: What it should reach; ``None``: nothing beyond the bar.
        higher: Whether more is better.
        unit: Shown behind each.
    """

    def reaches(limit: float) -> bool:
        return seen >= limit if higher else seen <= limit

    def shown(limit: float | None) -> str:
        return "–" if limit is None else f"{'≥' if higher else '≤'} {limit:g}{unit}"

    verdict: Verdict = "short"
    if bar is not None:
        verdict = "bar" if reaches(bar) else "missed"
    if verdict != "missed" and goal is not None and reaches(goal):
        verdict = "goal"
    return Bar(question, shown(bar), shown(goal), f"{seen:,.4g}{unit}", verdict)


def unjudged(question: str, bar: str, goal: str, why: str) -> Bar:
    """A bar that could not be held against anything."""
    return Bar(question, bar, goal, why, "unknown")
