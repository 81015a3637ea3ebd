"""Entries on their way to the server: the ground of each, and which of them share a call."""

from __future__ import annotations

import asyncio
import math
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast

import msgspec

from alacena.engine.remote.redis import large_writes
from alacena.engine.remote.redis.journal import NAME_BYTES, records

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from alacena.engine.base.generation import Generation
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Beginning, Lease, NewEntry
    from alacena.engine.remote.backend import Argument

MOST_TOGETHER = 100
"""Entries of one script call: a server that is at work on more answers nobody else for too long."""

MOST_GENERATIONS = 1_500
_MOST_BYTES = 1 << 18
"""What one call of several entries rests on and carries: an entry that has more goes by itself."""


_HEAVY_BYTES = 1 << 20
"""From here on, compressing and sealing a value would hold the loop up for milliseconds."""


Known: TypeAlias = "dict[str, tuple[Generation, bytes]]"
"""Generations with their nonces, by name."""


class Ground(NamedTuple):
    """The generations that entries rest on, with their nonces: one object for all that rest on the same.

    Attributes:
        own: The nonces of the generations of the entry's key.
        stamped: The same, joined.
        tags: Those of its tags.
        stamps: All of them.
        named: All of them, by name.
    """

    own: tuple[bytes, ...]
    stamped: bytes
    tags: Sequence[tuple[Generation, bytes]]
    stamps: Sequence[tuple[Generation, bytes]]
    named: Sequence[tuple[str, bytes]]


class StoreItem(msgspec.Struct, eq=False, gc=False):
    """One entry on its way.

    Attributes:
        place: Where its fate is written down.
        key: Its name.
        new_entry: Its value.
        since: The lease or the reading that brought it, if one did.
        token: The lease's.
        known: The nonces known so far of its generations; one object for all entries that depend on the same.
        depends: Its generations, if no lease names them.
        ground: Its generations with their nonces, once all are known.
        sealed: Its bytes.
    """

    place: int
    key: EntryKey
    new_entry: NewEntry
    since: Lease | Beginning | None
    token: bytes
    known: Known
    depends: tuple[Generation, ...] = ()
    ground: Ground = None  # type: ignore[assignment]
    sealed: bytes = b""


def ground_of(item: StoreItem) -> Ground:
    """Returns the ground of an entry, all of whose nonces are known."""
    key, tags = item.key, item.new_entry.tags
    names = (*key.generations, *map(key.tag_name, tags)) if tags else key.generations
    stamps = list(map(item.known.__getitem__, names))
    _, nonces = zip(*stamps, strict=True)
    count = len(key.generations)
    own = nonces[:count]
    return Ground(own, b"".join(own), stamps[count:], stamps, list(zip(names, nonces, strict=True)))


def is_large(items: Sequence[StoreItem]) -> bool:
    """Returns whether the batch is one entry that goes in pieces."""
    return len(items) == 1 and len(items[0].sealed) > large_writes.PIECE_BYTES


def life_ms(new_entry: NewEntry) -> int:
    """Returns how long an entry is to live on the server; 0: for ever."""
    if new_entry.fresh_for_s is None:
        return 0
    # At least 1: the script takes 0 for "for ever".
    return max(1, math.ceil((new_entry.fresh_for_s + new_entry.stale_for_s) * 1000))


def questions(items: Sequence[StoreItem]) -> tuple[Sequence[str], Sequence[Argument]]:
    """Returns the journals of the readings that brought entries, and the words that ask them.

    Each is asked whether anything that covers an entry has ended since its reading began.
    """
    if not any(map(_SINCE_OF, items)):
        return (), ()
    readings: dict[tuple[str, bytes, int, int], int] = {}
    asked: list[Argument] = []
    for item in items:
        began = cast("Beginning | None", item.since)
        if began is None:
            asked += (0, b"")
            continue
        journal, noted = began.journal
        reading = (journal.name, noted[:NAME_BYTES], began.noted, began.began_ms)
        # From 1 on, as Lua counts: 0 says that no reading brought the entry.
        place = readings.setdefault(reading, len(readings) + 1)
        asked += (place, records(item.key.endings))
    since: list[Argument] = [word for reading in readings for word in reading[1:]]
    return [journal for journal, *_ in readings], [*since, *asked]


async def all_batches(items: Sequence[StoreItem], seal: Callable[[StoreItem], None]) -> AsyncIterator[list[StoreItem]]:
    """Seals entries and yields batches of them, each for one call: no entry twice, and not so much that others wait for it.

    A heavy entry is compressed and sealed on a thread of its own meanwhile, and goes alone.
    """
    batch: list[StoreItem] = []
    entries: set[bytes] = set()
    generations = size = 0
    for item in items:
        heavy = is_heavy(item.new_entry)
        # In the order of the entries: of two values of one, the later one must be stored last.
        if heavy and batch:
            yield batch
            batch = []
        if heavy:
            await asyncio.to_thread(seal, item)
            yield [item]
            continue
        seal(item)
        entry, depends = item.key.entry, len(item.ground.stamps)
        generations += depends
        size += len(item.sealed)
        # 1. One script writes an entry twice. It is tracked at the first write only, so that one push comes.
        # 2. The reply says twice that it is stored, and two pushes are expected.
        # 3. The expectation that is left over would swallow the next writer's. So no entry stands in a batch twice.
        is_full = len(batch) >= MOST_TOGETHER or generations > MOST_GENERATIONS or size > _MOST_BYTES
        # `batch and`: an entry that is too much by itself still leaves, alone.
        if batch and (is_full or entry in entries):
            yield batch
            batch = []
        if not batch:
            entries, generations, size = set(), depends, len(item.sealed)
        batch.append(item)
        entries.add(entry)
    if batch:
        yield batch


def is_heavy(new_entry: NewEntry) -> bool:
    """Returns whether to seal an entry takes so long that it is done beside the loop."""
    content = new_entry.value if new_entry.payload is None else new_entry.payload
    return isinstance(content, str | bytes) and len(content) > _HEAVY_BYTES


_SINCE_OF: Final = attrgetter("since")
