"""Alacena's own tier, driven like any other policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.memory import ENTRY_BYTES, MemoryBounds, MemoryEntry, MemoryTier

if TYPE_CHECKING:
    from bench.eviction.traces import Trace


def alacena(trace: Trace, capacity: int) -> int:
    """The tier with room for ``capacity`` entries of one size, one tenant, no expiry."""
    memory = MemoryTier(
        MemoryBounds(max_bytes=capacity * (ENTRY_BYTES + 1), max_entry_ratio=1.0), environment=SystemEnvironment()
    )
    kept = memory.entries.get
    hits = 0
    for key in trace:
        ident = ("tenant", "type", key)
        entry = kept(ident)
        if entry is None:
            memory.put(MemoryEntry(ident, None, wire_key=b"%d" % key, charge=1 + ENTRY_BYTES))
        else:
            entry.hits += 1
            hits += 1
    return hits
