"""The first shelf: what this process keeps in memory."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

from alacena.engine.errors import SettingsError, UsageError
from alacena.engine.memory.compartment import Compartment
from alacena.engine.memory.ghosts import Ghosts
from alacena.engine.memory.shares import Shares
from alacena.engine.memory.tally import MemoryCounts, count_all
from alacena.engine.memory.wheel import Wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alacena.engine.environment import Environment
    from alacena.engine.memory.slot import Slot

_KEPT_EMPTY_TENANTS = 1024
_EXPIRED_PER_PUT = 4
_SWEPT_PER_PUT = 4

_SMALL_TABLE_BYTES = 1 << 20
_SPARSE_BYTES = 2048
"""A table that takes more than that for each entry is rebuilt; one that has just grown takes a tenth of it."""


class Memory:
    """Entries in this process: bounded by bytes, fair between tenants, expiring without being read.

    Synchronous, for one thread: the one that runs the event loop. Every call but ``stats`` and ``clear`` does a bounded
    amount of work, whatever the number of entries.

    A hit costs a look-up, three comparisons and one write (``slot.hits``). Everything else happens when entries come
    and go: each tenant's ``Compartment`` decides what it keeps, ``Shares`` which tenant gives when the shelf is full,
    ``Wheel`` what has died.

    Args:
        max_bytes: Bound of what all slots take together, each counted as its ``size`` plus ``SLOT_BYTES``.
        max_entries: Bound of how many there are; ``None`` = as many as the bytes allow.
        environment: Its ``now`` dates what is put.
        max_slot_ratio: A slot that takes a larger part of ``max_bytes`` is not kept.
        weights: Shares by tenant where they should differ: a tenant of weight 2 is guaranteed twice the bytes of one
            of weight 1, which is what a tenant that is not listed has.

    Attributes:
        slots: Every slot by its ``ident``. To be read only.
        epoch: Bumped by whoever keeps the generations, whenever one of them changes.
        serving_until: Memory may be read while ``now <= serving_until``: ``inf`` where nothing can go stale behind its
            back, ``-inf`` where memory must not be read.

    Raises:
        SettingsError: A bound, the ratio or a weight makes no sense.
    """

    __slots__ = (
        "__weakref__",
        "_binned",
        "_by_wire_key",
        "_bytes",
        "_compartments",
        "_empty",
        "_ghosts",
        "_largest",
        "_max_bytes",
        "_max_entries",
        "_now",
        "_shares",
        "_wheel",
        "epoch",
        "serving_until",
        "slots",
    )

    def __init__(
        self,
        *,
        max_bytes: int,
        max_entries: int | None = None,
        environment: Environment,
        max_slot_ratio: float = 0.125,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if max_bytes < 1:
            raise SettingsError(f"memory max_bytes must be at least 1, not {max_bytes}")
        if max_entries is not None and max_entries < 1:
            raise SettingsError(f"memory max_entries must be at least 1, or None for no bound, not {max_entries}")
        if not 0.0 < max_slot_ratio <= 1.0:
            raise SettingsError(f"memory max_slot_ratio must be above 0 and at most 1, not {max_slot_ratio}")
        self.slots: dict[tuple[Any, ...], Slot] = {}
        self.epoch = 0
        self.serving_until = math.inf
        self._max_bytes = max_bytes
        self._max_entries = max_entries or 0
        self._largest = int(max_bytes * max_slot_ratio)
        self._now = environment.now
        self._bytes = 0
        self._by_wire_key: dict[bytes, Slot] = {}
        self._compartments: dict[object, Compartment] = {}
        self._empty: dict[object, None] = {}
        self._binned: list[Slot] = []
        self._shares = Shares(weights)
        self._ghosts = Ghosts()
        self._wheel = Wheel()
        # A shelf that is dropped without being closed: nobody else would take its slots apart. At the interpreter's end
        # there is nothing to give back.
        weakref.finalize(self, _take_apart, self.slots, self._binned, self._compartments).atexit = False

    @property
    def held_bytes(self) -> int:
        """What the slots take together, overhead included; never above ``max_bytes``."""
        return self._bytes

    def get(self, ident: tuple[Any, ...], now: float) -> Slot | None:
        """The slot, if it is fresh and alive; counted as a hit.

        A slot whose generation changed is discarded on the way; one whose generations are not all known is a miss and
        stays.

        Args:
            ident: Key of the entry.
            now: ``environment.now()`` of this read.
        """
        slot = self.slots.get(ident)
        if slot is None or now >= slot.fresh_until or now > self.serving_until:
            return None
        if slot.checked != self.epoch and not self._is_alive(slot):
            return None
        slot.hits += 1
        return slot

    def get_stale(self, ident: tuple[Any, ...], now: float) -> Slot | None:
        """The slot, if it is alive but no longer fresh, and not dead yet; counted as a hit."""
        slot = self.slots.get(ident)
        if slot is None or not slot.fresh_until <= now < slot.dead_after or now > self.serving_until:
            return None
        if slot.checked != self.epoch and not self._is_alive(slot):
            return None
        slot.hits += 1
        return slot

    def put(self, slot: Slot, now: float | None = None) -> bool:
        """Keep a slot, in place of what has its ``ident``, and let others go where room is needed.

        What has the same ``ident`` or ``wire_key`` goes even where the slot is not kept.

        Args:
            slot: Whoever puts it has no further use for it.
            now: ``environment.now()``, where the caller has it.

        Returns:
            Whether the slot was kept: not if it is too large, or dead already.

        Raises:
            UsageError: The slot is on a shelf already.
        """
        if slot.queue is not None:
            raise UsageError(f"slot {slot.ident!r} was put already: make a new one for each put")
        if self._binned:
            self._sweep(_SWEPT_PER_PUT)
        now = self._now() if now is None else now
        ident, slots = slot.ident, self.slots
        if slot.charge > self._largest or not now < slot.dead_after:
            self.discard(ident)
            self.discard_wire(slot.wire_key)
            return False
        if slots.setdefault(ident, slot) is not slot or self._by_wire_key.setdefault(slot.wire_key, slot) is not slot:
            self._displace(slot)
        compartment = self._compartments.get(ident[0])
        if compartment is None or compartment.idle or not compartment.count:
            compartment = self._compartment_of(ident[0])
        slot.tally = compartment.tallies.get(ident[1]) or compartment.tally_of(ident[1])
        self._wheel.add(slot, slot.dead_after, now)
        self._bytes += slot.charge
        if self._ghosts.slots < len(slots):
            self._ghosts.fit(len(slots))
        pressure = self._pressure() if self._max_entries else self._bytes / self._max_bytes
        compartment.admit(slot, pressure)
        if pressure > 1.0:
            self._make_room(compartment, pressure, now)
        if not compartment.floor <= compartment.bytes < compartment.ceiling:
            self._shares.place(compartment)
        return slot.queue is not None

    def put_all(self, slots: Sequence[Slot]) -> None:
        """What :meth:`put` does with each of the slots; for half the price where there is room for all of them.

        Args:
            slots: Of one tenant and one data type, no two of them with the same ident or wire key.
        """
        now = self._now()
        if not slots or self._binned or not self._have_room(slots) or not self._are_newcomers(slots, now):
            for slot in slots:
                self.put(slot)
            return
        tenant, data_type = slots[0].ident[:2]
        compartment = self._compartment_of(tenant)
        tally = compartment.tally_of(data_type)
        for slot in slots:
            slot.tally = tally
            self._wheel.add(slot, slot.dead_after, now)
            self.slots[slot.ident] = self._by_wire_key[slot.wire_key] = slot
            self._bytes += slot.charge
        self._ghosts.fit(len(self.slots))
        compartment.admit_all(slots, self._pressure())
        if not compartment.floor <= compartment.bytes < compartment.ceiling:
            self._shares.place(compartment)

    def discard(self, ident: tuple[Any, ...]) -> Slot | None:
        """Let one entry go, and return it; ``None`` where there was none."""
        slot = self.slots.get(ident)
        if slot is not None:
            self._drop(slot)
        return slot

    def discard_wire(self, wire_key: bytes) -> Slot | None:
        """Let the entry go that the server knows by this key, and return it; ``None`` where there was none."""
        slot = self._by_wire_key.get(wire_key)
        if slot is not None:
            self._drop(slot)
        return slot

    def clear(self) -> None:
        """Let every entry go: from this call on nothing is found.

        The entries are taken apart little by little, by the calls of ``put`` and ``expire`` that follow; until then
        their values take memory that ``held_bytes`` does not count.

        Cost: linear, but some tens of nanoseconds an entry.
        """
        self._binned.extend(self.slots.values())
        self.slots.clear()
        self._by_wire_key.clear()
        self._bytes = 0
        self._wheel = Wheel()
        self._shares.clear()
        for compartment in self._compartments.values():
            compartment.clear()
        self._empty.update(dict.fromkeys(self._compartments))
        self._forget_tenants()

    def expire(self, now: float, budget: int) -> int:
        """Free what has died, at most ``budget`` slots in this call.

        To be called from a timer; again at once where it returned ``budget``. A slot is freed at most a sixteenth of
        its life after its death (an eighth of a second, for the shortest lives); readers never see it in between.

        Returns:
            How many slots were freed, those included that ``clear`` had left to be taken apart.
        """
        freed = self._sweep(budget)
        for _ in range(budget - freed):
            slot = self._wheel.pop(now)
            if slot is None:
                break
            freed += 1
            self._expire_one(slot, now)
        return freed

    def compact(self) -> None:
        """Give back what the tables of a shelf take that holds few of the entries that it held.

        A dict does not shrink while entries leave, but when others come. To be called from a timer, between sweeps.

        Cost: two comparisons; or, now and then, about what it took the dict to grow to its size: 7 ms for a million
        entries. One table a call.
        """
        if not _compact(self.slots):
            _compact(self._by_wire_key)

    def stats(self) -> dict[tuple[Any, Any], MemoryCounts]:
        """Counts by ``(tenant_id, data_type)``.

        Cost: linear in the number of entries, because hits are counted where they happen, in the slots.
        """
        return count_all(self._compartments.values(), self.slots.values(), self._binned)

    def _is_alive(self, slot: Slot) -> bool:
        known = True
        for generation, stamp in zip(slot.generations, slot.stamps, strict=True):
            nonce = generation.nonce
            if nonce is None:
                known = False
            elif nonce != stamp:
                self._drop(slot)
                return False
        if known:
            slot.checked = self.epoch
        return known

    def _pressure(self) -> float:
        """How full the shelf is by the bound that is nearer; above 1 it is too full."""
        pressure = self._bytes / self._max_bytes
        if self._max_entries:
            pressure = max(pressure, len(self.slots) / self._max_entries)
        return pressure

    def _have_room(self, slots: Sequence[Slot]) -> bool:
        """Whether nothing has to go for them."""
        held_bytes = self._bytes + sum([slot.charge for slot in slots])
        return held_bytes <= self._max_bytes and not 0 < self._max_entries < len(self.slots) + len(slots)

    def _are_newcomers(self, slots: Sequence[Slot], now: float) -> bool:
        """Whether all of them will be kept, and none replaces anything."""
        idents, wire_keys = {slot.ident for slot in slots}, {slot.wire_key for slot in slots}
        return (
            len(idents) == len(wire_keys) == len(slots)
            and self.slots.keys().isdisjoint(idents)
            and self._by_wire_key.keys().isdisjoint(wire_keys)
            and all(
                s.queue is None and s.charge <= self._largest and now < s.fresh_until <= s.dead_after for s in slots
            )
        )

    def _make_room(self, putting: Compartment, pressure: float, now: float) -> None:
        if not putting.ceiling:
            self._shares.place(putting)
        if self._wheel.next_due <= now:
            self.expire(now, _EXPIRED_PER_PUT)
            pressure = self._pressure()
        while pressure > 1.0:
            compartment = putting if self._shares.single else self._shares.heaviest(putting)
            slot = compartment.evict(compartment.bytes / pressure)
            slot.tally.evictions += 1
            self._unlink(slot)
            if not self._shares.single:
                self._shares.audit(len(self.slots))
            pressure = self._pressure()

    def _expire_one(self, slot: Slot, now: float) -> None:
        dies_at = max(slot.fresh_until, slot.dead_after)
        if now < dies_at:
            self._wheel.add(slot, dies_at, now)
            return
        slot.tally.expirations += 1
        self._drop(slot)

    def _displace(self, slot: Slot) -> None:
        """Let those go that have a slot's ident or wire key, and enter it under both."""
        for held in (self.slots.get(slot.ident), self._by_wire_key.get(slot.wire_key)):
            if held is not None and held is not slot and held.queue is not None:
                self._drop(held)
        self.slots[slot.ident] = slot
        self._by_wire_key[slot.wire_key] = slot

    def _drop(self, slot: Slot) -> None:
        slot.tally.compartment.remove(slot)
        self._unlink(slot)

    def _unlink(self, slot: Slot) -> None:
        """Take a slot that has left its queue out of everything else."""
        del self.slots[slot.ident]
        del self._by_wire_key[slot.wire_key]
        self._bytes -= slot.charge
        if slot.due_older is not None:
            self._wheel.remove(slot)
        tally = slot.tally
        tally.hits += slot.hits
        compartment = tally.compartment
        if not compartment.floor <= compartment.bytes < compartment.ceiling:
            self._shares.place(compartment)
        if not compartment.count:
            self._empty[compartment.tenant] = None
            self._forget_tenants()

    def _sweep(self, budget: int) -> int:
        """Take apart some of what ``clear`` left: its links go in circles, which no reference count would free."""
        binned = self._binned
        swept = min(budget, len(binned))
        for _ in range(swept):
            slot = binned.pop()
            slot.tally.hits += slot.hits
            slot.unlink()
        return swept

    def _compartment_of(self, tenant: object) -> Compartment:
        compartment = self._compartments.get(tenant)
        if compartment is None:
            compartment = Compartment(tenant, self._shares.weight_of(tenant), self._ghosts)
            self._compartments[tenant] = compartment
        elif not compartment.count:
            self._empty.pop(tenant, None)
        if compartment.idle:
            self._shares.revive(compartment)
        return compartment

    def _forget_tenants(self) -> None:
        """Keep what is known of tenants without entries, but not of every tenant that ever was."""
        while len(self._empty) > _KEPT_EMPTY_TENANTS:
            tenant = next(iter(self._empty))
            del self._empty[tenant]
            self._compartments.pop(tenant).unlink()


def _take_apart(
    slots: dict[tuple[Any, ...], Slot], binned: list[Slot], compartments: dict[object, Compartment]
) -> None:
    for compartment in compartments.values():
        compartment.unlink()
    for slot in slots.values():
        slot.unlink()
    for slot in binned:
        slot.unlink()


def _compact(table: dict[Any, Slot]) -> bool:
    if table.__sizeof__() <= max(_SMALL_TABLE_BYTES, _SPARSE_BYTES * len(table)):
        return False
    left = dict(table)
    # In place: readers hold on to the table itself.
    table.clear()
    table.update(left)
    return True
