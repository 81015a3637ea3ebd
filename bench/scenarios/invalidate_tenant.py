"""What does it take to end everything that a tenant has, however much that is?

A thousand of the entries are real and in the memory of a second process's cache too; the others are copies of their
bytes under other names of the tenant, made on the server. Beside it: SCAN for the tenant's prefix and UNLINK, a
thousand keys at a time, as the patterns of other caches do it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from redis.asyncio import Redis

from alacena import Cache, Settings
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.stand.relay import Relay

if TYPE_CHECKING:
    from proving.stand.effort import Effort
    from proving.stand.server import Server

_REAL = 1_000
_PAGE = 1_000
_COPIES = """
local value = redis.call('GET', KEYS[1])
for number = ARGV[1], ARGV[2] do redis.call('SET', KEYS[1] .. '.' .. number, value) end
"""
_COLUMNS = (
    Column("ms", 2, "low"),
    Column("round trips", 0, "low"),
    Column("commands", 0, "low"),
    Column("next read, ms", 2, "low"),
    Column("served though ended", 0, "low"),
)


class Ending(NamedTuple):
    """How one invalidation went."""

    took_s: float
    round_trips: int
    commands: int
    next_read_s: float
    served: int

    @property
    def cells(self) -> tuple[float, ...]:
        """As a row."""
        return (self.took_s * 1e3, self.round_trips, self.commands, self.next_read_s * 1e3, self.served)


async def measure(server: Server, effort: Effort) -> Result:
    """Ask with each number of entries."""
    tables, trips = [], []
    for entries in effort.of((100_000, 1_000_000), (10_000, 100_000)):
        ours = await _ours(server, entries)
        scan = await _scanned(server, entries)
        trips.append(ours.round_trips)
        rows = (
            Row("CacheManager.invalidate(tenant)", ours.cells, "ours"),
            Row("SCAN + UNLINK (redis-py)", scan.cells),
        )
        notes = ("a read right after the answer, by this cache and by another that had 1,000 of them in memory",)
        tables.append(Table(f"Ending a tenant of {entries:,} entries", _COLUMNS, rows, notes, charted=0))
    return Result(tuple(tables), (judged("ending a tenant of 10⁶ entries: round trips", max(trips), bar=1),))


async def _ours(server: Server, entries: int) -> Ending:
    with Relay(server.path) as relay:
        counted = await _ended(server, relay.url, entries, relay)
    timed = await _ended(server, server.url, entries)
    return timed._replace(round_trips=counted.round_trips, commands=counted.commands)


async def _ended(server: Server, url: str, entries: int, relay: Relay | None = None) -> Ending:
    server.flush()
    # A read that is over its budget on a busy machine is not what is measured here.
    relayed, direct = (Settings(redis_url=one, redis_budget_s=5.0) for one in (url, server.url))
    async with Cache(relayed) as cache, Cache(direct) as other:
        await _fill(server, cache, entries)
        ids = [f"d{number}" for number in range(_REAL)]
        assert len(await other.get_many("document", ids, "acme")) == _REAL
        if relay is not None:
            relay.reset()
        began = time.perf_counter()
        assert await cache.invalidate("acme") > 0
        took_s = time.perf_counter() - began
        trips, commands = (0, 0) if relay is None else (relay.round_trips, relay.asked)
        began = time.perf_counter()
        first = await cache.get("document", "d1", "acme")
        next_read_s = time.perf_counter() - began
        served = (first is not None) + await _still_served((cache, other), ids)
    return Ending(took_s, trips, commands, next_read_s, served)


async def _still_served(caches: tuple[Cache, ...], ids: list[str]) -> int:
    return sum([len(await cache.get_many("document", ids, "acme")) for cache in caches])


async def _fill(server: Server, cache: Cache, entries: int) -> None:
    await cache.set_many("document", {f"d{number}": {"id": number} for number in range(_REAL)}, "acme")
    name = server.ask("KEYS", "*:d1")[0]
    for start in range(_REAL, entries, 50_000):
        server.ask("EVAL", _COPIES, 1, name, start, min(start + 50_000, entries) - 1)


async def _scanned(server: Server, entries: int) -> Ending:
    server.flush()
    async with Cache(Settings(redis_url=server.url, redis_budget_s=5.0)) as cache:
        await _fill(server, cache, entries)
    client = Redis(unix_socket_path=server.path)
    before, trips, cursor = sum(server.calls().values()), 0, 0
    began = time.perf_counter()
    while True:
        cursor, keys = await client.scan(cursor, match="alacena:e:{acme.0}:*", count=_PAGE)
        trips += 1
        if keys:
            await client.unlink(*keys)
            trips += 1
        if not cursor:
            break
    took_s = time.perf_counter() - began
    commands = sum(server.calls().values()) - before
    began = time.perf_counter()
    left = await client.get("alacena:e:{acme.0}:document:d1")
    next_read_s = time.perf_counter() - began
    await client.aclose()
    return Ending(took_s, trips, commands, next_read_s, left is not None)
