"""A report says the same on the screen, in JSON and in a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from rich.console import Console

from proving.figures.chart import draw
from proving.figures.show import show_result, show_verdicts, written
from proving.figures.statistics import Spread
from proving.figures.tables import Bar, Column, Report, Result, Row, Table, judged, unjudged

if TYPE_CHECKING:
    from pathlib import Path

_TABLE = Table(
    "Hits",
    (Column("of bare", 2, "high"), Column("k/s", 1)),
    (
        Row("bare", (1.0, Spread(30.0, 29.0, 31.0, 9)), "floor"),
        Row("alacena", (Spread(0.8, 0.7, 0.9, 9), 24.0), "ours"),
        Row("absent", (None, "–")),
    ),
    ("a note",),
    charted=0,
)
_REPORT = Report(
    {"Python": "3.11"}, {"hits": Result((_TABLE,), (judged("ratio", 0.8, bar=0.7, higher=True),))}, {"hits": 1.0}
)


@pytest.mark.parametrize(
    ("seen", "bar", "goal", "higher", "verdict"),
    [
        (2.0, 5, 3, False, "goal"),
        (4.0, 5, 3, False, "bar"),
        (6.0, 5, 3, False, "missed"),
        (9.0, 8, None, True, "bar"),
        (7.9, 8, None, True, "missed"),
        (5.0, 5, None, False, "bar"),
        (0.7, None, 0.7, True, "goal"),
        (0.6, None, 0.7, True, "short"),
    ],
)
def test_a_figure_is_held_against_bar_and_goal(
    seen: float, bar: float | None, goal: float | None, higher: bool, verdict: str
) -> None:
    assert judged("q", seen, bar=bar, goal=goal, higher=higher).verdict == verdict


def test_what_cannot_be_judged_is_neither_met_nor_missed() -> None:
    assert unjudged("q", "≥ 8×", "–", "not installed").verdict == "unknown"


def test_a_cell_is_found_by_names() -> None:
    assert _TABLE.cell("alacena", "k/s") == 24.0
    with pytest.raises(KeyError, match="nobody"):
        _TABLE.cell("nobody", "k/s")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        ("word", "word"),
        (1234.56, "1,234.6"),
        (Spread(2.0, 1.0, 3.0, 5), "2.0 [1.0…3.0]"),
        (Spread(2.0, 1.98, 2.02, 5), "2.0"),
    ],
)
def test_a_cell_is_written_with_its_quartiles_where_they_show(cell: Spread | float | str | None, text: str) -> None:
    assert written(cell, Column("x", 1)) == text


def test_the_screen_shows_rows_notes_bars_and_verdicts() -> None:
    console = Console(width=120, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as capture:
        show_result(console, "hits", "How fast?", _REPORT.results["hits"])
        show_verdicts(console, _REPORT)
    shown = capture.get()
    for text in ("How fast?", "alacena", "0.80 [0.70…0.90]", "a note", "≥ 0.7", "bar met", "Python 3.11"):
        assert text in shown


def test_json_holds_everything() -> None:
    assert msgspec.json.decode(msgspec.json.encode(_REPORT), type=Report) == _REPORT


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_picture_is_drawn(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"chart.{suffix}"
    draw(_REPORT, path)
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit, match="anything to draw"):
        draw(Report({}, {"x": Result((), (Bar("q", "", "", "", "goal"),))}, {}), tmp_path / "x.svg")
