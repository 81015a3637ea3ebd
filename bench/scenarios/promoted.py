"""What does a hit on the server cost that leaves a copy in memory, beside one that does not?

Memory has room for all of it, and nothing has to leave. Each round opens a cache with an empty memory and reads every
document once: first past memory, then through it, so that each read brings one copy. Processor time of this process.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from alacena import Cache, Settings
from alacena.engine import Policy
from proving.figures.statistics import ratio, spread
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.stand.readiness import until_memory_serves
from proving.stand.rounds import cpu_s, interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.stand.effort import Effort
    from proving.stand.server import Server

PLAIN, PROMOTED = "Cache.get(use_memory=False)", "Cache.get, promoted"
_TENANT = "acme"
_CHECKED = 100
_BUDGET_S = 30.0
"""Nobody gives up here: a read without an answer is no hit."""

_DOCUMENT = {"id": "d1", "title": "Manual", "pages": list(range(20)), "body": "Close the valve before you drain. " * 8}
_COLUMNS = (Column("of the unpromoted", 2, "low"), Column("µs CPU here", 1, "low"), Column("copies kept, %", 0, "high"))


class Sample(NamedTuple):
    """Seconds of processor time a read, and how many of the promoted ones were in memory afterwards."""

    plain_s: float
    promoted_s: float
    kept: float


async def measure(server: Server, effort: Effort) -> Result:
    """Ask with one caller and with a hundred."""
    reads = effort.of(4_000, 1_000)
    async with Cache(Settings(redis_url=server.url)) as writer:
        await writer.set_many("document", {f"d{n}": _DOCUMENT for n in range(reads)}, _TENANT)

    def contender(callers: int) -> Callable[[], Awaitable[Sample]]:
        return lambda: _sample(server, reads, callers)

    found = await interleaved({f"{callers}": contender(callers) for callers in (1, 100)}, effort.rounds)
    tables, bars = [], []
    for callers, samples in found.items():
        times = ratio([sample.promoted_s for sample in samples], [sample.plain_s for sample in samples])
        rows = (
            Row(PLAIN, (1.0, spread([sample.plain_s for sample in samples]).times(1e6), None), "floor"),
            Row(
                PROMOTED,
                (times, spread([s.promoted_s for s in samples]).times(1e6), spread([100 * s.kept for s in samples])),
                "ours",
            ),
        )
        whose = f"{callers} caller{'s' * (callers != '1')}"
        tables.append(Table(f"A hit on the server that is promoted, {whose}", _COLUMNS, rows, charted=0))
        bars.append(judged(f"promoted hit, Cache.get, {whose}: of an unpromoted one", times.median, bar=1.7))
    return Result(tuple(tables), tuple(bars))


async def _sample(server: Server, reads: int, callers: int) -> Sample:
    policy = Policy(redis_budget_s=_BUDGET_S)
    async with Cache(Settings(redis_url=server.url), policies={"document": policy}) as cache:
        await until_memory_serves(cache)
        ids = [f"d{number}" for number in range(reads)]
        await _read(cache, ids[:callers], callers, use_memory=False)
        plain_s = await _read(cache, ids, callers, use_memory=False)
        promoted_s = await _read(cache, ids, callers, use_memory=True)
        asked = ids[:: max(1, reads // _CHECKED)]
        found = [await cache.lookup("document", resource_id, _TENANT) for resource_id in asked]
        return Sample(plain_s, promoted_s, sum(lookup.tier == "memory" for lookup in found) / len(found))


async def _read(cache: Cache, ids: list[str], callers: int, *, use_memory: bool) -> float:
    async def caller(first: int) -> None:
        for resource_id in ids[first::callers]:
            assert await cache.get("document", resource_id, _TENANT, use_memory=use_memory) is not None

    began = cpu_s()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return (cpu_s() - began) / len(ids)
