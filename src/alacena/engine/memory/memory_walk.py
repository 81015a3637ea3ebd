"""A walk through the entries in memory, a few at a time, that collects the hits that they have counted."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from alacena.engine.base.miss_reasons import EVICTED, EXPIRED
from alacena.engine.base.remote_tier import ABSENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alacena.engine.base.counts import CountedRow, Counts
    from alacena.engine.memory.cleared_entries import ClearedEntries
    from alacena.engine.memory.memory_counters import MemoryCounters
    from alacena.engine.memory.memory_entry import EntryQueue, MemoryEntry
    from alacena.engine.memory.tenant_segment import TenantSegment

_FEW = 5_000
"""Entries that one call of :meth:`MemoryWalk.catch_up` looks at all of."""

_AT_ONCE = 1_000
"""Entries that it goes on by if there are more: they may be as many tenants, which take longer."""

_REMEMBERED = 8
"""Entries by which a walk finds its place again: most of those that it stood at are still there a moment later."""


class MemoryWalk:
    """Collects hits from tenant to tenant and from entry to entry, and knows how far it has come.

    A hit writes nothing but its entry's ``hits``. The walk adds to the counts the hits that have come since it was last
    there; the hits of an entry that leaves are collected as it leaves. So no hit is lost, and each is seen once the
    walk has come by. It feeds both ``MemoryTier.stats`` and the rows of the snapshot.

    Args:
        entries: The entries in memory, by ident.
        segments: The tenants' parts, by tenant.
        cleared: Entries that were cleared away, but whose hits are not collected yet.
        counts: The counts of reads, entries and bytes, by tenant and type.
    """

    __slots__ = ("_at", "_cleared", "_counts", "_entries", "_order", "_passed", "_queue", "_segments")

    def __init__(
        self,
        entries: Mapping[Any, MemoryEntry],
        segments: Mapping[object, TenantSegment],
        cleared: ClearedEntries,
        counts: Counts,
    ) -> None:
        self._entries = entries
        self._segments = segments
        self._cleared = cleared
        self._counts = counts
        self._order: list[TenantSegment] = []
        self._at = 0
        self._queue: int | None = None  # of the tenant at which the walk stands; None: it has not begun with it
        self._passed: tuple[Any, ...] = ()

    def add(self, segment: TenantSegment) -> None:
        """Takes a tenant in."""
        segment.place = len(self._order)
        self._order.append(segment)

    def remove(self, segment: TenantSegment) -> None:
        """Lets a tenant go. The last takes its place, so that the walk neither misses another nor meets it twice."""
        hole = segment.place
        if hole < self._at:
            # Tenants that were met stay before those that were not: the one met last moves up, the one at hand follows.
            self._move(self._at - 1, hole)
            self._move(self._at, self._at - 1)
            hole, self._at = self._at, self._at - 1
        elif hole == self._at:
            self._queue, self._passed = None, ()
        self._move(len(self._order) - 1, hole)
        self._order.pop()

    def _move(self, source: int, target: int) -> None:
        segment = self._order[target] = self._order[source]
        segment.place = target

    def clear(self) -> None:
        """Begins anew with the tenants that are left, which hold nothing any more."""
        self._order = []
        for segment in self._segments.values():
            self.add(segment)
        self._at, self._queue, self._passed = 0, None, ()
        self._counts.reset_entries()

    def collect(self, entry: MemoryEntry, counters: MemoryCounters | None = None) -> None:
        """Adds the hits of an entry that have come since it was last seen.

        Args:
            entry: Is in memory, or was.
            counters: The counts of its type, if the caller has them.
        """
        new = entry.hits - entry.collected
        if not new:
            return
        entry.collected = entry.hits
        if counters is None and (segment := self._segments.get(entry.ident[0])) is not None:
            counters = segment.counters_of(entry.ident[1])
        if counters is not None:  # else its tenant was forgotten since
            counters.hits += new
        if entry.value is ABSENT:  # a place to look further on, and no answer
            return
        tenant, data_type = entry.ident[0], entry.ident[1]
        row = self._counts.of(tenant, data_type) if counters is None else self._row_of(tenant, counters)
        row.memory += new
        if row.tenant_id is None:
            self._counts.compete(tenant, new)

    def count_eviction(self, entry: MemoryEntry, segment: TenantSegment) -> None:
        """Counts an entry that had to give way."""
        counters = segment.counters_of(entry.ident[1])
        counters.evictions += 1
        self._row_of(segment.tenant, counters).evictions += 1
        self._counts.reasons.note(entry.ident, EVICTED)

    def count_expiration(self, entry: MemoryEntry, segment: TenantSegment, ago_s: float) -> None:
        """Counts an entry that died ``ago_s`` ago."""
        counters = segment.counters_of(entry.ident[1])
        counters.expirations += 1
        self._row_of(segment.tenant, counters).expirations += 1
        self._counts.reasons.note(entry.ident, EXPIRED, ago_s)

    def _row_of(self, tenant: object, counters: MemoryCounters) -> CountedRow:
        """Returns the row that counts a tenant's type."""
        row = counters.row
        # The row is remembered, since finding it takes longer, until other tenants are listed.
        if row is None or counters.version != self._counts.version:
            counters.version = self._counts.version
            row = counters.row = self._counts.of(tenant, counters.data_type)
        return row

    def step(self, budget: int) -> bool:
        """Walks on by so many entries; a tenant counts as one more.

        Returns:
            Whether the end was reached. If so, the next step begins anew.

        Cost: some 150 ns an entry, or several times that for entries that the processor has not at hand.
        """
        while self._at < len(self._order):
            segment = self._order[self._at]
            if self._queue is None:
                if budget <= 0:
                    return False
                budget -= 1
                self._queue = 0
                self._meet(segment)
            budget = self._pass(segment, budget)
            if budget < 0:
                return False
            self._at, self._queue = self._at + 1, None
        self._at = 0
        self._counts.met_all()
        return True

    def catch_up(self) -> None:
        """Collects the hits of all entries; if they would hold the loop up, of the next ones in turn."""
        if len(self._entries) > _FEW:
            self.step(_AT_ONCE)
            return
        gone = itertools.islice(self._cleared.entries(), _FEW)
        for entry in itertools.chain(self._entries.values(), gone):
            self.collect(entry)

    def _meet(self, segment: TenantSegment) -> None:
        for counters in segment.each_counters():
            if counters.entries:
                row = self._row_of(segment.tenant, counters)
                row.entries_met += counters.entries
                row.bytes_met += counters.bytes

    def _pass(self, segment: TenantSegment, budget: int) -> int:
        """Collects from a tenant's entries, and returns the rest of the budget; -1 if it ran out among them.

        It goes from the newest of each queue on: the oldest leave meanwhile, or go to the next queue.
        """
        for queue in segment.queues[self._queue :]:
            entry: Any = self._place_in(queue)
            while entry is not queue and entry is not None:
                if budget <= 0:
                    self._passed = _neighbours(entry, queue)
                    return -1
                budget -= 1
                if entry.hits != entry.collected:
                    self.collect(entry, segment.counters_of(entry.ident[1]))
                entry = entry.older
            self._passed = ()
            self._queue += 1  # type: ignore[operator]
        return budget

    def _place_in(self, queue: EntryQueue) -> Any:
        """Returns the entry at which the walk goes on in a queue.

        If all entries have left by which it knows its place, the rest of the queue is left to the next walk.
        """
        for ident in self._passed:
            entry = self._entries.get(ident)
            if entry is not None and entry.queue is queue:
                return entry
        return queue if len(self._passed) == _REMEMBERED else queue.older  # fewer: it had hardly begun


def _neighbours(entry: Any, queue: EntryQueue) -> tuple[Any, ...]:
    """Returns the idents of an entry and of those passed before it: the entries would keep their values alive."""
    idents: list[Any] = []
    while entry is not queue and len(idents) < _REMEMBERED:
        idents.append(entry.ident)
        entry = entry.newer
    return tuple(idents)
