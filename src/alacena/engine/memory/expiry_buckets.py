"""The instants at which entries die: found without a scan, each touched once."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from alacena.engine.memory.memory_entry import MemoryEntry

_FINEST_EXPONENT = -3
_STEPS_EXPONENT = 5


class ExpiryBucket:
    """Entries that are due at one instant: a ring of links inside the entries."""

    __slots__ = ("due_newer", "due_older")

    def __init__(self) -> None:
        self.due_newer = self.due_older = cast("MemoryEntry", self)


class ExpiryBuckets:
    """Deaths, rounded up to a grain that grows with the distance: the further away, the coarser.

    The grain is a power of two seconds, at most a sixteenth of the remaining life and at least an eighth of a second.
    So an entry's memory is freed that much late at most (readers compare instants themselves and never see it), a few
    hundred buckets cover any spread of lives, and nothing cascades from coarse buckets to fine ones: the idea of the
    Linux kernel's timer wheel since 4.8. A heap of the buckets' instants says which is next.

    Attributes:
        next_due: Instant of the first bucket; ``inf`` if there is none.
    """

    __slots__ = ("_buckets", "_grain", "_longest", "_order", "_shortest", "next_due")

    def __init__(self) -> None:
        self.next_due = math.inf
        self._buckets: dict[float, ExpiryBucket] = {}
        self._order: list[float] = []
        self._grain = self._shortest = self._longest = 0.0

    def add(self, entry: MemoryEntry, dies_at: float, now: float) -> None:
        """Notes when an entry dies; one that never dies is not noted."""
        if dies_at == math.inf:
            return
        # Entries that come one after the other mostly live about as long.
        if not self._shortest <= dies_at - now < self._longest:
            self._suit(dies_at - now)
        # Rounded up: nothing is freed before it dies.
        due = -(-dies_at // self._grain) * self._grain
        bucket = self._buckets.get(due)
        if bucket is None:
            bucket = self._buckets[due] = ExpiryBucket()
            heapq.heappush(self._order, due)
            self.next_due = self._order[0]
        last = bucket.due_older
        entry.due_older = last
        entry.due_newer = bucket
        last.due_newer = bucket.due_older = entry

    def _suit(self, life_s: float) -> None:
        """Chooses the grain for a life, and notes for which other lives it is the right one too."""
        exponent = math.frexp(life_s)[1] - _STEPS_EXPONENT
        self._grain = math.ldexp(1.0, max(exponent, _FINEST_EXPONENT))
        self._longest = self._grain * 2**_STEPS_EXPONENT
        self._shortest = 0.0 if exponent <= _FINEST_EXPONENT else self._longest / 2

    def remove(self, entry: MemoryEntry) -> None:
        """Forgets an entry, if it was noted."""
        # A bucket that becomes empty stays in the heap until it is due: to take it out would be a search.
        older = entry.due_older
        if older is not None:
            newer = entry.due_newer
            older.due_newer, newer.due_older = newer, older
            entry.due_newer = entry.due_older = None

    def pop(self, now: float) -> MemoryEntry | None:
        """Takes one entry out whose bucket is due; ``None`` if none is."""
        while self.next_due <= now:
            bucket = self._buckets[self.next_due]
            entry = bucket.due_newer
            if entry is not cast("MemoryEntry", bucket):
                self.remove(entry)
                return entry
            del self._buckets[heapq.heappop(self._order)]
            self.next_due = self._order[0] if self._order else math.inf
        return None
