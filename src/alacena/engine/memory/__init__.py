"""The memory tier: entries in this process, bounded by bytes, fair between tenants, expiring."""

from alacena.engine.memory.memory_bounds import MemoryBounds
from alacena.engine.memory.memory_counters import MemoryCounts
from alacena.engine.memory.memory_entry import ENTRY_BYTES, UNGROUNDED, MemoryEntry
from alacena.engine.memory.memory_tier import MemoryTier

__all__ = ["ENTRY_BYTES", "UNGROUNDED", "MemoryBounds", "MemoryCounts", "MemoryEntry", "MemoryTier"]
