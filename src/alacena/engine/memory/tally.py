"""Counts of one data type of one tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alacena.engine.memory.compartment import Compartment
    from alacena.engine.memory.slot import Slot


class Tally(msgspec.Struct, gc=False, eq=False):
    """Counts of what has left; what is still in memory is counted when somebody asks.

    Its compartment holds it too, and the garbage collector sees neither link: ``Compartment.unlink`` cuts them.
    """

    compartment: Any
    hits: int = 0
    evictions: int = 0
    expirations: int = 0


class MemoryCounts(NamedTuple):
    """What ``Memory.stats`` says about one data type of one tenant.

    ``entries`` and ``bytes`` (with the overhead of the slots) are what is held now; the others count since the tenant
    was first seen.
    """

    entries: int
    bytes: int
    hits: int
    evictions: int
    expirations: int


def count_all(
    compartments: Iterable[Compartment], held: Iterable[Slot], cleared: Iterable[Slot]
) -> dict[tuple[Any, Any], MemoryCounts]:
    """Add what slots count themselves to what the tallies know, by ``(tenant_id, data_type)``.

    Args:
        compartments: Every tenant that is known.
        held: The slots in memory.
        cleared: Slots that are gone, but whose hits no tally has yet.
    """
    tallies = {
        (compartment.tenant, data_type): tally
        for compartment in compartments
        for data_type, tally in compartment.tallies.items()
    }
    sums = {tally: [0, 0, tally.hits] for tally in tallies.values()}
    for slot in held:
        counts = sums[slot.tally]
        counts[0] += 1
        counts[1] += slot.charge
        counts[2] += slot.hits
    for slot in cleared:
        # A tenant that was forgotten since has no tally to add to.
        if slot.tally in sums:
            sums[slot.tally][2] += slot.hits
    found = {}
    for name, tally in tallies.items():
        entries, size, hits = sums[tally]
        found[name] = MemoryCounts(entries, size, hits, tally.evictions, tally.expirations)
    return found
