"""``alacena top``: the counts of the processes of a namespace, live. Needs the extra ``top``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args

from rich.text import Text
from textual.app import App, ComposeResult
from textual.widgets import DataTable, Footer, Static

from alacena.engine import AlacenaError
from alacena.ops.fleet_report import COLUMNS, By, fresh_snapshots, sum_types
from alacena.ops.output import count_processes, printable

if TYPE_CHECKING:
    from textual.binding import BindingType

    from alacena.engine import Cache

_EVERY_S: Final = 2.0
_ORDERS: Final[tuple[By, ...]] = get_args(By)
_MOST: Final = 200


class TopApp(App[None]):
    """A table of tenants and types, renewed every two seconds; ``s`` sorts, ``p`` stops, ``q`` leaves.

    Args:
        cache: An open cache of the namespace.
        by: The column to sort by.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("s", "sort", "Sort"), ("p", "pause", "Pause"), ("q", "quit", "Quit")]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, cache: Cache, by: By = "reads") -> None:
        super().__init__()
        self._cache = cache
        self._by = by
        self._paused = False

    def compose(self) -> ComposeResult:
        """Yields the summary, the table and the keys."""
        yield Static("", id="summary")
        yield DataTable(cursor_type="row")
        yield Footer()

    async def on_mount(self) -> None:
        """Begins to renew."""
        self.query_one(DataTable).add_columns(*COLUMNS)
        self.set_interval(_EVERY_S, self.renew)
        await self.renew()

    async def renew(self) -> None:
        """Shows the counts of the fleet by now; that it does not answer is said in its place."""
        if self._paused:
            return
        summary = self.query_one("#summary", Static)
        try:
            members = await self._cache.fleet()
        except AlacenaError as error:
            summary.update(Text(printable(f"no answer, the figures are old: {error}")))
            return
        snapshots = fresh_snapshots(members)
        silent = len(members) - len(snapshots)
        words = f"{count_processes(len(snapshots))}, {silent} silent; by {self._by}; counted since the start of each"
        summary.update(words)
        table: DataTable[Any] = self.query_one(DataTable)
        table.clear()
        for line in sum_types(snapshots, self._by)[:_MOST]:
            # Ids are the users' own text: as markup, "[/]" in one of them would be an order.
            table.add_row(*(Text(printable(text, 40)) for text in line.cells))

    async def action_sort(self) -> None:
        """Sorts by the next column."""
        self._by = _ORDERS[(_ORDERS.index(self._by) + 1) % len(_ORDERS)]
        await self.renew()

    async def action_pause(self) -> None:
        """Stops or goes on."""
        self._paused = not self._paused
        await self.renew()
