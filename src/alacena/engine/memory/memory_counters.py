"""Counts of one data type of one tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from alacena.engine.base.counts import CountedRow


class MemoryCounters(msgspec.Struct, gc=False, eq=False):
    """Counts of one data type of one tenant, each kept where the event happens.

    Attributes:
        data_type: The type.
        following: The counts of the tenant's next type: tenants have few, and a dict takes more than all of them.
        entries: How many there are in memory.
        bytes: Their bytes, overhead included.
        hits: Hits that were collected from the entries: of those that have left, and of the others up to a look at them.
        evictions: How many had to give way.
        expirations: How many have died.
        row: Where the snapshot counts them, as it was at ``version`` of the counts.
        version: Of the counts, when they were asked for the row.
    """

    data_type: object
    following: MemoryCounters | None = None
    entries: int = 0
    bytes: int = 0
    hits: int = 0
    evictions: int = 0
    expirations: int = 0
    row: CountedRow | None = None
    version: int = -1

    @property
    def counts(self) -> MemoryCounts:
        """The counts as they are now."""
        return MemoryCounts(self.entries, self.bytes, self.hits, self.evictions, self.expirations)


class MemoryCounts(NamedTuple):
    """The counts of one data type of one tenant, as ``MemoryTier.stats`` returns them.

    ``entries`` and ``bytes`` (with the overhead of the entries) are the present contents; the others count since the tenant
    was first seen.
    """

    entries: int
    bytes: int
    hits: int
    evictions: int
    expirations: int
