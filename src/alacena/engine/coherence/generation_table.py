"""The generations known to this process, and the consequences of the end of one.

A generation is a random nonce that stands for "everything under this scope is still as it was". An entry is stamped
with the nonces it was made under and is alive while all of them are equal to the current ones. Nothing is ordered and
nothing is counted, so a lost, evicted or unknown generation can only make a miss, never bring old data back.

The rules are the same with and without a server. Without one, this process mints the nonces; with one, the server holds
them and :mod:`alacena.engine.remote.redis.node` reports what the connection says, in byte order.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from alacena.engine.base.generation import Generation
from alacena.engine.base.keys import MARK
from alacena.engine.coherence.recent_ends import RecentEnds
from alacena.engine.memory.sharded_dict import ShardedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from alacena.engine.base.keys import EntryKey, Ident
    from alacena.engine.coherence.store_changes import StoreChanges
    from alacena.engine.loading.single_flight import SingleFlight
    from alacena.engine.memory import MemoryTier


_MOST = 8_192
"""Names of entries whose generations are held at hand: about a kibibyte each, which no bound on memory counts."""


_FEW = 1_024
"""Generations that are not worth looking through."""

_TOGETHER = 256
"""Names of generations that wait together to be looked at: fewer than those of which some are looked at."""


def _references(table: Mapping[str, Generation], name: str) -> int:
    """Returns the number of references to a generation."""
    return sys.getrefcount(table[name])


_ALONE = _references({"": Generation("")}, "")
"""What is counted where the table alone holds one; it differs between versions of the interpreter."""


class GenerationTable:
    """Generations, the memory tier under them, and the waiters for a key to change.

    Everything here is synchronous: the wire's parser calls it in byte order.

    Args:
        memory: The memory tier it governs.
        flights: The loads under way, which take no more callers once their entries were changed.
        now: The clock by which ends are dated, for people.

    Attributes:
        ends: When generations have ended.
        calls: The changes since each call began that is under way and stores in portions.
        barred: Names of generations whose end no server has confirmed yet: their nonces stay unknown; ``None``: none.
        shared: The results of :meth:`generations` for the names that many entries share, as far as they were asked for. To
            be read only.
    """

    def __init__(self, memory: MemoryTier, flights: SingleFlight, now: Callable[[], float] = time.monotonic) -> None:
        self.memory = memory
        self.ends = RecentEnds(now)
        self._flights = flights
        self.calls: list[StoreChanges] = []
        self.barred: Container[str] | None = None
        self._generations: ShardedDict[str, Generation] = ShardedDict()
        self._turns: deque[tuple[str, ...]] = deque()
        self._newest: list[str] = []
        self._oldest: list[str] = []
        self.shared: dict[tuple[str, ...], tuple[Generation, ...]] = {}
        self._watchers: dict[bytes, set[asyncio.Future[bool]]] = {}
        self._dependents: dict[str, set[asyncio.Future[bool]]] = {}

    def generation(self, name: str) -> Generation:
        """Returns the one object for a name in this process."""
        generation: Generation | None = self._generations[name]
        if generation is None:
            generation = self._generations[name] = Generation(name)
            self._queue(name)
            if len(self._generations) > _FEW:
                self._release()
        return generation

    def _queue(self, name: str) -> None:
        self._newest.append(name)
        # A tuple of texts is left out by the collector from its second look on; in a deque it would walk through all names.
        if len(self._newest) == _TOGETHER:
            self._turns.append(tuple(self._newest))
            self._newest.clear()

    def _release(self) -> None:
        """Forgets generations that nothing else holds any more.

        It looks at two for each one that comes, so that few of them are left.

        Weak references would do the same, at the price of one more object for each that the collector walks through.
        """
        for _ in range(2):
            if not self._oldest:
                self._oldest.extend(self._turns.popleft())
            name = self._oldest.pop()
            if _references(self._generations, name) == _ALONE:
                del self._generations[name]
            else:
                self._queue(name)

    def generations(self, names: tuple[str, ...]) -> tuple[Generation, ...]:
        """Returns the objects for an entry's names, in their order."""
        # Two names are the tenant's and the type's, which many entries share. More of them name a narrower scope.
        if len(names) > 2:
            return tuple(self.generation(name) for name in names)
        found = self.shared.get(names)
        if found is None:
            if len(self.shared) >= _MOST:
                self.shared.clear()
            found = self.shared[names] = tuple(self.generation(name) for name in names)
        return found

    def intern_tags(self, key: EntryKey, tags: Iterable[str]) -> tuple[Generation, ...]:
        """Returns the objects for an entry's tags, in their order."""
        found = []
        for tag in tags:
            generation = self.generation(key.tag_name(tag))
            if not tag.startswith(MARK):  # else it is the generation of a scope, and stands for no tag
                generation.tag = tag
            found.append(generation)
        return tuple(found)

    def learn(self, generation: Generation, nonce: bytes | None) -> None:
        """Takes note of a nonce that the server reported."""
        # While its removal is owed, the server still has the old nonce: learnt, it would bring dead entries to life.
        if self.barred is not None and nonce is not None and generation.name in self.barred:
            nonce = None
        known = generation.nonce
        generation.nonce = nonce
        generation.untracked_nonce = None
        # From unknown to known no copy can die: none is kept under what is unknown. Counting that, too, would check
        # every copy again at each cold read.
        if known is not None and known != nonce:
            self.memory.epoch += 1

    def forget_untracked(self, generations: Iterable[Generation]) -> None:
        """Forgets nonces that were good for one step only: no one would tell of their end."""
        for generation in generations:
            nonce = generation.nonce
            self.learn(generation, None)
            # After `learn`, which clears it.
            generation.untracked_nonce = nonce

    def end(self, *names: str) -> None:
        """Ends generations: everything under them dies, in one step."""
        # Counted before anything is woken, also for a generation that is not known here:
        # 1. A load without a lease runs; it read the row.
        # 2. The generation ends. A caller that comes now must not join the load: its answer was read before.
        # 3. The load compares this count only. Counted after the wake-up, a waiter could join in between.
        self._flights.endings += len(names)
        self.ends.note(names)
        for call in self.calls:
            call.names.update(names)
        for name in names:
            generation = self._generations.get(name)
            if generation is not None:
                self.learn(generation, None)
            for watcher in self._dependents.pop(name, ()):
                if not watcher.done():
                    watcher.set_result(False)

    def drop(self, entry: bytes, ident: Ident | None = None) -> None:
        """Drops an entry whose key was changed or removed: forgets the copy, closes its flight, wakes its waiters.

        Args:
            entry: The key.
            ident: Memory's name for it, if the caller has it.
        """
        if ident is None:
            self.memory.discard_wire(entry)
        else:
            self.memory.discard(ident)
        self._flights.close_replaced(entry)
        self.wake(entry, filled=True)

    def drop_all(self, keys: Sequence[EntryKey]) -> None:
        """Drops entries that were changed by this process, as :meth:`drop` does each."""
        self.memory.discard_all([key.ident for key in keys])
        entries = [key.entry for key in keys]
        self._flights.close_replaced(*entries)
        if self._watchers:
            for entry in entries:
                self.wake(entry, filled=True)

    def close_load(self, entry: bytes) -> None:
        """Closes the flight of an entry whose lease ended: nobody joins it any more."""
        self._flights.close(entry)

    def wake_waiters(self, entry: bytes) -> None:
        """Closes the flight of an entry whose lease ended, and wakes the entry's waiters."""
        self.close_load(entry)
        self.wake(entry, filled=False)

    def wake(self, entry: bytes, *, filled: bool) -> None:
        """Tells the watchers of an entry that it may be filled, or that only its lease has changed."""
        for watcher in self._watchers.pop(entry, ()):
            if not watcher.done():
                watcher.set_result(filled)

    def forget_all(self) -> None:
        """Forgets all that was known: memory goes off and is emptied, every nonce is unknown."""
        # Memory is off before a waiter is woken: one that runs first would read it, and start what is to be prevented.
        self.memory.serving_until = float("-inf")
        self.memory.clear()
        for call in self.calls:
            call.is_lost = True
        self._flights.endings += 1
        self._flights.close_all()
        for generation in list(self._generations.values()):
            generation.nonce = generation.untracked_nonce = None
        self.memory.epoch += 1
        for entry in list(self._watchers):
            self.wake(entry, filled=True)

    def watch(self, entry: bytes, names: Iterable[str] = ()) -> asyncio.Future[bool]:
        """Returns a future that tells, once, that an entry may be filled (``True``), or that only its lease changed (``False``).

        The lease has changed too if a generation ended that it rests on: it has no owner then. The caller cancels
        the future in the end.

        Args:
            entry: The entry's key.
            names: The generations that the lease rests on, as far as they are known.
        """
        watcher: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        listings: list[tuple[dict[Any, set[asyncio.Future[bool]]], Any]] = [(self._watchers, entry)]
        listings += [(self._dependents, name) for name in names]
        for table, mark in listings:
            table.setdefault(mark, set()).add(watcher)
        watcher.add_done_callback(lambda _: _unlist(listings, watcher))
        return watcher


def _unlist(
    listings: Iterable[tuple[dict[Any, set[asyncio.Future[bool]]], Any]], watcher: asyncio.Future[bool]
) -> None:
    for table, mark in listings:
        watchers = table.get(mark)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del table[mark]
