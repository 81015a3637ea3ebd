"""What a hit, a set and an invalidation cost as the cache grows: ``python -m bench.tables``.

Entries, tenants, tags, lengths of keys, sizes of values; and what one large value on the connection that all callers share
does to the small reads beside it. Processor time of this process, medians; the last table in milliseconds on the wall.

python -m bench.tables                          all of them, in about three minutes
python -m bench.tables --quick                  smaller, in half a minute
python -m bench.tables --only tags --only large --json out.json
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console

from alacena import Cache, Settings
from proving.figures.show import show_result
from proving.figures.statistics import Spread, percentile, spread
from proving.figures.tables import Column, Result, Row, Table
from proving.rivals import REDIS, invited, opened, settings_of
from proving.rivals.rival import Place
from proving.stand.effort import FULL, QUICK
from proving.stand.server import Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proving.stand.effort import Effort

_WIDE: Final = 150
_TENANT: Final = "acme"
_TYPE: Final = "document"
_TEXT: Final = "x" * 100
_ROOM_BYTES: Final = 1 << 34
_MAX_BYTES: Final = 1 << 26
"""Above the default, which refuses a value of 10 MB."""

_SAMPLES: Final = 300
_IN_ONE: Final = 10
"""Calls a sample: one alone is shorter than the clock is fine."""

_COLUMNS: Final = (
    Column("Cache.set, µs", 1, "low"),
    Column("Cache.get, µs", 2, "low"),
    Column("Cache.invalidate, µs", 1, "low"),
)


async def _us(calls: Sequence[Callable[[], Awaitable[object]]], in_one: int = 1) -> Spread:
    """Returns the processor time of calls that are awaited one after the other, ``in_one`` of them a sample."""
    took: list[float] = []
    for start in range(0, len(calls), in_one):
        part = calls[start : start + in_one]
        began = time.thread_time()
        for call in part:
            await call()
        took.append((time.thread_time() - began) / len(part) * 1e6)
        await asyncio.sleep(0)
    return spread(took)


def _in_memory() -> Cache:
    return Cache(Settings(memory_max_bytes=_ROOM_BYTES, max_value_bytes=_MAX_BYTES))


async def _fill(cache: Cache, names: Sequence[str], tenant: str = _TENANT) -> None:
    for start in range(0, len(names), 1_000):
        await cache.set_many(_TYPE, dict.fromkeys(names[start : start + 1_000], _TEXT), tenant)
        await asyncio.sleep(0)


async def entries(server: Server, effort: Effort) -> Result:
    """How do the costs grow with the number of entries?"""
    rows = []
    for size in effort.of((1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000)):
        async with _in_memory() as cache:
            await _fill(cache, [f"d{number}" for number in range(size)])
            chance = random.Random(size)
            picks = [f"d{chance.randrange(size)}" for _ in range(_SAMPLES * _IN_ONE)]
            more = [f"more-{number}" for number in range(_SAMPLES)]
            cells = (
                await _us([lambda i=i: cache.set(_TYPE, i, _TEXT, _TENANT) for i in more]),  # type: ignore[misc]
                await _us([lambda i=i: cache.get(_TYPE, i, _TENANT) for i in picks], _IN_ONE),  # type: ignore[misc]
                await _us([lambda i=i: cache.invalidate(_TENANT, _TYPE, i) for i in picks[:_SAMPLES]]),  # type: ignore[misc]
            )
            rows.append(Row(f"{size:,} entries", cells, "ours"))
    notes = ("memory only; keys at random, as a service reads them; invalidate: one entry",)
    return Result((Table("Entries of one tenant", _COLUMNS, tuple(rows), notes),))


async def tenants(server: Server, effort: Effort) -> Result:
    """How do the costs grow with the number of tenants?"""
    rows = []
    for size in effort.of((1, 100, 10_000, 100_000), (1, 100, 2_000)):
        async with _in_memory() as cache:
            for number in range(size):
                await cache.set(_TYPE, "d", _TEXT, f"t{number}")
            chance = random.Random(size)
            picks = [f"t{chance.randrange(size)}" for _ in range(_SAMPLES * _IN_ONE)]
            ended = [f"t{number}" for number in range(min(size, _SAMPLES))]
            cells = (
                await _us([lambda t=t: cache.set(_TYPE, "e", _TEXT, t) for t in picks[:_SAMPLES]]),  # type: ignore[misc]
                await _us([lambda t=t: cache.get(_TYPE, "d", t) for t in picks], _IN_ONE),  # type: ignore[misc]
                await _us([lambda t=t: cache.invalidate(t) for t in ended]),  # type: ignore[misc]
            )
            rows.append(Row(f"{size:,} tenant{'s' * (size > 1)}", cells, "ours"))
    notes = ("memory only; tenants at random; invalidate: one tenant",)
    return Result((Table("Tenants of one entry", _COLUMNS, tuple(rows), notes),))


async def tags(server: Server, effort: Effort) -> Result:
    """How do the costs grow with the number of tags of an entry?"""
    rows = []
    for count in effort.of((0, 1, 4, 16, 64), (0, 4, 64)):
        async with _in_memory() as cache:
            names = [f"tag-{number}" for number in range(count)]
            ids = [f"d{number}" for number in range(_SAMPLES)]
            sets = [lambda i=i: cache.set(_TYPE, i, _TEXT, _TENANT, tags=names) for i in ids]
            gets = [lambda i=i: cache.get(_TYPE, i, _TENANT) for i in ids]
            cells = (await _us(sets), await _us(gets * _IN_ONE, _IN_ONE))
            ends = [lambda: cache.invalidate(_TENANT, tags=names[:1]) for _ in ids] if names else []
            rows.append(Row(f"{count} tag{'s' * (count != 1)}", (*cells, await _us(ends) if ends else None), "ours"))
    return Result((Table("Tags an entry", _COLUMNS, tuple(rows), ("memory only; invalidate: one of the tags",)),))


async def keys(server: Server, effort: Effort) -> Result:
    """How do the costs grow with the length of an id?"""
    rows = []
    for length in (8, 32, 96, 97, 300, 1_000):
        async with _in_memory() as cache:
            ids = [f"{number:0{length}}" for number in range(_SAMPLES)]
            sets = [lambda i=i: cache.set(_TYPE, i, _TEXT, _TENANT) for i in ids]
            gets = [lambda i=i: cache.get(_TYPE, i, _TENANT) for i in ids]
            ends = [lambda i=i: cache.invalidate(_TENANT, _TYPE, i) for i in ids]
            cells = (await _us(sets), await _us(gets * _IN_ONE, _IN_ONE), await _us(ends))
            rows.append(Row(f"{length:,} characters", cells, "ours"))
    return Result((Table("Length of an id", _COLUMNS, tuple(rows), ("memory only",)),))


async def values(server: Server, effort: Effort) -> Result:
    """How do the costs grow with the size of a value, in memory and on the server?"""
    sizes = effort.of((100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000), (100, 10_000, 1_000_000))
    columns = (
        Column("memory: set, µs", 1, "low"), Column("get, µs", 2, "low"),
        Column("server: set, µs", 1, "low"), Column("get, µs ", 1, "low"), Column("invalidate, µs", 1, "low"),
    )  # fmt: skip
    rows = []
    settings = Settings(redis_url=f"redis://127.0.0.1:{server.port}", max_value_bytes=_MAX_BYTES)
    async with _in_memory() as cache, Cache(settings) as remote:
        for size in sizes:
            value, count = (
                {"body": random.Random(size).randbytes(size // 2).hex()},
                max(3, min(_SAMPLES, 20_000_000 // size)),
            )
            ids = [f"d{number}" for number in range(count)]
            cells = []
            for store, extra in ((cache, {}), (remote, {"use_memory": False})):
                sets = [lambda i=i, s=store: s.set(_TYPE, i, value, _TENANT) for i in ids]
                gets = [lambda i=i, s=store, e=extra: s.get(_TYPE, i, _TENANT, **e) for i in ids]
                cells += [await _us(sets), await _us(gets)]
            ends = [lambda i=i: remote.invalidate(_TENANT, _TYPE, i) for i in ids]
            rows.append(Row(f"{size:,} bytes", (*cells, await _us(ends)), "ours"))
            server.flush()
    notes = (
        "Cache.set, Cache.get (on the server with use_memory=False), Cache.invalidate of one entry",
        "a dict with one text of hexadecimal digits: each hit is a copy; the server's processor time is not in it",
    )
    return Result((Table("Size of a value", columns, tuple(rows), notes),))


_LARGE: Final = 10_000_000
_NAMES: Final = ("redis-py", "cashews", "aiocache")
_LARGE_COLUMNS: Final = (
    Column("alone p50, ms", 2, "low"), Column("p99, ms", 2, "low"),
    Column("reads p99, ms", 2, "low"), Column("longest", 1, "low"),
    Column("writes p99, ms", 2, "low"), Column("longest ", 1, "low"),
)  # fmt: skip


class _Remote:
    """`Cache.get(use_memory=False)` and `Cache.set`, with room for large values."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def get(self, key: str) -> Any:
        return await self._cache.get(_TYPE, key, _TENANT, use_memory=False)

    async def set(self, key: str, value: Any) -> None:
        await self._cache.set(_TYPE, key, value, _TENANT)


