"""What a hit, an insert and an entry cost on this interpreter."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.generation import Generation
from alacena.engine.base.keys import Keys
from alacena.engine.base.policy import Policy
from alacena.engine.codec import Codec, size_of
from alacena.engine.coherence.value_store import ValueStore
from alacena.engine.memory import ENTRY_BYTES, MemoryBounds, MemoryEntry, MemoryTier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alacena.engine.base.keys import EntryKey

T = TypeVar("T")

_ENTRIES = 50_000
_FEW = 2_000
_ROUNDS = 5
_LIFE_S = 3_600.0
_SIZE = 1_000


class Costs(NamedTuple):
    """Nanoseconds of CPU a call, the best of several rounds; bytes an entry over a dict of the same values."""

    floor_ns: float
    hit_ns: float
    put_growing_ns: float
    put_small_ns: float
    put_evicting_ns: float
    put_many_tenants_ns: float
    promote_growing_ns: float
    promote_evicting_ns: float
    entry_bytes: float
    key_bytes: float


def _key(number: int, tenants: int) -> tuple[tuple[str, str, str], bytes]:
    tenant = f"tenant-{number % tenants}"
    resource = f"doc-{number:012}"
    return (tenant, "document", resource), f"alacena:e:{{{tenant}.0}}:document:{resource}".encode()


def _entries(start: int, count: int, tenants: int = 1) -> list[MemoryEntry]:
    until = SystemEnvironment().now() + _LIFE_S
    keys = [_key(number, tenants) for number in range(start, start + count)]
    return [
        MemoryEntry(
            ident,
            None,
            wire_key=wire_key,
            charge=_SIZE + ENTRY_BYTES,
            fresh_until=until + place % 600,
            dead_after=until + place % 600,
        )
        for place, (ident, wire_key) in enumerate(keys)
    ]


def _memory(entries: int) -> MemoryTier:
    return MemoryTier(MemoryBounds(max_bytes=entries * (_SIZE + ENTRY_BYTES)), environment=SystemEnvironment())


def _each_ns(act: Callable[[T], object], items: Iterable[T], count: int) -> float:
    start = time.process_time_ns()
    for item in items:
        act(item)
    return (time.process_time_ns() - start) / count


def _put_ns(entries: int, tenants: int = 1) -> tuple[float, float]:
    """Of an insert while there is room, and of one that evicts."""
    memory = _memory(entries)
    growing = _each_ns(memory.put, _entries(0, entries, tenants), entries)
    rounds = (_each_ns(memory.put, _entries(entries * turn, entries, tenants), entries) for turn in range(1, _ROUNDS))
    return growing, min(rounds)


def _promote_ns() -> tuple[float, float]:
    """Of keeping a document that came from the server: while there is room, and where one has to leave for it."""
    environment, codec, keys, policy = SystemEnvironment(), Codec(), Keys(), Policy()
    value = {"id": "d1", "title": "Manual", "pages": list(range(20)), "tags": ["a", "b"], "body": "Close it. " * 30}
    payload = codec.encode(value)
    generations = (Generation("tenant"), Generation("type"))
    stamps = (b"0" * 16, b"1" * 16)

    def tier() -> ValueStore:
        room = _FEW * (size_of(payload) + ENTRY_BYTES)
        return ValueStore(MemoryTier(MemoryBounds(max_bytes=room), environment=environment), codec, environment)

    def once(copies: ValueStore, turn: int) -> float:
        def keep(key: EntryKey) -> object:
            return copies.keep(
                key, value, payload, generations, stamps,
                fresh_for_s=_LIFE_S, stale_for_s=0.0, load_s=0.05, policy=policy,
            )  # fmt: skip

        fresh = [keys.plain("document", f"doc-{turn}-{number:09}", "tenant") for number in range(_FEW)]
        return _each_ns(keep, fresh, _FEW)

    growing = min(once(tier(), 0) for _ in range(_ROUNDS))
    full = tier()
    once(full, 0)
    return growing, min(once(full, turn) for turn in range(1, 2 * _ROUNDS))


def _hit_ns() -> float:
    memory, now = _memory(_FEW), SystemEnvironment().now()
    for entry in _entries(0, _FEW):
        memory.put(entry)
    idents = list(memory.entries) * 50
    get = memory.get

    def once() -> float:
        start = time.process_time_ns()
        for ident in idents:
            get(ident, now)
        return (time.process_time_ns() - start) / len(idents)

    return min(once() for _ in range(_ROUNDS))


def _floor_ns() -> float:
    table = dict.fromkeys(range(_FEW))

    async def look(key: int) -> object:
        return table.get(key)

    async def once() -> float:
        start = time.process_time_ns()
        for key in range(100_000):
            await look(key)
        return (time.process_time_ns() - start) / 100_000

    return min(asyncio.run(once()) for _ in range(_ROUNDS))


def _traced_bytes(build: Callable[[], object]) -> float:
    gc.collect()
    tracemalloc.start()
    kept = build()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return held / _ENTRIES


def _entry_bytes() -> tuple[float, float]:
    """Of an entry of a tier that is full and has evicted as many again, and of its two keys alone."""

    def tier() -> MemoryTier:
        memory = _memory(_ENTRIES)
        for turn in range(2):
            for entry in _entries(turn * _ENTRIES, _ENTRIES):
                memory.put(entry)
        return memory

    plain = _traced_bytes(lambda: dict.fromkeys(range(_ENTRIES)))
    keys = _traced_bytes(lambda: [_key(number, 1) for number in range(_ENTRIES)])
    return _traced_bytes(tier) - plain, keys


def measure() -> Costs:
    """All of it, in some seconds."""
    growing, evicting = _put_ns(_ENTRIES)
    _, many = _put_ns(_ENTRIES, tenants=1_000)
    _, small = _put_ns(_FEW)
    promotions = _promote_ns()
    entry, keys = _entry_bytes()
    return Costs(_floor_ns(), _hit_ns(), growing, small, evicting, many, *promotions, entry, keys)
