"""Counts of one data type of one tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alacena.engine.memory.memory_entry import MemoryEntry


class MemoryCounters(msgspec.Struct, gc=False, eq=False):
    """Counts of what has left; what is still in memory is counted when somebody asks.

    Its segment holds it too, and the garbage collector sees neither link: ``TenantSegment.unlink`` cuts them.
    """

    segment: Any
    hits: int = 0
    evictions: int = 0
    expirations: int = 0
    row: Any = None
    version: int = -1


class Counted(Protocol):
    """A segment, as far as its counts are read."""

    tenant: Any
    tallies: dict[Any, MemoryCounters]


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


def count_all(
    segments: Iterable[Counted], held: Iterable[MemoryEntry], cleared: Iterable[MemoryEntry]
) -> dict[tuple[Any, Any], MemoryCounts]:
    """Add what entries count themselves to what the tallies know, by ``(tenant_id, data_type)``.

    Args:
        segments: Every tenant that is known.
        held: The entries in memory.
        cleared: Slots that are gone, but whose hits no tally has yet.
    """
    tallies = {
        (segment.tenant, data_type): tally for segment in segments for data_type, tally in segment.tallies.items()
    }
    sums = {tally: [0, 0, tally.hits] for tally in tallies.values()}
    for entry in held:
        counts = sums[entry.tally]
        counts[0] += 1
        counts[1] += entry.charge
        counts[2] += entry.hits - entry.collected
    for entry in cleared:
        # A tenant that was forgotten since has no tally to add to.
        if entry.tally in sums:
            sums[entry.tally][2] += entry.hits - entry.collected
    found = {}
    for name, tally in tallies.items():
        entries, size, hits = sums[tally]
        found[name] = MemoryCounts(entries, size, hits, tally.evictions, tally.expirations)
    return found
