"""The first shelf: entries in this process, bounded by bytes, fair between tenants, expiring."""

from alacena.engine.memory.shelf import Memory
from alacena.engine.memory.slot import SLOT_BYTES, Slot
from alacena.engine.memory.tally import MemoryCounts

__all__ = ["SLOT_BYTES", "Memory", "MemoryCounts", "Slot"]