async def large(server: Server, effort: Effort) -> Result:
    """What do small reads wait for beside a value of 10 MB that is read, or written, again and again?"""
    size, seconds = effort.of(_LARGE, 1_000_000), effort.of(2.0, 0.4)
    field = invited(REDIS, _NAMES)
    settings = Settings(redis_url=f"redis://127.0.0.1:{server.port}", max_value_bytes=_MAX_BYTES)
    rows = []
    async with opened(field, Place(_source, server.path, port=server.port)) as rivals, Cache(settings) as cache:
        stores: dict[str, Any] = {"alacena, Cache.get(use_memory=False)": _Remote(cache), **rivals}
        for name, store in stores.items():
            cells = await _beside(store, name, random.Random(size).randbytes(size), seconds)
            rows.append(Row(name, cells, "peer" if name in rivals else "ours"))
    notes = (
        f"{size:,} random bytes; 10 callers of small reads, one task that reads or writes the large value without a pause",
        f"ours: one connection, max_value_bytes={_MAX_BYTES:,}; {settings_of(field.present)}",
        *field.note,
    )
    return Result((Table(f"Small reads beside a value of {size:,} bytes", _LARGE_COLUMNS, tuple(rows), notes),))


async def _beside(rival: Any, name: str, value: bytes, seconds: float) -> tuple[float, ...]:
    large, small = f"{name}.large", f"{name}.small"
    await rival.set(small, _TEXT)
    await rival.set(large, value)
    assert await rival.get(large) == value
    alone = await _waits_ms(rival, small, seconds, None)
    reads = await _waits_ms(rival, small, seconds, lambda: rival.get(large))
    writes = await _waits_ms(rival, small, seconds, lambda: rival.set(large, value))
    return (
        statistics.median(alone), percentile(alone, 0.99),
        percentile(reads, 0.99), max(reads), percentile(writes, 0.99), max(writes),
    )  # fmt: skip


async def _waits_ms(
    rival: Any, key: str, seconds: float, trouble: Callable[[], Awaitable[object]] | None
) -> list[float]:
    waits_ms: list[float] = []
    until = time.perf_counter() + seconds

    async def small() -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            await rival.get(key)
            waits_ms.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(0.001)

    async def big() -> None:
        while trouble is not None and time.perf_counter() < until:
            await trouble()

    await asyncio.gather(big(), *(small() for _ in range(10)))
    return waits_ms


async def _source(_: str) -> Any:
    return None


GROUPS: Final = {one.__name__: one for one in (entries, tenants, tags, keys, values, large)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=GROUPS, metavar="NAME", help="one of them; may be repeated")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    results: dict[str, Result] = {}
    with Server() as server:
        for name in options.only or GROUPS:
            server.flush()
            results[name] = asyncio.run(GROUPS[name](server, QUICK if options.quick else FULL))
            show_result(console, name, (GROUPS[name].__doc__ or "").strip(), results[name])
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
