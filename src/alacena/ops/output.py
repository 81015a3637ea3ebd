"""Output of a command: sentences and tables for people, lines for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

Tone = Literal["good", "bad", "doubtful", "plain"]

_COLOURS: Final = {"good": "green", "bad": "red", "doubtful": "yellow", "plain": "default"}
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_LONGEST: Final = 240


@dataclass(frozen=True, slots=True)
class Cell:
    """A text and its tone."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    Attributes:
        title: The kind of the rows.
        columns: The headings; empty texts for a list of facts.
        rows: The cells, as many a row as there are columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(slots=True)
class CommandResult:
    """The result of a command.

    Attributes:
        data: All of it, for programs.
        sentences: The opening, for people.
        tables: The tables after them.
        last: The closing.
        code: The exit code.
    """

    data: Any
    sentences: Sequence[Cell] = ()
    tables: Sequence[Table] = ()
    last: Sequence[Cell] = ()
    code: int = field(default=0)


def printable(text: str, most: int | None = None) -> str:
    """Returns a text with every character seen: one that moves the cursor or turns the line is written as its code.

    Args:
        text: The text.
        most: So many characters at most; the middle of a longer one is left out.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most * 2 // 3]} ...({len(text)} characters)... {text[-most // 6 :]}"
    if text.isprintable():
        return text
    return "".join(_show(letter) for letter in text)


def count_of(number: int, one: str, many: str) -> str:
    """Returns a number with its noun: ``1 process``, ``3 processes``."""
    return f"{number} {one if number == 1 else many}"


def count_processes(number: int) -> str:
    """Returns how many processes there are, in words."""
    return count_of(number, "process", "processes")


def say(answer: CommandResult, *, as_json: bool) -> None:
    """Prints an answer: whole and without style if no terminal reads it."""
    if as_json:
        # ASCII only: marks of direction in an id must not reach a terminal, nor letters that its encoding lacks.
        text = json.dumps(answer.data, indent=2, default=str, ensure_ascii=True)
        sys.stdout.write(text + "\n")
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        _write_plain(answer)
        return
    for cell in answer.sentences:
        console.print(_style(cell))
    for table in answer.tables:
        _draw(console, table)
    for cell in answer.last:
        console.print(_style(cell))


def _write_plain(answer: CommandResult) -> None:
    lines = [printable(cell.text) for cell in answer.sentences]
    for table in answer.tables:
        lines.append(printable(table.title))
        if any(table.columns):
            lines.append("\t".join(table.columns))
        lines += ["\t".join(printable(cell.text) for cell in row) for row in table.rows]
    lines += [printable(cell.text) for cell in answer.last]
    # An id may hold what the terminal's encoding has no letter for.
    encoding = sys.stdout.encoding or "utf-8"
    text = "".join(f"{line}\n" for line in lines if line)
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _draw(console: Console, table: Table) -> None:
    from rich.table import Table as Drawn
    from rich.text import Text

    rows = [[Cell(printable(cell.text, _LONGEST), cell.tone) for cell in row] for row in table.rows]
    widths = [max([len(name), *(len(row[at].text) for row in rows)]) for at, name in enumerate(table.columns)]
    if table.title:
        console.print(Text(printable(table.title, _LONGEST), "italic"))
    is_facts = not any(table.columns)
    is_narrow = widths[0] > console.width * 2 // 5 if is_facts else sum(widths) + 2 * len(widths) > console.width
    # Folded columns are hard to read: a table that is too wide is written as a list.
    if is_narrow and len(widths) > 1:
        for row in rows:
            names = [row[0].text] if is_facts else table.columns
            for name, cell in zip(names, row[is_facts:], strict=True):
                if cell.text:
                    console.print(
                        Text.assemble((f"{name}: ", "bold"), (cell.text, _COLOURS[cell.tone]), overflow="fold")
                    )
            if not is_facts:
                console.print()
        return
    drawn = Drawn(box=None, pad_edge=False, show_header=not is_facts)
    for at, name in enumerate(table.columns):
        is_first = at == 0
        drawn.add_column(Text(name), overflow="fold", max_width=max(console.width * 2 // 5, 8) if is_first else None)
    for row in rows:
        drawn.add_row(*(_style(cell, bold=at == 0) for at, cell in enumerate(row)))
    console.print(drawn)


def _style(cell: Cell, *, bold: bool = False) -> Any:
    from rich.text import Text

    # Ids are the users' own text: as markup, "[/]" in one of them would be an order.
    style = f"{'bold ' if bold else ''}{_COLOURS[cell.tone]}"
    return Text(printable(cell.text, _LONGEST * 4), style, overflow="fold")


def _show(letter: str) -> str:
    if unicodedata.category(letter) not in _UNSEEN:
        return letter
    if letter in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[letter]
    code = ord(letter)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"
