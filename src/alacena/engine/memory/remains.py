"""What is left of a memory that was cleared, taken apart little by little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alacena.engine.memory.expiry_buckets import ExpiryBuckets
    from alacena.engine.memory.memory_entry import EntryQueue, MemoryEntry
    from alacena.engine.memory.memory_walk import MemoryWalk
    from alacena.engine.memory.tenant_segment import TenantSegment


class Remains:
    """Queues and tenants that nobody finds any more, but whose links go in circles, which no reference count would free.

    Attributes:
        queues: Their entries' hits are not collected yet.
        segments: Tenants that are given up, with the queues that they have.
    """

    __slots__ = ("queues", "segments")

    def __init__(self) -> None:
        self.queues: list[EntryQueue] = []
        self.segments: list[TenantSegment] = []

    def entries(self) -> Iterator[MemoryEntry]:
        """The entries of the queues."""
        for queue in self.queues:
            yield from queue.walk()

    def sweep(self, budget: int, walk: MemoryWalk, wheel: ExpiryBuckets) -> int:
        """Take some entries apart. Returns how many there were, at most ``budget``.

        Args:
            budget: As above.
            walk: Collects their hits.
            wheel: Lets them out of their buckets.
        """
        queues, swept = self.queues, 0
        while (queues or self.segments) and swept < budget:
            if not queues:
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
            walk.collect(entry)
            queue.remove(entry)
            wheel.remove(entry)
        return swept

    def take_apart(self, entries: dict[Any, MemoryEntry], segments: dict[object, TenantSegment]) -> None:
        """Take everything apart at once, with the entries and tenants of a memory that is dropped itself."""
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
