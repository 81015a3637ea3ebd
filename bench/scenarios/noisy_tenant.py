"""One tenant makes a hundred times the traffic of each of fifty others: what is left of their hits in memory?

The fifty read from working sets of their own, with a few favourites; together they would fill two thirds of memory. The
noisy one reads one new key after the other. Every miss is loaded at once and kept. Accesses are drawn from a seed and
made one after the other, so that every contender meets the same ones.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from alacena import Cache, Settings
from bench.figures.statistics import percentile
from bench.figures.tables import Column, Result, Row, Table, judged
from bench.rivals import MEMORY, invited, settings_of
from bench.rivals.rival import Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.stand.effort import Effort
    from bench.stand.server import Server

    Read = Callable[[str, str], Awaitable[bool]]

_NAMES = ("cashews", "cachetools", "cachebox", "theine")
_QUIET = 50
_LOUDER = 100
_WORKING_SET = 40
_CAPACITY = 3_000
_SEED = 3
_COLUMNS = (
    Column("hits alone, %", 1, "high"),
    Column("hits beside the noisy one, %", 1, "high"),
    Column("points lost", 1, "low"),
    Column("p99 alone, µs", 1, "low"),
    Column("p99 beside it, µs", 1, "low"),
)


class Outcome(NamedTuple):
    """How the quiet tenants fared."""

    hit_ratio: float
    p99_s: float


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody, without and with the noisy tenant."""
    reads = effort.of(1_200, 150)
    field = invited(MEMORY, _NAMES)
    fared = {"alacena": (await _ours(reads, noisy=False), await _ours(reads, noisy=True))}
    for name in field.present:
        fared[name] = (await _theirs(name, reads, noisy=False), await _theirs(name, reads, noisy=True))
    rows = tuple(Row(name, _cells(*both), "ours" if name == "alacena" else "peer") for name, both in fared.items())
    notes = (
        f"{_QUIET} tenants × {reads:,} reads of {_WORKING_SET} keys each, Zipf; memory of {_CAPACITY:,} entries; seed {_SEED}",
        settings_of(field.present),
        *field.note,
    )
    alone, beside = fared["alacena"]
    lost = (alone.hit_ratio - beside.hit_ratio) * 100
    return Result(
        (Table("Fifty tenants and a noisy one", _COLUMNS, rows, notes, charted=2),),
        (judged("points of hit ratio that a noisy tenant takes from the others", lost, bar=2),),
    )


def _cells(alone: Outcome, beside: Outcome) -> tuple[float, ...]:
    lost = (alone.hit_ratio - beside.hit_ratio) * 100
    return (alone.hit_ratio * 100, beside.hit_ratio * 100, lost, alone.p99_s * 1e6, beside.p99_s * 1e6)


def accesses(reads: int, *, noisy: bool) -> list[tuple[str, str]]:
    """Who reads what, in order: tenant and key."""
    chance = random.Random(_SEED)
    weights = [1 / (rank + 1) for rank in range(_WORKING_SET)]
    quiet = [f"t{number}" for number in range(_QUIET)]
    picks = [(tenant, f"d{key}") for tenant in quiet for key in chance.choices(range(_WORKING_SET), weights, k=reads)]
    if noisy:
        picks += [("noisy", f"n{number}") for number in range(reads * _LOUDER)]
    # One tenant's reads stay in their order: only whose turn it is, is drawn by lot.
    turns = [tenant for tenant, _ in picks]
    chance.shuffle(turns)
    queues: dict[str, list[str]] = {}
    for tenant, key in reversed(picks):
        queues.setdefault(tenant, []).append(key)
    return [(tenant, queues[tenant].pop()) for tenant in turns]


async def _fare(read: Read, reads: int, *, noisy: bool) -> Outcome:
    """Play the accesses; the first third only warms up."""
    picks = accesses(reads, noisy=noisy)
    hits, took_s = 0, []
    for number, (tenant, key) in enumerate(picks):
        began = time.perf_counter()
        hit = await read(tenant, key)
        if tenant != "noisy" and number > len(picks) // 3:
            took_s.append(time.perf_counter() - began)
            hits += hit
    return Outcome(hits / len(took_s), percentile(took_s, 0.99))


async def _ours(reads: int, *, noisy: bool) -> Outcome:
    async def load(_: Any) -> str:
        return "value"

    async with Cache(Settings(memory_max_entries=_CAPACITY)) as cache:

        async def read(tenant: str, key: str) -> bool:
            lookup = await cache.lookup("document", key, tenant, load)
            return lookup.tier == "memory"

        return await _fare(read, reads, noisy=noisy)


async def _theirs(name: str, reads: int, *, noisy: bool) -> Outcome:
    async def load(_: str) -> str:
        return "value"

    rival = invited(MEMORY, (name,)).present[name]
    await rival.open(Place(load, entries=_CAPACITY))

    async def read(tenant: str, key: str) -> bool:
        full = f"{tenant}:{key}"
        if await rival.get(full) is not None:
            return True
        await rival.set(full, "value")
        return False

    outcome = await _fare(read, reads, noisy=noisy)
    await rival.close()
    return outcome
