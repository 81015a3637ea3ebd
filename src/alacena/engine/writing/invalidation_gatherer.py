"""The invalidations that leave together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    from alacena.engine.base.errors import BackendError
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Ended


class InvalidationGatherer:
    """The invalidations of one turn of the loop, which leave together.

    Attributes:
        groups: Generations to end, by bucket.
        entries: Entries to remove.
        sent: Their removal: its result is the former entry, or ``None`` if the server did not confirm.
        error: Why it did not.
    """

    def __init__(self) -> None:
        self.groups: dict[tuple[str, ...], None] = {}
        self.entries: dict[bytes, EntryKey] = {}
        self.sent: asyncio.Task[Ended | None] | None = None
        self.error: BackendError | None = None

    def add(self, groups: Iterable[Sequence[str]], entries: Iterable[EntryKey]) -> None:
        """Adds generations and entries, each once."""
        self.groups.update(dict.fromkeys(map(tuple, groups)))
        for key in entries:
            self.entries[key.entry] = key
