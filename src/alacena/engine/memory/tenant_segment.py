"""One tenant's part of the tier, and the policy that decides which entries stay in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from alacena.engine.memory.eviction_history import STAMP_MASK
from alacena.engine.memory.memory_counters import MemoryCounters
from alacena.engine.memory.memory_entry import EntryQueue
from alacena.engine.memory.window_sizer import TAIL_RATIO, TURN_RATIO, WindowSizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alacena.engine.memory.eviction_history import EvictionHistory
    from alacena.engine.memory.memory_entry import MemoryEntry

_MOST_FREQUENT = 15
_AGES = 15
_EVENTS_PER_HALVING = 10
_MOVES_PER_INSERT = 4
_SHORTEST_TURN = 8
_ATTEMPTS = 8
_SECOND_CHANCES = 5
_CLEAR_ADVANTAGE = 1.5
_STAMPS_PER_CAPACITY = 8
"""The number of bits by which the clock of puts is coarser than a capacity: entries share the number that says when they came."""


_UNMOVED = WindowSizer()
"""The border of every tenant that never had to give, which most never have: one object, and nothing is noted in it."""


class TenantSegment(msgspec.Struct, gc=False, eq=False):
    """A window for newcomers and a main queue for the proven, in the manner of W-TinyLFU, with lazy hit counts.

    A hit only counts itself in its entry. The policy reads the counts when it meets the entry again: on its way from the
    window's front (``young``) into its tail (``old``), on its way out of the tail, and as the main queue turns. An
    entry that leaves the window competes with the oldest of the main queue, and the one used more often stays. Uses are
    counted over the recent past, the time before the last eviction included (``EvictionHistory``), and halved as time
    goes by. A victim that wins goes to the end of the queue, so that the next candidate meets another one.
    ``WindowSizer`` decides how large the window is.

    If costs and sizes differ, uses are weighed by cost per byte (as in GDSF); a candidate with fewer uses than its
    victim needs a clear advantage there, so that slightly different sizes do not make equals replace each other.

    Sources: W-TinyLFU (Einziger, Friedman, Manes 2017); lazy promotion by second chances (CLOCK, and Yang et al.,
    *FIFO queues are all you need*, 2023); an adaptive border (ARC, Megiddo and Modha 2003).

    The garbage collector does not see it, as it does not see the entries.
    """

    tenant: Any
    weight: float
    _history: EvictionHistory
    first_counters: MemoryCounters | None = None
    count: int = 0
    bytes: int = 0
    put_count: int = 0
    idle: int = 0
    level: int = 0
    # Its places in the lists of the walk, of the shares' level and of their audits, and what it had put at the last audit.
    place: int = 0
    rank: int = 0
    turn: int = -1
    audited: int = 0
    floor: float = 0.0
    ceiling: float = 0.0
    _sizer: WindowSizer = msgspec.field(default_factory=lambda: _UNMOVED)
    _young: EntryQueue = msgspec.field(default_factory=EntryQueue)
    _old: EntryQueue = msgspec.field(default_factory=EntryQueue)
    _main: EntryQueue = msgspec.field(default_factory=EntryQueue)
    _newest: Any = None
    _capacity: int = 1
    _turn_at: int = 0
    _events: int = 0
    _epoch: int = 0
    _stamp: int = 0

    @property
    def queues(self) -> tuple[EntryQueue, EntryQueue, EntryQueue]:
        """The queues in which its entries stand."""
        return self._young, self._old, self._main

    def counters_of(self, data_type: object) -> MemoryCounters:
        """Returns the counts of one data type, and makes them if there are none."""
        counters = self.first_counters
        while counters is not None:
            if counters.data_type == data_type:
                return counters
            counters = counters.following
        self.first_counters = MemoryCounters(data_type, self.first_counters)
        return self.first_counters

    def each_counters(self) -> Iterator[MemoryCounters]:
        """Yields the counts of each of its data types."""
        counters = self.first_counters
        while counters is not None:
            yield counters
            counters = counters.following

    def admit(self, entry: MemoryEntry, pressure: float) -> None:
        """Takes a newcomer in.

        Args:
            entry: Stands in no queue.
            pressure: How full the tier is, from 0 (empty) to a little over 1 (the newcomer is one too many).
        """
        self.count += 1
        self.put_count += 1
        # Not added to 0: the sum would be another object of 32 bytes, for each of many tenants that hold one entry.
        self.bytes = self.bytes + entry.charge if self.bytes else entry.charge
        self._capacity = capacity = int(self.count / pressure) or 1
        # A stamp of 0 would say that the time is not known.
        if self.put_count - self._stamp > capacity >> _STAMPS_PER_CAPACITY or not self._stamp:
            self._stamp = self.put_count
        self._events += 1
        if self._events >= _EVENTS_PER_HALVING * capacity:
            self._events = 0
            self._epoch = self._epoch + 1 & _AGES
        if self._history.entries:
            self._greet(entry)
        else:
            entry.seen, entry.since, entry.uses = entry.hits, self._stamp, self._epoch << 4 | 1
        self._newest = entry
        self._young.push(entry)
        # As long as nothing has to give, nothing tells what another border would save: the sizer stands still.
        if pressure < 1.0:
            room = self.bytes / pressure
            # Until the window is full there is nothing to spread, and most newcomers come before that.
            if self._old.count or self._young.bytes > self._sizer.ratio * room * (1.0 - TAIL_RATIO):
                self._spread(room)
            return
        self._shift(self._sizer.ratio * self.bytes / pressure)
        if self.put_count >= self._turn_at:
            self._turn()

    def admit_all(self, entries: Sequence[MemoryEntry], pressure: float) -> None:
        """Takes newcomers in, if there is room for all of them.

        Args:
            entries: Stand in no queue.
            pressure: How full the tier is with all of them, at most 1.
        """
        push = self._young.push
        self.count += len(entries)
        self._stamp = self.put_count + len(entries)
        self._events += len(entries)
        self._capacity = int(self.count / pressure) or 1
        while self._events >= _EVENTS_PER_HALVING * self._capacity:
            self._events -= _EVENTS_PER_HALVING * self._capacity
            self._epoch = self._epoch + 1 & _AGES
        for entry in entries:
            self.put_count += 1
            self.bytes += entry.charge
            self._greet(entry)
            push(entry)
        self._newest = entries[-1]
        self._spread(self.bytes / pressure, _MOVES_PER_INSERT * len(entries))

    def evict(self, room: float) -> MemoryEntry:
        """Chooses the entry that leaves, and takes it out of its queue; there must be one.

        Args:
            room: Bytes that the segment should come down to.
        """
        # Its own from here on: all that is noted in a border is noted on the way out of an eviction.
        window = self._own_sizer().ratio * room
        young, old, main = self._young, self._old, self._main
        for _ in range(_ATTEMPTS):
            if main.count and (young.bytes + old.bytes <= window or young.count + old.count <= 1):
                loser: MemoryEntry | None = self._least_of_main()
            else:
                loser = self._challenge(old if old.count else young, room - window)
            if loser is not None:
                break
        else:
            # All that were looked at may stay, but one has to go: the oldest newcomer.
            loser = old.newer if old.count else young.newer
        self._take(loser)
        return loser

    def remove(self, entry: MemoryEntry) -> None:
        """Lets an entry go that expired or was discarded; its uses are remembered, in case it comes back."""
        self._look(entry)
        if self._history.entries:
            self._history.remember(_digest(entry), 0, entry.uses)
        self._take(entry)

    def clear(self) -> list[EntryQueue]:
        """Empties the segment, and returns the queues that held something, for the caller to take apart.

        Its counts of hits, evictions and expirations stay, and so does its learning.
        """
        full = [queue for queue in self.queues if queue.count]
        for queue in self.queues:
            # An empty queue refers to itself, and no collector sees it.
            if not queue.count:
                queue.unlink()
        self._young, self._old, self._main = EntryQueue(), EntryQueue(), EntryQueue()
        self._newest = None
        self.count = self.bytes = 0
        self.floor = self.ceiling = 0.0
        self.turn = -1
        for counters in self.each_counters():
            counters.entries = counters.bytes = 0
        return full

    def unlink(self) -> None:
        """Cuts the links that go in circles, because the segment is given up and nothing else would cut them."""
        for queue in self.queues:
            queue.unlink()
        self._newest = None

    def is_used(self, sample: int) -> bool:
        """Returns whether a few entries of the main queue, others each time, were hit since the last look at them."""
        used = False
        for _ in range(min(sample, self._main.count)):
            entry = self._main.newer
            used = used or entry.hits > entry.seen
            self._main.rotate()
        newest = self._newest
        return used or (newest is not None and newest.queue is not None and newest.hits > newest.seen)

    def _challenge(self, queue: EntryQueue, main_room: float) -> MemoryEntry | None:
        """Returns the loser between a queue's oldest and the main queue's oldest; ``None`` if both may stay."""
        main = self._main
        candidate: MemoryEntry = queue.newer
        recent = self._look(candidate) if candidate.hits != candidate.seen or candidate.uses >> 4 != self._epoch else 0
        # What was put a moment ago cannot have been asked for yet: a put must not throw out its own entry.
        if candidate is self._newest and self.count > 1:
            self._young.take(candidate)
            return None
        if recent:
            self._sizer.note_tail_hit()
        if main.bytes + candidate.charge <= main_room:
            self._promote(candidate)
            return None
        victim: MemoryEntry = main.newer
        if main.count and self._wins(candidate, self._inspect(victim)):
            self._promote(candidate)
            self._history.remember(_digest(victim), 0, victim.uses)
            return victim
        main.rotate()
        if recent:
            self._young.take(candidate)
            return None
        # With its time, because the window lets it go: the sizer learns from it how large a window would have kept it.
        self._history.remember(_digest(candidate), candidate.since, candidate.uses)
        return candidate

    def _least_of_main(self) -> MemoryEntry:
        main = self._main
        victim: MemoryEntry
        for _ in range(_SECOND_CHANCES):
            victim = main.newer
            # Read before `_inspect`, which brings it up to date.
            seen = victim.seen
            self._inspect(victim)
            if victim.hits == seen:
                break
            main.rotate()
        victim = main.newer
        self._history.remember(_digest(victim), 0, victim.uses)
        return victim

    def _wins(self, candidate: MemoryEntry, victim: MemoryEntry) -> bool:
        mine, theirs = candidate.uses & 15, victim.uses & 15
        worth = mine * candidate.cost * victim.charge
        bar = theirs * victim.cost * candidate.charge
        return worth > bar and (mine > theirs or worth > bar * _CLEAR_ADVANTAGE)

    def _shift(self, window: float, moves: int = _MOVES_PER_INSERT) -> None:
        """Moves a few entries from the window's front to its tail, over the border that newcomers and the sizer shift."""
        young, old = self._young, self._old
        front = window * (1.0 - TAIL_RATIO)
        for _ in range(moves):
            if young.bytes <= front or not young.count:
                return
            entry = young.newer
            if entry.hits != entry.seen or entry.uses >> 4 != self._epoch:
                self._look(entry)
            old.take(entry)

    def _spread(self, room: float, moves: int = _MOVES_PER_INSERT) -> None:
        """Lets the main queue fill up while there is room for all."""
        window = self._sizer.ratio * room
        self._shift(window, moves)
        for _ in range(moves):
            if not self._old.count or self._young.bytes + self._old.bytes <= window:
                return
            entry = self._old.newer
            if entry is self._newest or self._main.bytes + entry.charge > room - window:
                return
            self._look(entry)
            self._promote(entry)

    def _own_sizer(self) -> WindowSizer:
        """Returns the tenant's own border, to be moved or noted in."""
        if self._sizer is _UNMOVED:
            self._sizer = WindowSizer()
        return self._sizer

    def _turn(self) -> None:
        interval = max(_SHORTEST_TURN, int(self._capacity * TURN_RATIO))
        self._turn_at = self.put_count + interval
        self._own_sizer().turn(interval / self._capacity, 1.0 / self._capacity)

    def _promote(self, entry: MemoryEntry) -> None:
        entry.since = self._stamp
        self._main.take(entry)

    def _take(self, entry: MemoryEntry) -> None:
        if entry.queue is not None:
            entry.queue.remove(entry)
        if entry is self._newest:
            self._newest = None
        self.count -= 1
        self.bytes -= entry.charge

    def _inspect(self, entry: MemoryEntry) -> MemoryEntry:
        """Looks at an entry of the main queue, and tells the sizer."""
        since, entry.since = entry.since, self._stamp
        if entry.hits == entry.seen and entry.uses >> 4 == self._epoch:
            self._sizer.note_main_look(0.0)
        else:
            used = self._look(entry)
            self._sizer.note_main_look(self._capacity / max(1, self.put_count - since) if used else 0.0)
        return entry

    def _look(self, entry: MemoryEntry) -> int:
        """Reads the hits since the last look, brings the entry's use count up to date, and returns these hits."""
        recent = entry.hits - entry.seen
        if recent:
            entry.seen = entry.hits
            self._events += recent
        age, frequency = entry.uses >> 4, entry.uses & 15
        if age != self._epoch:
            frequency = (frequency >> (self._epoch - age & _AGES)) or 1
        entry.uses = self._epoch << 4 | min(_MOST_FREQUENT, frequency + recent)
        return recent

    def _greet(self, entry: MemoryEntry) -> None:
        """Gives a newcomer its use count, with the uses that are remembered of its key."""
        entry.seen = entry.hits
        entry.since = self._stamp
        entry.uses = self._epoch << 4 | 1
        if not self._history.entries:
            return
        past = self._history.recall(_digest(entry))
        if past is None:
            return
        stamp, uses = past
        frequency = (uses & 15) >> (self._epoch - (uses >> 4) & _AGES)
        entry.uses = self._epoch << 4 | min(_MOST_FREQUENT, frequency + 1)
        distance = (self.put_count - stamp) & STAMP_MASK
        if stamp and distance <= self._capacity:
            self._own_sizer().note_ghost(distance / self._capacity)


def _digest(entry: MemoryEntry) -> int:
    """Returns the digest by which the history knows a key: the same in every process, for any seed of its hashes."""
    if entry.wire_key:
        return crc32(entry.wire_key)
    return crc32("\0".join([part or "" for part in entry.ident]).encode("utf-8", "surrogatepass"))
