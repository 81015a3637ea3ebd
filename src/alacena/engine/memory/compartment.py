"""One tenant's part of the shelf, and the policy that decides what stays in it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from alacena.engine.memory.dial import TAIL_RATIO, TURN_RATIO, Dial
from alacena.engine.memory.ghosts import STAMP_MASK
from alacena.engine.memory.slot import SLOT_BYTES, Queue
from alacena.engine.memory.tally import Tally

if TYPE_CHECKING:
    from alacena.engine.memory.ghosts import Ghosts
    from alacena.engine.memory.slot import Slot

_MOST_FREQUENT = 15
_EVENTS_PER_HALVING = 10
_MOVES_PER_INSERT = 4
_ATTEMPTS = 8
_SECOND_CHANCES = 5
_CLEAR_ADVANTAGE = 1.5


class Compartment:
    """A window for newcomers and a main queue for the proven, in the manner of W-TinyLFU, with lazy hit counts.

    A hit only counts itself in its slot. The policy reads the counts when it meets the slot again: on its way from the
    window's front (``young``) into its tail (``old``), on its way out of the tail, and as the main queue turns. Who
    leaves the window duels with the oldest of the main queue: the one used more often stays, uses counted over the
    recent past, the time before the last eviction included (``Ghosts``), and halved as time goes by. A victim that wins
    goes to the end of the queue, so that the next candidate meets another one. How large the window is: ``Dial``.

    Where costs and sizes differ, uses are weighed by cost per byte (as in GDSF); a candidate with fewer uses than its
    victim needs a clear advantage there, so that slightly different sizes do not make equals replace each other.

    Sources: W-TinyLFU (Einziger, Friedman, Manes 2017); lazy promotion by second chances (CLOCK, and Yang et al.,
    *FIFO queues are all you need*, 2023); an adaptive border (ARC, Megiddo and Modha 2003).
    """

    __slots__ = (
        "_capacity",
        "_clock",
        "_dial",
        "_epoch",
        "_events",
        "_ghosts",
        "_main",
        "_newest",
        "_old",
        "_turn_at",
        "_young",
        "bytes",
        "ceiling",
        "count",
        "floor",
        "idle",
        "level",
        "put_count",
        "tallies",
        "tenant",
        "weight",
    )

    def __init__(self, tenant: object, weight: float, ghosts: Ghosts) -> None:
        self.tenant = tenant
        self.weight = weight
        self.tallies: dict[object, Tally] = {}
        self.count = 0
        self.bytes = 0
        self.put_count = 0
        self.idle = 0
        self.level = 0
        self.floor = self.ceiling = 0.0
        self._ghosts = ghosts
        self._dial = Dial()
        self._young, self._old, self._main = Queue(), Queue(), Queue()
        self._newest: Slot | None = None
        self._capacity = 1
        self._clock = 0
        self._turn_at = 0
        self._events = 0
        self._epoch = 0

    def tally_of(self, data_type: object) -> Tally:
        """The counts of one data type, made where there are none."""
        tally = self.tallies.get(data_type)
        if tally is None:
            tally = self.tallies[data_type] = Tally(self)
        return tally

    def admit(self, slot: Slot, pressure: float) -> None:
        """Take a newcomer in.

        Args:
            slot: Stands in no queue.
            pressure: How full the shelf is, from 0 (empty) to a little over 1 (the newcomer is one too many).
        """
        self.count += 1
        self.put_count += 1
        self.bytes += slot.size + SLOT_BYTES
        self._clock += 1
        self._capacity = max(1, int(self.count / pressure))
        self._note_events(1)
        self._recall(slot)
        self._newest = slot
        self._young.push(slot)
        self._settle(self.bytes / pressure, full=pressure >= 1.0)
        if pressure >= 1.0 and self._clock >= self._turn_at:
            interval = max(8, int(self._capacity * TURN_RATIO))
            self._turn_at = self._clock + interval
            self._dial.turn(interval / self._capacity, 1.0 / self._capacity)

    def evict(self, room: float) -> Slot:
        """Choose who leaves and take it out of its queue; the compartment holds a slot.

        Args:
            room: Bytes that the compartment should come down to.
        """
        window = self._dial.ratio * room
        for _ in range(_ATTEMPTS):
            if not self._window_overflows(window):
                return self._evict_from_main()
            loser = self._challenge(room - window)
            if loser is not None:
                return loser
        return self._take(self._old.first if self._old.count else self._young.first)

    def remove(self, slot: Slot) -> None:
        """Let a slot go that expired or was discarded; its uses are remembered, in case it comes back."""
        self._look(slot)
        self._forget(slot, 0)
        self._take(slot)

    def clear(self) -> None:
        """Stand empty. What was learnt stays; the slots' own links are left to whoever takes them apart."""
        self._young, self._old, self._main = Queue(), Queue(), Queue()
        self._newest = None
        self.count = self.bytes = 0
        self.floor = self.ceiling = 0.0
        for tally in self.tallies.values():
            tally.entries = tally.bytes = 0

    def is_used(self, sample: int) -> bool:
        """Whether a few slots of the main queue, others each time, were hit since they were last looked at."""
        used = False
        for _ in range(min(sample, self._main.count)):
            slot = self._main.first
            used = used or slot.hits > slot.seen
            self._main.rotate()
        newest = self._newest
        return used or (newest is not None and newest.queue is not None and newest.hits > newest.seen)

    def _window_overflows(self, window: float) -> bool:
        young, old = self._young, self._old
        if not self._main.count:
            return True
        return young.bytes + old.bytes > window and young.count + old.count > 1

    def _challenge(self, main_room: float) -> Slot | None:
        """Who loses between the window's oldest and the main queue's oldest; ``None`` where both may stay."""
        main = self._main
        queue = self._old if self._old.count else self._young
        candidate = queue.first
        recent = self._look(candidate)
        if candidate is self._newest and self.count > 1:
            queue.remove(candidate)
            self._young.push(candidate)
            return None
        if recent:
            self._dial.tail_left()
        if main.bytes + candidate.size + SLOT_BYTES <= main_room:
            self._promote(candidate)
            return None
        if main.count and self._wins(candidate, self._inspect(main.first)):
            victim = main.first
            self._promote(candidate)
            self._forget(victim, 0)
            return self._take(victim)
        main.rotate()
        if recent:
            queue.remove(candidate)
            self._young.push(candidate)
            return None
        self._forget(candidate, candidate.since)
        return self._take(candidate)

    def _evict_from_main(self) -> Slot:
        main = self._main
        for _ in range(_SECOND_CHANCES):
            victim = main.first
            seen = victim.seen
            self._inspect(victim)
            if victim.hits == seen:
                break
            main.rotate()
        victim = main.first
        self._forget(victim, 0)
        return self._take(victim)

    def _wins(self, candidate: Slot, victim: Slot) -> bool:
        mine, theirs = candidate.frequency, victim.frequency
        worth = mine * candidate.cost * (victim.size + SLOT_BYTES)
        bar = theirs * victim.cost * (candidate.size + SLOT_BYTES)
        return worth > bar and (mine > theirs or worth > bar * _CLEAR_ADVANTAGE)

    def _settle(self, room: float, *, full: bool) -> None:
        """Move a few slots over the borders that newcomers and the dial have shifted."""
        young, old, main = self._young, self._old, self._main
        window = self._dial.ratio * room
        front = window * (1.0 - TAIL_RATIO)
        for _ in range(_MOVES_PER_INSERT):
            if young.bytes > front and young.count:
                slot = young.first
                self._look(slot)
                young.remove(slot)
                old.push(slot)
            elif full:
                return
            if not full and old.count and young.bytes + old.bytes > window:
                slot = old.first
                if slot is self._newest or main.bytes + slot.size + SLOT_BYTES > room - window:
                    return
                self._look(slot)
                self._promote(slot)

    def _promote(self, slot: Slot) -> None:
        if slot.queue is not None:
            slot.queue.remove(slot)
        slot.since = self._clock
        self._main.push(slot)

    def _take(self, slot: Slot) -> Slot:
        if slot.queue is not None:
            slot.queue.remove(slot)
        if slot is self._newest:
            self._newest = None
        self.count -= 1
        self.bytes -= slot.size + SLOT_BYTES
        return slot

    def _inspect(self, slot: Slot) -> Slot:
        """Look at a slot of the main queue, and tell the dial."""
        elapsed = max(1, self._clock - slot.since)
        slot.since = self._clock
        self._dial.main_looked(self._capacity / elapsed if self._look(slot) else 0.0)
        return slot

    def _look(self, slot: Slot) -> int:
        """Read the hits since the last look, and bring the slot's use count up to date."""
        recent = slot.hits - slot.seen
        slot.seen = slot.hits
        if recent:
            self._note_events(recent)
        frequency = slot.frequency
        if slot.age != self._epoch:
            frequency = max(1, frequency >> self._epoch - slot.age)
            slot.age = self._epoch
        slot.frequency = min(_MOST_FREQUENT, frequency + recent)
        return recent

    def _note_events(self, count: int) -> None:
        self._events += count
        if self._events >= _EVENTS_PER_HALVING * self._capacity:
            self._events = 0
            self._epoch += 1

    def _recall(self, slot: Slot) -> None:
        stamp, frequency, age = self._ghosts.recall(crc32(slot.wire_key))
        if stamp:
            distance = (self._clock - stamp) & STAMP_MASK
            if distance <= self._capacity:
                self._dial.ghost_returned(distance / self._capacity)
        slot.seen = slot.hits
        slot.since = self._clock
        slot.age = self._epoch
        slot.frequency = min(_MOST_FREQUENT, (frequency >> (self._epoch - age & 15)) + 1)

    def _forget(self, slot: Slot, stamp: int) -> None:
        self._ghosts.remember(crc32(slot.wire_key), stamp, slot.frequency, slot.age)
