"""The screen: progress bars and live tables on a terminal, the same in plain text where there is none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from examples.rag_service.query import Reply

_COLOURS = {"source": "yellow", "redis": "cyan", "memory": "green"}


class Screen:
    """What the user sees.

    Args:
        console: Where to write; by default the standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def say(self, text: str) -> None:
        """Write a line."""
        self._console.print(escape(text))

    def title(self, text: str) -> None:
        """Write a heading."""
        self._console.print(f"\n[bold]{escape(text)}[/bold]")

    def verdict(self, text: str, *, holds: bool) -> None:
        """Write something that was checked, and whether it holds."""
        mark = "[green]ok[/green]  " if holds else "[bold red]NO[/bold red]  "
        self._console.print(mark + escape(text))

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Say that something takes a while; on a terminal only, for as long as it takes."""
        with self._console.status(escape(what)):
            yield

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[], None]]:
        """A progress bar; each call of what it gives is one step."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(escape(what), total=total)
            yield lambda: progress.advance(task)

    @contextmanager
    def grid(self, questions: Sequence[str], columns: Sequence[str], marked: set[int] | None = None) -> Iterator[Grid]:
        """A live table with a row for each question; ``marked`` names those that an edit must reach."""
        grid = Grid(questions, columns, marked)
        with Live(get_renderable=grid.table, console=self._console, refresh_per_second=8):
            yield grid
        if not self._console.is_terminal:
            self._console.line()


class Grid:
    """Replies by question and pass.

    Args:
        questions: The rows.
        columns: The passes.
        marked: The rows that an edit must reach, where there was an edit.
    """

    def __init__(self, questions: Sequence[str], columns: Sequence[str], marked: set[int] | None) -> None:
        self._questions = questions
        self._columns = columns
        self._marked = marked
        self._cells: dict[tuple[int, int], str] = {}

    def put(self, column: int) -> Callable[[int, Reply], None]:
        """Give the function that shows a reply in this column."""

        def shown(row: int, reply: Reply) -> None:
            self._cells[row, column] = _cell(reply)

        return shown

    def table(self) -> Table:
        """The table as it is now."""
        table = Table(expand=False, show_lines=False, pad_edge=False)
        table.add_column("#", justify="right")
        table.add_column("Question", ratio=1, overflow="fold")
        if self._marked is not None:
            table.add_column("Used it", justify="center")
        for column in self._columns:
            table.add_column(column, justify="right")
        for row, question in enumerate(self._questions):
            mark = [] if self._marked is None else ["yes" if row in self._marked else ""]
            cells = [self._cells.get((row, column), "") for column in range(len(self._columns))]
            table.add_row(str(row + 1), escape(question), *mark, *cells)
        return table


def _cell(reply: Reply) -> str:
    tokens = f"{reply.tokens_saved} saved" if reply.tokens_saved else f"{reply.tokens} tokens"
    colour = _COLOURS.get(reply.tier, "default")
    return f"[{colour}]{reply.tier}[/{colour}] {milliseconds(reply.ms)}\n[dim]{tokens}[/dim]"


def milliseconds(value: float) -> str:
    """A duration with the digits that mean something."""
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.3f} ms"
