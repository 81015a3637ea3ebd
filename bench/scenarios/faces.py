"""Does a hit in memory cost the same through the engine's verbs as through the guide's?

One key, read again and again by one task, through `Cache.get` and `Tenant.get` beside `CacheManager.get`, and through
`Cache.load` and `Tenant.load` beside `get_with_cache_aside`: all on the one cache of the process, in slices that take turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alacena import CacheManager, configure, get_with_cache_aside
from proving.figures.statistics import ratio, spread
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals.rival import Ask
from proving.stand.asking import beside
from proving.stand.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.stand.asking import Pair
    from proving.stand.effort import Effort
    from proving.stand.server import Server

GET, LOAD = "CacheManager.get", "get_with_cache_aside"
_TENANT = "acme"
_TEXT = "An answer of some length, as a language model gives it. " * 10
_COLUMNS = (Column("of the guide's", 2, "low"), Column("ns a hit", 0, "low"), Column("beside"))


async def measure(server: Server, effort: Effort) -> Result:
    """Ask each verb."""
    repeat = effort.of(50_000, 10_000)
    configure(redis_url=server.url)
    cache = await CacheManager.cache()
    await CacheManager.set("text", "d1", _TEXT, _TENANT)
    tenant, ident = cache.tenant(_TENANT), ("text", "d1")
    guide = {GET: Ask(CacheManager.get, (*ident, _TENANT)), LOAD: Ask(get_with_cache_aside, (*ident, _TENANT, _source))}
    engine = {
        "Cache.get": (Ask(cache.get, (*ident, _TENANT)), GET),
        "Tenant.get": (Ask(tenant.get, ident), GET),
        "Cache.load": (Ask(cache.load, (*ident, _TENANT, _loader)), LOAD),
        "Tenant.load": (Ask(tenant.load, (*ident, _loader)), LOAD),
    }

    def timed(ask: Ask, floor: Ask) -> Callable[[], Awaitable[Pair]]:
        return lambda: beside(floor, ask, repeat)

    found = await interleaved({name: timed(ask, guide[of]) for name, (ask, of) in engine.items()}, effort.rounds)
    await CacheManager.close()
    rows, bars = [], []
    for name, pairs in found.items():
        of = engine[name][1]
        times = ratio([pair.call_s for pair in pairs], [pair.floor_s for pair in pairs])
        rows.append(Row(name, (times, spread([pair.call_s for pair in pairs]).times(1e9), of), "ours"))
        bars.append(judged(f"memory hit, {name}: of {of}", times.median, bar=1.2))
    return Result((Table("A hit in memory through the engine", _COLUMNS, tuple(rows), charted=0),), tuple(bars))


async def _source(_: str) -> Any:
    return _TEXT


async def _loader(_: Any) -> Any:
    return _TEXT
