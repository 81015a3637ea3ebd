"""A walk through the entries in memory, a few at a time, that collects what they have counted themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.remote_tier import ABSENT

if TYPE_CHECKING:
    from alacena.engine.base.counts import CountedRow, Counts
    from alacena.engine.memory.memory_entry import MemoryEntry


class MemoryWalk:
    """Every entry of a memory tier in a list, and how far a walk through it has come.

    A hit writes nothing but its entry's ``hits``. The walk adds to the counts what has come since it was last there;
    what leaves is collected as it leaves. So no hit is lost, and each is seen once the walk has come by.

    Args:
        counts: Where reads, entries and bytes are counted by tenant and type.
    """

    __slots__ = ("_at", "_counts", "_entries")

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._entries: list[MemoryEntry] = []
        self._at = 0

    def add(self, entry: MemoryEntry) -> None:
        """Take an entry in."""
        entry.place = len(self._entries)
        self._entries.append(entry)

    def remove(self, entry: MemoryEntry) -> None:
        """Let an entry go, whose hits are collected now; the last takes its place."""
        if entry.hits != entry.collected:
            self.collect(entry)
        last = self._entries.pop()
        if last is not entry:
            self._entries[entry.place] = last
            last.place = entry.place

    def clear(self) -> None:
        """Let all entries go; their hits are collected by :meth:`collect`, one after the other."""
        self._entries = []

    def collect(self, entry: MemoryEntry) -> None:
        """Add the hits of an entry that have come since it was last seen."""
        new = entry.hits - entry.collected
        if not new:
            return
        entry.collected = entry.hits
        entry.tally.hits += new
        if entry.value is ABSENT:  # a place to look further on, and no answer
            return
        row = self.row_of(entry)
        row.memory += new
        if row.tenant_id is None:
            self._counts.compete(entry.ident[0], new)

    def row_of(self, entry: MemoryEntry) -> CountedRow:
        """Returns where the entry is counted, by tenant and type."""
        tally = entry.tally
        if tally.version != self._counts.version:
            tally.version = self._counts.version
            tally.row = self._counts.of(entry.ident[0], entry.ident[1])
        return tally.row  # type: ignore[no-any-return]

    def step(self, budget: int) -> bool:
        """Walk on by so many entries. Returns whether the end was reached: then the next step begins anew.

        Cost: some 150 ns an entry, or several times that for entries that the processor has not at hand.
        """
        at = self._at
        some = self._entries[at : at + budget]
        version = self._counts.version
        for entry in some:
            if entry.hits != entry.collected:
                self.collect(entry)
            tally = entry.tally
            row = tally.row if tally.version == version else self.row_of(entry)
            row.entries_met += 1
            row.bytes_met += entry.charge
        if len(some) == budget:
            self._at = at + budget
            return False
        self._at = 0
        self._counts.met_all()
        return True
