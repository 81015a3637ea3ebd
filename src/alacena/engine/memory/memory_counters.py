"""Counts of one data type of one tenant."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from alacena.engine.memory.memory_entry import MemoryEntry, Queue
    from alacena.engine.memory.tenant_segment import TenantSegment

_COLLECTED = 10_000
_COLLECTED_AT_ONCE = 500
"""Entries that one call of ``stats`` collects the hits of, and after how many it looks where it stands."""


class MemoryCounters(msgspec.Struct, gc=False, eq=False):
    """Counts of one data type of one tenant, each kept where the event happens.

    Attributes:
        data_type: The type.
        following: The counts of the tenant's next type: tenants have few, and a dict takes more than all of them.
        entries: How many there are in memory.
        bytes: What they take, overhead included.
        hits: Hits that were collected from the entries: of those that have left, and of the others up to a look at them.
        evictions: How many had to give way.
        expirations: How many have died.
    """

    data_type: object
    following: MemoryCounters | None = None
    entries: int = 0
    bytes: int = 0
    hits: int = 0
    evictions: int = 0
    expirations: int = 0

    @property
    def counts(self) -> MemoryCounts:
        """What is counted now."""
        return MemoryCounts(self.entries, self.bytes, self.hits, self.evictions, self.expirations)


class HitCollector:
    """Collects the hits that entries count themselves into the counts of their types.

    Args:
        entries: What is in memory, by ident.
        segments: The tenants' parts, by tenant.
        binned: Queues of entries that are gone, but whose hits are not collected yet.
    """

    def __init__(
        self, entries: Mapping[Any, MemoryEntry], segments: Mapping[object, TenantSegment], binned: Sequence[Queue]
    ) -> None:
        self._entries = entries
        self._segments = segments
        self._binned = binned
        self._walk: Iterator[list[MemoryEntry]] = iter(())

    def collect(self, entry: MemoryEntry) -> None:
        """Add the hits of an entry to those of its type; not of a tenant that was forgotten since."""
        segment = self._segments.get(entry.ident[0])
        if segment is not None and entry.hits != entry.counted:
            segment.tally_of(entry.ident[1]).hits += entry.hits - entry.counted
            entry.counted = entry.hits

    def collect_some(self) -> None:
        """Collect the hits of all entries; of so many that they would hold the loop up, of the next ones in turn."""
        if len(self._entries) <= _COLLECTED:
            for entry in self._entries.values():
                self.collect(entry)
            gone = itertools.chain.from_iterable(queue.walk() for queue in self._binned)
            for entry in itertools.islice(gone, _COLLECTED):
                self.collect(entry)
            return
        for _ in range(0, _COLLECTED, _COLLECTED_AT_ONCE):
            some = next(self._walk, None)
            if some is None:
                self._walk = _walk(self._entries, list(self._segments.values()))
                return
            for entry in some:
                self.collect(entry)


def _walk(entries: Mapping[Any, MemoryEntry], segments: Sequence[TenantSegment]) -> Iterator[list[MemoryEntry]]:
    """All entries, some at a time, from the newest of each queue on: the oldest are those that leave meanwhile.

    Where the one at which it stood has left, the rest of that queue is for the next walk.
    """
    some: list[MemoryEntry] = []
    for segment in segments:
        for queue in segment.queues:
            at: Any = queue.older
            while at is not None and at is not queue and at.queue is queue:
                some.append(at)
                if len(some) < _COLLECTED_AT_ONCE:
                    at = at.older
                    continue
                ident, at = at.ident, None
                yield some
                some = []
                at = entries.get(ident)
                if at is not None and at.queue is queue:
                    at = at.older
    yield some


class MemoryCounts(NamedTuple):
    """What ``MemoryTier.stats`` says about one data type of one tenant.

    ``entries`` and ``bytes`` (with the overhead of the entries) are what is held now; the others count since the tenant
    was first seen.
    """

    entries: int
    bytes: int
    hits: int
    evictions: int
    expirations: int
