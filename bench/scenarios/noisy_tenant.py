"""One tenant has a hundred times the traffic and the data of each of fifty others: what is left of their hits in memory?

Every tenant reads from a working set of its own, some keys far more often than others (Zipf); the noisy one's is a hundred
times as large. Memory has room for a tenth, a quarter and half of what the fifty read, so that even alone they do not
fit; the noisy one could fill it several times over. Every miss is loaded at once and kept. Accesses are drawn from a seed
and made one after the other, so that every contender meets the same ones. One row is ours with all tenants taken for
one: the same memory without the shares.
"""

from __future__ import annotations

import random
import time
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from alacena import Cache, Settings
from proving.figures.statistics import percentile
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import MEMORY, invited, settings_of
from proving.rivals.rival import Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.figures.tables import Cell
    from proving.stand.effort import Effort
    from proving.stand.server import Server

    Read = Callable[[str, str], Awaitable[bool]]

_NAMES = ("cachetools", "theine", "cashews", "cachebox")
_ONE = "alacena, all tenants as one"
_QUIET = 50
_LOUDER = 100
_WORKING_SET = 200
_ROOM = (0.1, 0.25, 0.5)
_NOISY = "noisy"
_SEED = 3
_COLUMNS = (
    Column("the fifty alone: hits, %", 1, "high"),
    Column("beside the noisy one, %", 1, "high"),
    Column("points lost", 1, "low"),
    Column("the worst off lost", 1, "low"),
    Column("the noisy one's hits, %", 1),
    Column("p99 alone, µs of processor", 1, "low"),
    Column("p99 beside it, µs of processor", 1, "low"),
)


class Outcome(NamedTuple):
    """How the tenants fared: hits in memory by tenant, and how long a quiet one's read kept the processor."""

    hit_ratios: dict[str, float]
    p99_s: float

    @property
    def quiet(self) -> float:
        """The hit ratio of the fifty, each counting alike."""
        ratios = [ratio for tenant, ratio in self.hit_ratios.items() if tenant != _NOISY]
        return sum(ratios) / len(ratios)


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody, without and with the noisy tenant, with little memory and with much."""
    reads = effort.of(300, 60)
    field = invited(MEMORY, _NAMES)
    alone, beside = accesses(reads, noisy=False), accesses(reads, noisy=True)
    tables, lost = [], 0.0
    for room in _ROOM:
        entries = round(_QUIET * _WORKING_SET * room)
        fared = {}
        for name in ("alacena", _ONE, *field.present):
            fared[name] = (await _fare(name, entries, alone), await _fare(name, entries, beside))
        rows = tuple(Row(name, _cells(*both), "ours" if name == "alacena" else "peer") for name, both in fared.items())
        lost = max(lost, _lost(*fared["alacena"]))
        title = f"Fifty tenants and a noisy one: memory of {entries:,} entries, {room:.0%} of what the fifty read"
        tables.append(Table(title, _COLUMNS, rows, charted=2))
    notes = (
        f"{_QUIET} tenants × {reads:,} reads of {_WORKING_SET} keys each; one × {reads * _LOUDER:,} of "
        f"{_WORKING_SET * _LOUDER:,}; Zipf; seed {_SEED}; the source answers at once; the first third only warms up",
        settings_of(field.present),
        *field.note,
    )
    tables[-1] = Table(tables[-1].title, _COLUMNS, tables[-1].rows, notes, charted=2)
    return Result(
        tuple(tables),
        (judged("points of hit ratio that a noisy tenant takes from the others, worst of three sizes", lost, bar=2),),
    )


def _lost(alone: Outcome, beside: Outcome) -> float:
    return (alone.quiet - beside.quiet) * 100


def _cells(alone: Outcome, beside: Outcome) -> tuple[Cell, ...]:
    worst = max((ratio - beside.hit_ratios[tenant]) * 100 for tenant, ratio in alone.hit_ratios.items())
    return (
        alone.quiet * 100,
        beside.quiet * 100,
        _lost(alone, beside),
        worst,
        beside.hit_ratios[_NOISY] * 100,
        alone.p99_s * 1e6,
        beside.p99_s * 1e6,
    )


def accesses(reads: int, *, noisy: bool) -> list[tuple[str, str]]:
    """Who reads what, in order: tenant and key."""
    chance = random.Random(_SEED)
    sizes = {f"t{number}": (_WORKING_SET, reads) for number in range(_QUIET)}
    if noisy:
        sizes[_NOISY] = (_WORKING_SET * _LOUDER, reads * _LOUDER)
    queues: dict[str, list[str]] = {}
    for tenant, (keys, count) in sizes.items():
        weights = list(accumulate(1 / (rank + 1) for rank in range(keys)))
        queues[tenant] = [f"d{key}" for key in chance.choices(range(keys), cum_weights=weights, k=count)]
    # One tenant's reads stay in their order: only whose turn it is, is drawn by lot.
    turns = [tenant for tenant, keys in queues.items() for _ in keys]
    chance.shuffle(turns)
    return [(tenant, queues[tenant].pop()) for tenant in turns]


async def _fare(name: str, entries: int, picks: list[tuple[str, str]]) -> Outcome:
    if name == "alacena":
        return await _ours(entries, picks, as_one=False)
    if name == _ONE:
        return await _ours(entries, picks, as_one=True)
    return await _theirs(name, entries, picks)


async def _played(read: Read, picks: list[tuple[str, str]]) -> Outcome:
    """Play the accesses; the first third only warms up."""
    hits: dict[str, int] = {}
    counted: dict[str, int] = {}
    took_s = []
    for number, (tenant, key) in enumerate(picks):
        began = time.thread_time()
        hit = await read(tenant, key)
        if number > len(picks) // 3:
            if tenant != _NOISY:
                took_s.append(time.thread_time() - began)
            hits[tenant] = hits.get(tenant, 0) + hit
            counted[tenant] = counted.get(tenant, 0) + 1
    return Outcome({tenant: hits[tenant] / count for tenant, count in counted.items()}, percentile(took_s, 0.99))


async def _ours(entries: int, picks: list[tuple[str, str]], *, as_one: bool) -> Outcome:
    async def load(_: Any) -> str:
        return "value"

    async with Cache(Settings(memory_max_entries=entries)) as cache:

        async def read(tenant: str, key: str) -> bool:
            whose, what = ("all", f"{tenant}:{key}") if as_one else (tenant, key)
            lookup = await cache.lookup("document", what, whose, load)
            return lookup.tier == "memory"

        return await _played(read, picks)


async def _theirs(name: str, entries: int, picks: list[tuple[str, str]]) -> Outcome:
    async def load(_: str) -> str:
        return "value"

    rival = invited(MEMORY, (name,)).present[name]
    await rival.open(Place(load, entries=entries))

    async def read(tenant: str, key: str) -> bool:
        full = f"{tenant}:{key}"
        if await rival.get(full) is not None:
            return True
        await rival.set(full, "value")
        return False

    outcome = await _played(read, picks)
    await rival.close()
    return outcome
