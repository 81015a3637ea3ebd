"""One entry of the memory tier, and the queue that it stands in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY_BYTES = 512
"""Charged for every entry beside its ``size``: the entry, its place in the index, its key, its links and its share of the
ghosts. ``python -m bench.eviction --only cost`` measures it on the running interpreter."""

UNGROUNDED: tuple[tuple[Any, ...], tuple[Any, ...]] = ((), ())
"""The ground of an entry that depends on no generation."""


class MemoryEntry(msgspec.Struct, gc=False, eq=False):
    """One entry in memory. Its maker fills the public fields; the tier owns it from ``put`` on.

    The garbage collector does not see it: a million entries that a full collection walks through stop the event loop
    for a second or two. So its links, which go in circles, are taken apart by hand (``unlink``) when it leaves, when
    the tier is cleared and when the tier itself is dropped; a value that refers to the cache lives until then.

    Attributes:
        ident: Key of the entry: ``(tenant_id, data_type, resource_id)`` or a longer tuple with the scope.
        value: The value to hand out.
        wire_key: The key under which the server's pushes name the entry, if it cannot be told from ``ident``; else empty.
            Unique among the entries of a tier.
        charge: The bytes that the tier counts for the entry: the bytes of the value as the caller measured them, plus
            ``ENTRY_BYTES``.
        thaw: Makes a private copy of ``value`` for a reader; ``None`` if the value may be handed out as it is.
        fresh_until: Instant (``environment.now()``) from which the entry is stale; ``inf`` = never.
        dead_after: Instant until which a stale copy may be served, and the entry is held; ``fresh_until`` if none may.
        ground: Its generations: objects with a ``nonce``, and the nonces under which the value was read, each compared
            by equality with its neighbour. One object for all entries that depend on the same.
        cost: The effort to make the value again, relative to other entries; 1 if it is not known.
        checked: ``MemoryTier.epoch`` at which the generations were last found alive.
        hits: Reads served. The only field that a hit writes.
    """

    ident: tuple[Any, ...]
    value: Any
    wire_key: bytes
    charge: int
    thaw: Any = None
    fresh_until: float = math.inf
    dead_after: float = math.inf
    ground: tuple[tuple[Any, ...], tuple[Any, ...]] = UNGROUNDED
    cost: float = 1.0
    checked: int = -1
    hits: int = 0
    # From here on: fields that only an entry in a queue uses. The links are untyped for the checker: readers ask ``queue``.
    # ``uses`` is a use count (low four bits) and the age that it is of: one small number, which takes no room of its own.
    queue: EntryQueue | None = None
    newer: Any = None
    older: Any = None
    due_newer: Any = None
    due_older: Any = None
    seen: int = 0
    collected: int = 0
    since: int = 0
    uses: int = 1

    @property
    def size(self) -> int:
        """Bytes of the value, as the caller measured them."""
        return self.charge - ENTRY_BYTES

    @property
    def generations(self) -> tuple[Any, ...]:
        """The generations on which it depends."""
        return self.ground[0]

    @property
    def stamps(self) -> tuple[Any, ...]:
        """The nonces of its generations when the value was read."""
        return self.ground[1]

    def unlink(self) -> None:
        """Lets go of the neighbours, once the queues in which they stood are gone."""
        self.newer = self.older = self.queue = self.due_newer = self.due_older = None


class EntryQueue(msgspec.Struct, gc=False, eq=False):
    """Entries in order of arrival: a ring of links inside the entries, so that any of them leaves at once.

    The queue itself stands in the ring where the newest meets the oldest: ``newer`` is its oldest entry.
    """

    newer: Any = None
    older: Any = None
    count: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        self.newer = self.older = self

    def unlink(self) -> None:
        """Lets go of the entries, and of itself: like them, it is invisible to the garbage collector."""
        self.newer = self.older = None

    def walk(self) -> Iterator[MemoryEntry]:
        """Yields the entries from the oldest on; the caller may take one apart before it asks for the next."""
        entry = self.newer
        while entry is not None and entry is not self:
            following = entry.newer
            yield entry
            entry = following

    def push(self, entry: MemoryEntry) -> None:
        """Puts an entry that stands in no queue at the end of this one."""
        last = self.older
        entry.older = last
        entry.newer = self
        last.newer = self.older = entry
        entry.queue = self
        self.count += 1
        # Not added to 0, for which see `TenantSegment.admit`: most queues of many tenants hold one entry.
        self.bytes = self.bytes + entry.charge if self.bytes else entry.charge

    def remove(self, entry: MemoryEntry) -> None:
        """Takes an entry of this queue out, wherever it stands."""
        older, newer = entry.older, entry.newer
        older.newer, newer.older = newer, older
        # An entry that a caller still holds must not keep its former neighbours alive.
        entry.newer = entry.older = entry.queue = None
        self.count -= 1
        self.bytes -= entry.charge

    def take(self, entry: MemoryEntry) -> None:
        """Moves an entry that stands in a queue, be it this one, to the end of this one."""
        older, newer, charge = entry.older, entry.newer, entry.charge
        older.newer, newer.older = newer, older
        source = entry.queue
        if source is not None and source is not self:
            source.count -= 1
            source.bytes -= charge
            self.count += 1
            self.bytes += charge
            entry.queue = self
        last = self.older
        entry.older = last
        entry.newer = self
        last.newer = self.older = entry

    def rotate(self) -> None:
        """Moves the oldest entry to the end."""
        entry = self.newer
        if entry is self.older:
            return
        second, last = entry.newer, self.older
        self.newer = second
        second.older = self
        last.newer, entry.older = entry, last
        entry.newer = self
        self.older = entry


def _store_plainly(one: MemoryEntry | EntryQueue) -> None:
    """Lets the fields of a struct be written to as those of any object are.

    At each store a struct sees to the garbage collector, which does not know these, and the interpreter takes the long
    way to it. A hit writes one field, and an entry that comes or goes some twenty.

    Args:
        one: Any instance, on which it is tried.
    """
    kind = type(one)
    # Both or none: they share one place in the type, and two makers of it would make each store a call of Python.
    kind.__setattr__, kind.__delattr__ = object.__setattr__, object.__delattr__  # type: ignore[method-assign]
    try:
        one.newer = None
    except TypeError:  # an interpreter by whose rules a struct is not written to in this way
        del kind.__setattr__, kind.__delattr__


_store_plainly(MemoryEntry((), None, b"", 0))
_store_plainly(EntryQueue())
