"""One entry of the first shelf, and the queue that it stands in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.memory.tally import Tally

SLOT_BYTES = 800
"""Charged for every slot beside its ``size``: the slot, its two index entries, key, wire key, links and share of the
ghosts. ``python -m bench.eviction --only cost`` measures it on the running interpreter."""


class Slot:
    """One entry in memory. Whoever makes it fills the public fields; the shelf owns it from ``put`` on.

    Attributes:
        ident: Key of the entry: ``(tenant_id, data_type, resource_id)`` or a longer tuple with the scope.
        value: What is handed out.
        thaw: Makes a private copy of ``value`` for a reader; ``None`` where the value may be handed out as it is.
        fresh_until: Instant (``environment.now()``) from which the entry is stale; ``inf`` = never.
        dead_after: Instant until which a stale copy may be served, and the slot is held; ``fresh_until`` where none may.
        generations: Objects with a ``nonce``, each compared by equality with its neighbour in ``stamps``.
        stamps: The nonces under which the value was read.
        checked: ``Memory.epoch`` at which the generations were last found alive.
        hits: Reads served. The only field that a hit writes.
        charge: What the shelf counts for the slot: ``size``, the bytes of the value as the caller measured them, plus
            ``SLOT_BYTES``.
        cost: What it takes to make the value again, relative to other entries; 1 where nobody knows.
        wire_key: The key under which the server's pushes name the entry. Unique among the slots of a shelf.
    """

    __slots__ = (
        "age",
        "charge",
        "checked",
        "cost",
        "dead_after",
        "due_newer",
        "due_older",
        "frequency",
        "fresh_until",
        "generations",
        "hits",
        "ident",
        "newer",
        "older",
        "queue",
        "seen",
        "since",
        "stamps",
        "tally",
        "thaw",
        "value",
        "wire_key",
    )

    newer: Slot
    older: Slot
    due_newer: Slot
    tally: Tally
    seen: int
    since: int
    age: int
    frequency: int

    def __init__(
        self,
        ident: tuple[Any, ...],
        value: object,
        wire_key: bytes,
        size: int,
        thaw: Callable[[object], object] | None = None,
        fresh_until: float = math.inf,
        dead_after: float | None = None,
        generations: tuple[Any, ...] = (),
        stamps: tuple[Any, ...] = (),
        cost: float = 1.0,
    ) -> None:
        # What only a slot in a queue has is set when it enters one: every assignment here is paid for at each put.
        self.ident = ident
        self.value = value
        self.thaw = thaw
        self.fresh_until = fresh_until
        self.dead_after = fresh_until if dead_after is None else dead_after
        self.generations = generations
        self.stamps = stamps
        self.checked = -1
        self.hits = 0
        self.charge = size + SLOT_BYTES
        self.cost = cost
        self.wire_key = wire_key
        self.queue: Queue | None = None
        self.due_older: Slot | None = None

    @property
    def size(self) -> int:
        """Bytes of the value, as the caller measured them."""
        return self.charge - SLOT_BYTES

    def unlink(self) -> None:
        """Let go of the neighbours, where the queues that they stood in are gone."""
        if self.queue is not None:
            del self.newer, self.older
            self.queue = None
        if self.due_older is not None:
            del self.due_newer
            self.due_older = None


class Queue:
    """Slots in order of arrival: a ring of links inside the slots, so that any of them leaves at once.

    The queue itself stands in the ring where the newest meets the oldest: ``newer`` is its oldest slot.
    """

    __slots__ = ("bytes", "count", "newer", "older")

    def __init__(self) -> None:
        self.newer = self.older = cast("Slot", self)
        self.count = 0
        self.bytes = 0

    def push(self, slot: Slot) -> None:
        """Put a slot that was taken out of its queue, or was in none, at the end of this one."""
        last = self.older
        slot.older = last
        slot.newer = cast("Slot", self)
        last.newer = self.older = slot
        slot.queue = self
        self.count += 1
        self.bytes += slot.charge

    def remove(self, slot: Slot) -> None:
        """Take a slot of this queue out, wherever it stands."""
        older, newer = slot.older, slot.newer
        older.newer, newer.older = newer, older
        # A slot that somebody still holds must not keep its former neighbours alive.
        del slot.newer, slot.older
        slot.queue = None
        self.count -= 1
        self.bytes -= slot.charge

    def take(self, slot: Slot) -> None:
        """Put a slot that stands in a queue, be it this one, at the end of this one."""
        older, newer, charge = slot.older, slot.newer, slot.charge
        older.newer, newer.older = newer, older
        source = slot.queue
        if source is not None and source is not self:
            source.count -= 1
            source.bytes -= charge
            self.count += 1
            self.bytes += charge
            slot.queue = self
        last = self.older
        slot.older = last
        slot.newer = cast("Slot", self)
        last.newer = self.older = slot

    def rotate(self) -> None:
        """Send the oldest slot to the end."""
        slot = self.newer
        if slot is self.older:
            return
        second, last = slot.newer, self.older
        self.newer, second.older = second, cast("Slot", self)
        last.newer, slot.older = slot, last
        slot.newer, self.older = cast("Slot", self), slot
