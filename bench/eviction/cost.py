"""What a hit, an insert and an entry cost on this interpreter."""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import NamedTuple

from alacena.engine.environment import SystemEnvironment
from alacena.engine.memory import SLOT_BYTES, Memory, Slot

_ENTRIES = 50_000
_ROUNDS = 5
_LIFE_S = 3_600.0


class Costs(NamedTuple):
    """Nanoseconds a call (the best of several rounds) and bytes an entry over a plain dict of the same values."""

    lookup_ns: float
    hit_ns: float
    put_growing_ns: float
    put_evicting_ns: float
    put_many_tenants_ns: float
    entry_bytes: float


def _ident(number: int, tenants: int = 1) -> tuple[str, str, str]:
    return (f"tenant-{number % tenants}", "document", f"doc-{number:012}")


def _wire_key(number: int, tenants: int = 1) -> bytes:
    return b"alacena:e:{tenant-%d.0}:document:doc-%012d" % (number % tenants, number)


def _slots(start: int, count: int, tenants: int = 1) -> list[Slot]:
    until = SystemEnvironment().now() + _LIFE_S
    return [
        Slot(
            _ident(number, tenants),
            None,
            wire_key=_wire_key(number, tenants),
            size=1_000,
            fresh_until=until + number % 600,
        )
        for number in range(start, start + count)
    ]


def _memory(entries: int) -> Memory:
    return Memory(max_bytes=entries * (1_000 + SLOT_BYTES), environment=SystemEnvironment())


def _fill_ns(memory: Memory, slots: list[Slot]) -> float:
    start = time.perf_counter_ns()
    for slot in slots:
        memory.put(slot)
    return (time.perf_counter_ns() - start) / len(slots)


def _read_ns(memory: Memory) -> tuple[float, float]:
    idents, now = list(memory.slots), SystemEnvironment().now()
    plain = dict.fromkeys(idents)
    best = [float("inf"), float("inf")]
    for _ in range(_ROUNDS):
        for place, read in enumerate((lambda ident, _now, get=plain.get: get(ident), memory.get)):
            start = time.perf_counter_ns()
            for ident in idents:
                read(ident, now)
            best[place] = min(best[place], (time.perf_counter_ns() - start) / len(idents))
    return best[0], best[1]


def _entry_bytes() -> float:
    """Everything that a slot brings along but its value: key, wire key, links, index entries, ghosts."""
    values = [bytes(100) for _ in range(_ENTRIES)]
    until = SystemEnvironment().now() + _LIFE_S
    gc.collect()
    tracemalloc.start()
    plain = {number: value for number, value in enumerate(values)}
    base, _ = tracemalloc.get_traced_memory()
    memory = _memory(_ENTRIES)
    for number in range(2 * _ENTRIES):
        slot = Slot(
            _ident(number),
            values[number % _ENTRIES],
            wire_key=_wire_key(number),
            size=1_000,
            fresh_until=until + number / 100,
        )
        memory.put(slot)
    total, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (total - base - base) / len(memory.slots) if plain else 0.0


def measure() -> Costs:
    """All of it, in a few seconds."""
    memory = _memory(_ENTRIES)
    growing = _fill_ns(memory, _slots(0, _ENTRIES))
    lookup, hit = _read_ns(memory)
    evicting = min(_fill_ns(memory, _slots(_ENTRIES * turn, _ENTRIES)) for turn in range(1, _ROUNDS))
    shared = _memory(_ENTRIES)
    _fill_ns(shared, _slots(0, _ENTRIES, tenants=1_000))
    many = min(_fill_ns(shared, _slots(_ENTRIES * turn, _ENTRIES, tenants=1_000)) for turn in range(1, _ROUNDS))
    return Costs(lookup, hit, growing, evicting, many, _entry_bytes())
