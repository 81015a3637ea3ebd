"""The memory tier: the entries that this process keeps in memory."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

from alacena.engine.base.counts import Counts
from alacena.engine.base.errors import UsageError
from alacena.engine.base.miss_reasons import EXPIRED, INVALIDATED, TOO_LARGE
from alacena.engine.memory.cleared_entries import ClearedEntries
from alacena.engine.memory.eviction_history import EvictionHistory
from alacena.engine.memory.expiry_buckets import ExpiryBuckets
from alacena.engine.memory.fair_shares import FairShares
from alacena.engine.memory.memory_counters import MemoryCounts
from alacena.engine.memory.memory_walk import MemoryWalk
from alacena.engine.memory.sharded_dict import ShardedDict
from alacena.engine.memory.tenant_segment import TenantSegment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.memory.memory_bounds import MemoryBounds
    from alacena.engine.memory.memory_entry import MemoryEntry

_KEPT_EMPTY_TENANTS = 1024
_EXPIRED_PER_PUT = 4
_SWEPT_PER_PUT = 4

_TOLD_ONE_BY_ONE = 2_000
"""Tenants up to which ``stats`` lists each of them."""


class MemoryTier:
    """Entries in this process: bounded by bytes, fair between tenants, expiring without being read.

    Synchronous, for one thread: the one that runs the event loop. Every call does a bounded amount of work, whatever the
    number of entries and tenants.

    A hit costs a look-up, three comparisons and one write (``entry.hits``). Everything else happens when entries come
    and go: each tenant's ``TenantSegment`` decides on its entries, ``FairShares`` which tenant gives when the tier is full,
    and ``ExpiryBuckets`` finds the dead entries.

    Args:
        bounds: How much it may hold, and how tenants share it.
        environment: Its ``now`` dates new entries.
        ident_of: Tells the ident of an entry from the key under which the server's pushes name it, for entries that have no
            ``wire_key`` of their own; ``None`` if it cannot.
        counts: Where reads are counted by tenant and type, and why entries have gone.

    Attributes:
        entries: Every entry by its ``ident``. To be read only.
        epoch: Bumped by the keeper of the generations whenever one of them changes.
        serving_until: Memory may be read while ``now <= serving_until``: ``inf`` if nothing can go stale behind its
            back, ``-inf`` if memory must not be read.

    Raises:
        SettingsError: A weight makes no sense.
    """

    __slots__ = (
        "__weakref__",
        "_by_wire_key",
        "_bytes",
        "_cleared",
        "_counts",
        "_empty",
        "_expiry",
        "_history",
        "_ident_of",
        "_largest",
        "_max_bytes",
        "_max_entries",
        "_now",
        "_reasons",
        "_segments",
        "_shares",
        "_walk",
        "entries",
        "epoch",
        "serving_until",
    )

    def __init__(
        self,
        bounds: MemoryBounds,
        *,
        environment: Environment,
        ident_of: Callable[[bytes], tuple[Any, ...] | None] = lambda _: None,
        counts: Counts | None = None,
    ) -> None:
        self.entries: ShardedDict[tuple[Any, ...], MemoryEntry] = ShardedDict()
        self.epoch = 0
        self.serving_until = math.inf
        self._max_bytes = bounds.max_bytes
        self._max_entries = bounds.max_entries or 0
        self._largest = int(bounds.max_bytes * bounds.max_entry_ratio)
        self._now = environment.now
        self._ident_of = ident_of
        self._bytes = 0
        self._by_wire_key: ShardedDict[bytes, MemoryEntry] = ShardedDict()
        self._segments: ShardedDict[object, TenantSegment] = ShardedDict()
        self._empty: dict[object, None] = {}
        self._cleared = cleared = ClearedEntries()
        self._shares = FairShares(bounds.weights)
        self._history = EvictionHistory()
        self._expiry = ExpiryBuckets()
        counts = counts or Counts()
        self._counts = counts
        self._reasons = counts.reasons
        self._walk = MemoryWalk(self.entries, self._segments, cleared, counts)
        # For a tier that is dropped without being closed: nothing else would take its entries apart. At the interpreter's
        # end there is nothing to give back.
        weakref.finalize(self, cleared.take_apart, self.entries, self._segments).atexit = False

    @property
    def max_bytes(self) -> int:
        """The bytes that the entries may take together."""
        return self._max_bytes

    @property
    def tenants(self) -> int:
        """The number of tenants that have entries."""
        return len(self._segments) - len(self._empty)

    @property
    def held_bytes(self) -> int:
        """The bytes that the entries take together, overhead included; never above ``max_bytes``."""
        return self._bytes

    def get(self, ident: tuple[Any, ...], now: float) -> MemoryEntry | None:
        """Returns the entry if it is fresh and alive, and counts a hit; else ``None``.

        An entry whose generation changed is discarded on the way; one whose generations are not all known is a miss and
        stays.

        Args:
            ident: Key of the entry.
            now: ``environment.now()`` of this read.
        """
        entry: MemoryEntry | None = self.entries[ident]
        if entry is None or now >= entry.fresh_until or now > self.serving_until:
            return None
        if entry.checked != self.epoch and not self._is_alive(entry):
            return None
        entry.hits += 1
        return entry

    def get_stale(self, ident: tuple[Any, ...], now: float) -> MemoryEntry | None:
        """Returns the entry if it is alive but no longer fresh, and not dead yet, and counts a hit; else ``None``."""
        entry = self.entries.get(ident)
        if entry is None or not entry.fresh_until <= now < entry.dead_after or now > self.serving_until:
            return None
        if entry.checked != self.epoch and not self._is_alive(entry):
            return None
        # The policy takes it for used. Whether it answers a read is for the reader to say: it counts the read then.
        entry.hits += 1
        entry.collected += 1
        self._segments[ident[0]].counters_of(ident[1]).hits += 1
        return entry

    def put(self, entry: MemoryEntry, now: float | None = None) -> bool:
        """Keeps an entry in place of the one with its ``ident``, and lets others go if it needs room.

        An older entry with the same ``ident`` or ``wire_key`` goes even if the new one is not kept.

        Args:
            entry: The entry, which belongs to the tier from now on.
            now: ``environment.now()``, if the caller has it.

        Returns:
            Whether the entry was kept: not if it is too large, or dead already.

        Raises:
            UsageError: The entry is on a tier already.
        """
        if entry.queue is not None:
            raise UsageError(f"entry {entry.ident!r} was put already: make a new one for each put")
        # Not `is_left`: a property costs a call, and this is asked on every put.
        if self._cleared.queues or self._cleared.segments or self._cleared.parts:
            self._cleared.sweep(_SWEPT_PER_PUT, self._walk.collect, self._expiry)
        now = self._now() if now is None else now
        ident, entries = entry.ident, self.entries
        if entry.charge > self._largest or not now < entry.dead_after:
            return self._leave_out(entry)
        # One look-up enters a newcomer and finds an older entry, which is rare.
        if entries.setdefault(ident, entry) is not entry or (
            entry.wire_key and self._by_wire_key.setdefault(entry.wire_key, entry) is not entry
        ):
            self._displace(entry)
        segment: TenantSegment | None = self._segments[ident[0]]
        if segment is None or segment.idle or not segment.count:
            segment = self._segment_of(ident[0])
        counters = segment.counters_of(ident[1])
        counters.entries += 1
        # Not added to 0, for which see `TenantSegment.admit`.
        counters.bytes = counters.bytes + entry.charge if counters.bytes else entry.charge
        self._expiry.add(entry, entry.dead_after, now)
        self._bytes += entry.charge
        pressure = self._pressure() if self._max_entries else self._bytes / self._max_bytes
        segment.admit(entry, pressure)
        if pressure > 1.0:
            self._make_room(segment, pressure, now)
        # Last: once it has given for what it put, a tenant mostly holds what it held, and keeps its level.
        if not segment.floor <= segment.bytes < segment.ceiling:
            self._shares.place(segment)
        # The newcomer itself may have had to give way, if its tenant holds too much for its weight.
        return entry.queue is not None

    def put_all(self, entries: Sequence[MemoryEntry]) -> list[bool]:
        """Puts each of the entries as :meth:`put` does; for half the price if there is room for all of them.

        Args:
            entries: Of one tenant and one data type.

        Returns:
            Whether each was kept.
        """
        now = self._now()
        if (
            not entries
            or self._cleared.is_left
            or not self._have_room(entries)
            or not self._are_newcomers(entries, now)
        ):
            return [self.put(entry) for entry in entries]
        tenant, data_type = entries[0].ident[:2]
        segment = self._segment_of(tenant)
        held_bytes = self._bytes
        for entry in entries:
            self._expiry.add(entry, entry.dead_after, now)
            self._bytes += entry.charge
        self.entries.add_all({entry.ident: entry for entry in entries})
        self._by_wire_key.add_all({entry.wire_key: entry for entry in entries if entry.wire_key})
        counters = segment.counters_of(data_type)
        counters.entries += len(entries)
        counters.bytes += self._bytes - held_bytes
        segment.admit_all(entries, self._pressure())
        if not segment.floor <= segment.bytes < segment.ceiling:
            self._shares.place(segment)
        return [True] * len(entries)

    def discard(self, ident: tuple[Any, ...]) -> MemoryEntry | None:
        """Lets one entry go, and returns it; ``None`` if there was none."""
        entry: MemoryEntry | None = self.entries[ident]
        if entry is not None:
            self._end(entry)
        return entry

    def discard_all(self, idents: Sequence[tuple[Any, ...]]) -> None:
        """Lets entries go that others take the place of: no reason is noted for which they are not there."""
        entries = self.entries
        for ident in idents:
            entry = entries[ident]
            if entry is not None:
                self._drop(entry)

    def discard_wire(self, wire_key: bytes) -> MemoryEntry | None:
        """Lets the entry go that the server knows by this key, and returns it; ``None`` if there was none."""
        entry = self._discard_named(wire_key)
        if entry is not None:
            return entry
        ident = self._ident_of(wire_key)
        entry = None if ident is None else self.entries.get(ident)
        # Its own name on the server is another one, or it would have been found by it: the push is not about it.
        if entry is None or entry.wire_key:
            return None
        self._end(entry)
        return entry

    def _discard_named(self, wire_key: bytes) -> MemoryEntry | None:
        entry = self._by_wire_key.get(wire_key)
        if entry is not None:
            self._end(entry)
        return entry

    def clear(self) -> None:
        """Lets every entry go: from this call on nothing is found.

        The entries are taken apart little by little, by the calls of ``put`` and ``expire`` that follow; until then
        their values take memory that ``held_bytes`` does not count.

        Cost: up to 3 ms, however much there is.
        """
        cleared = self._cleared
        cleared.tables += self.entries.empty()
        cleared.tables += self._by_wire_key.empty()
        self._bytes = 0
        # The entries leave the old buckets as they are swept: they are linked to one another, and need no table.
        self._expiry = ExpiryBuckets()
        shares, self._shares = self._shares, FairShares(self._shares.weights)
        self._empty.clear()
        if len(self._segments) > _KEPT_EMPTY_TENANTS:
            cleared.tables.append(shares)
            # A copy of the dict's own part: `empty` clears that in place, and hands over the shards only.
            cleared.parts.append(list(next(self._segments.parts())))
            cleared.parts += [shard.values() for shard in self._segments.empty()]
        for segment in self._segments.values():
            cleared.queues += segment.clear()
        self._empty.update(dict.fromkeys(self._segments))
        self._walk.clear()

    def expire(self, now: float, budget: int) -> int:
        """Frees entries that have died, at most ``budget`` in this call.

        To be called from a timer; again at once if it returned ``budget``. An entry is freed at most a sixteenth of
        its life after its death (an eighth of a second, for the shortest lives); readers never see it in between.

        Returns:
            How much of the budget it took: 1 for an entry that was freed, those included that ``clear`` had left to be taken
            apart, and all of it for a table that ``clear`` had left.
        """
        if self._cleared.tables:
            self._cleared.tables.pop()
            return budget
        freed = self._cleared.sweep(budget, self._walk.collect, self._expiry) if self._cleared.is_left else 0
        for _ in range(budget - freed):
            entry = self._expiry.pop(now)
            if entry is None:
                break
            freed += 1
            self._expire_one(entry, now)
        return freed

    def compact(self) -> None:
        """Gives memory back that the tables took for more entries than there are now.

        A dict does not shrink while entries leave, but when others come. To be called from a timer, between sweeps.

        Cost: some comparisons; or, now and then, a millisecond.
        """
        self.entries.compact()
        self._by_wire_key.compact()

    def collect(self, budget: int) -> bool:
        """Collects the hits of some entries, and goes on with others the next time.

        Returns:
            Whether all entries have been met since the last time that it returned ``True``.

        Cost: some 150 ns for each of ``budget`` entries.
        """
        return self._walk.step(budget)

    def bytes_of(self, tenant_id: object) -> int:
        """Returns the bytes that a tenant's entries take together."""
        segment = self._segments.get(tenant_id)
        return 0 if segment is None else segment.bytes

    def stats(self) -> dict[tuple[Any, Any], MemoryCounts]:
        """Returns the counts by ``(tenant_id, data_type)``.

        Hits are counted where they happen, in the entries, and collected from there: of a tier with more than some
        thousand entries, from some thousands a call, so that what it says of hits trails behind. All else is exact for
        up to 2,000 tenants. If there are more, the counts are those of the snapshot, as of its last walk: the tenants
        with the most reads and bytes one by one, and all others under the tenant ``None``.

        Cost: up to 3 ms.
        """
        self._walk.catch_up()
        if len(self._segments) > _TOLD_ONE_BY_ONE:
            return {
                (row.tenant_id, row.data_type): MemoryCounts(
                    row.entries, row.bytes, row.reads.memory, row.evictions, row.expirations
                )
                for row in self._counts.rows()
            }
        return {
            (segment.tenant, counters.data_type): counters.counts
            for segment in self._segments.values()
            for counters in segment.each_counters()
        }

    def stats_of(self, tenant: Any) -> dict[Any, MemoryCounts]:
        """Returns the counts of one tenant by data type, however many tenants there are; hits trail behind.

        Cost: linear in the number of its types.
        """
        segment = self._segments.get(tenant)
        return {} if segment is None else {counters.data_type: counters.counts for counters in segment.each_counters()}

    def _is_alive(self, entry: MemoryEntry) -> bool:
        known = True
        for generation, stamp in zip(*entry.ground, strict=True):
            nonce = generation.nonce
            if nonce is None:
                # Goes on: a generation that is known to have changed ends the entry, even beside one that is not known.
                known = False
            elif nonce != stamp:
                self._end(entry)
                return False
        # Not noted if one is unknown: that it becomes known, be it as another, moves no epoch.
        if known:
            entry.checked = self.epoch
        else:
            self._reasons.note(entry.ident, INVALIDATED)
        return known

    def _pressure(self) -> float:
        """Returns how full the tier is by the bound that is nearer; above 1 it is too full."""
        pressure = self._bytes / self._max_bytes
        if self._max_entries:
            pressure = max(pressure, len(self.entries) / self._max_entries)
        return pressure

    def _have_room(self, entries: Sequence[MemoryEntry]) -> bool:
        """Returns whether there is room for all of them."""
        held_bytes = self._bytes + sum([entry.charge for entry in entries])
        return held_bytes <= self._max_bytes and not 0 < self._max_entries < len(self.entries) + len(entries)

    def _are_newcomers(self, entries: Sequence[MemoryEntry], now: float) -> bool:
        """Returns whether all of them will be kept, and none replaces anything."""
        idents = {entry.ident for entry in entries}
        wire_keys = [entry.wire_key for entry in entries if entry.wire_key]
        return (
            len(idents) == len(entries)
            and len(set(wire_keys)) == len(wire_keys)
            and not self.entries.has_any(idents)
            and not self._by_wire_key.has_any(wire_keys)
            and all(
                s.queue is None and s.charge <= self._largest and now < s.fresh_until <= s.dead_after for s in entries
            )
        )

    def _make_room(self, putting: TenantSegment, pressure: float, now: float) -> None:
        # A tenant that has just come has no level yet, and may be the one that has to give.
        if not putting.ceiling:
            self._shares.place(putting)
        # The dead go first: otherwise the living would give way for them.
        if self._expiry.next_due <= now:
            self.expire(now, _EXPIRED_PER_PUT)
            pressure = self._pressure()
        # Only now: nothing is remembered, and no room taken for it, until something has to give.
        if self._history.entries < len(self.entries):
            self._history.fit(len(self.entries))
        while pressure > 1.0:
            segment = putting if self._shares.single else self._shares.find_heaviest(putting)
            entry = segment.evict(segment.bytes / pressure)
            self._walk.count_eviction(entry, segment)
            self._unlink(entry, segment)
            if not self._shares.single:
                self._shares.audit(len(self.entries))
            pressure = self._pressure()

    def _expire_one(self, entry: MemoryEntry, now: float) -> None:
        dies_at = max(entry.fresh_until, entry.dead_after)
        # Its life was prolonged in place, which does not move it to another bucket.
        if now < dies_at:
            self._expiry.add(entry, dies_at, now)
            return
        self._walk.count_expiration(entry, self._segments[entry.ident[0]], now - dies_at)
        self._drop(entry)

    def _displace(self, entry: MemoryEntry) -> None:
        """Lets the entries go that have this one's ident or wire key, and enters this one under both."""
        for held in (self.entries.get(entry.ident), self._by_wire_key.get(entry.wire_key)):
            # One older entry may stand under both: the second time it has left its queue already.
            if held is not None and held is not entry and held.queue is not None:
                self._drop(held)
        # Entered once more: an entry that was dropped above took its keys along.
        self.entries[entry.ident] = entry
        if entry.wire_key:
            self._by_wire_key[entry.wire_key] = entry

    def _leave_out(self, entry: MemoryEntry) -> bool:
        """Discards the entries under the keys of an entry that is not kept itself. Returns ``False``, for ``put``."""
        self.discard(entry.ident)
        self._discard_named(entry.wire_key)
        if entry.charge > self._largest:
            self._reasons.note(entry.ident, TOO_LARGE)
        return False

    def _end(self, entry: MemoryEntry) -> None:
        """Lets an entry go that is not to be read any more, and notes why."""
        past_s = self._now() - entry.dead_after
        if past_s < 0:
            self._reasons.note(entry.ident, INVALIDATED)
        else:
            self._reasons.note(entry.ident, EXPIRED, past_s)
        self._drop(entry)

    def _drop(self, entry: MemoryEntry) -> None:
        segment = self._segments[entry.ident[0]]
        segment.remove(entry)
        self._unlink(entry, segment)

    def _unlink(self, entry: MemoryEntry, segment: TenantSegment) -> None:
        """Takes an entry that has left its queue out of everything else."""
        del self.entries[entry.ident]
        if entry.wire_key:
            del self._by_wire_key[entry.wire_key]
        self._bytes -= entry.charge
        if entry.due_older is not None:
            self._expiry.remove(entry)
        counters = segment.counters_of(entry.ident[1])
        counters.entries -= 1
        counters.bytes -= entry.charge
        if entry.hits != entry.collected:
            self._walk.collect(entry, counters)
        if not segment.floor <= segment.bytes < segment.ceiling:
            self._shares.place(segment)
        if not segment.count:
            self._empty[segment.tenant] = None
            self._forget_tenants()

    def _segment_of(self, tenant: object) -> TenantSegment:
        segment = self._segments.get(tenant)
        if segment is None:
            segment = TenantSegment(tenant, self._shares.weight_of(tenant), self._history)
            self._segments[tenant] = segment
            self._walk.add(segment)
        elif not segment.count:
            self._empty.pop(tenant, None)
        if segment.idle:
            self._shares.revive(segment)
        return segment

    def _forget_tenants(self) -> None:
        """Forgets the tenants that have had no entries for longest, once there are too many of them."""
        while len(self._empty) > _KEPT_EMPTY_TENANTS:
            tenant = next(iter(self._empty))
            del self._empty[tenant]
            segment = self._segments.pop(tenant)
            self._walk.remove(segment)
            segment.unlink()
