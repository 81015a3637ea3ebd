"""The remains of a memory that was cleared, taken apart little by little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from alacena.engine.memory.expiry_buckets import ExpiryBuckets
    from alacena.engine.memory.memory_entry import EntryQueue, MemoryEntry
    from alacena.engine.memory.sharded_dict import ShardedDict
    from alacena.engine.memory.tenant_segment import TenantSegment


class ClearedEntries:
    """Queues and tenants that no read finds any more. Their links go in circles, which no reference count would free.

    Attributes:
        queues: Their entries' hits are not collected yet.
        segments: Tenants that are given up, with the queues that they have.
        parts: More of these.
        tables: Dicts in which the entries stood. Each takes some tens of microseconds to let go of.
    """

    __slots__ = ("parts", "queues", "segments", "tables")

    def __init__(self) -> None:
        self.tables: list[object] = []
        self.queues: list[EntryQueue] = []
        self.segments: list[TenantSegment] = []
        self.parts: list[Collection[TenantSegment]] = []

    @property
    def is_left(self) -> bool:
        """Whether there are entries or tenants to be taken apart."""
        return bool(self.queues or self.segments or self.parts)

    def entries(self) -> Iterator[MemoryEntry]:
        """Yields the entries of the queues."""
        for queue in self.queues:
            yield from queue.walk()

    def sweep(self, budget: int, collect: Callable[[MemoryEntry], None], wheel: ExpiryBuckets) -> int:
        """Takes some entries apart.

        Args:
            budget: The most of them.
            collect: Adds up the hits of an entry.
            wheel: Lets them out of their buckets.

        Returns:
            How many there were.
        """
        queues, swept = self.queues, 0
        while (queues or self.segments or self.parts) and swept < budget:
            if not queues:
                if not self.segments:
                    self.segments += self.parts.pop()
                    continue
                # One tenant at a time: to lay the queues of all open at once would hold the loop up if there are many.
                segment = self.segments.pop()
                queues += segment.clear()
                segment.unlink()
                continue
            queue = queues[-1]
            entry = queue.newer
            if entry is queue:
                queue.unlink()
                queues.pop()
                continue
            swept += 1
            collect(entry)
            queue.remove(entry)
            wheel.remove(entry)
        return swept

    def take_apart(self, entries: ShardedDict[Any, MemoryEntry], segments: ShardedDict[object, TenantSegment]) -> None:
        """Takes everything apart at once, with the entries and tenants of a memory that is dropped itself."""
        for part in self.parts:
            self.segments += part
        for segment in self.segments:
            self.queues += segment.clear()
        for segment in (*segments.values(), *self.segments):
            segment.unlink()
        for entry in entries.values():
            entry.unlink()
        for entry in self.entries():
            entry.unlink()
        for queue in self.queues:
            queue.unlink()
