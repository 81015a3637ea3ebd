"""How a command asks a cache, and how it shows what it heard."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from alacena.engine import AlacenaError, Cache, Settings
from alacena.ops import report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_COLOURS = {True: "green", False: "red", None: "default"}


def asked(redis_url: str | None, ask: Callable[[Cache], Awaitable[Sequence[report.Row]]]) -> Sequence[report.Row]:
    """Open a cache, ask it, close it; an error of ours ends the program with its message."""

    async def run() -> Sequence[report.Row]:
        settings = Settings.from_env() if redis_url is None else Settings.from_env(redis_url=redis_url)
        async with Cache(settings) as cache:
            return await ask(cache)

    try:
        return asyncio.run(run())
    except AlacenaError as error:
        sys.exit(f"alacena: {error}")


def applied(dsn: str) -> list[str]:
    """Apply the migrations to a Postgres; their names."""
    try:
        asyncio.run(_apply(dsn))
    except (AlacenaError, OSError) as error:
        sys.exit(f"alacena: {error}")
    return [name for name, _ in report.migrations()]


def show(title: str, found: Sequence[report.Row]) -> None:
    """Print rows as a table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Ids are the users' own text: as markup, "[/]" in one of them would be an order.
    table = Table(title=Text(title), title_justify="left", show_header=False, box=None, pad_edge=False)
    for row in found:
        table.add_row(Text(row.name, "bold"), Text(row.value, _COLOURS[row.good]))
    Console().print(table)


async def _apply(dsn: str) -> None:
    from alacena.sources.postgres import create_pool

    async with await create_pool(dsn) as pool:
        for _, text in report.migrations():
            await pool.execute(text)
