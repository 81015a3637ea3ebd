"""A thousand embeddings are asked for in one call and none is cached: when are they there, and when are they stored?

Arrays of 1,536 float32, 6 kB each, through `Cache.load_many`, which answers before all is stored. The others do what their
users would: one call for what is cached, the source, one call to store; they answer when that is done. The source answers
at once. Every round has keys of its own, and begins with an empty server and a memory that keeps copies.
"""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from alacena import Cache, Settings
from proving.figures.statistics import ratio, spread
from proving.figures.tables import Bar, Column, Result, Row, Table, judged, unjudged
from proving.rivals.bare import Bare
from proving.rivals.rival import Place
from proving.stand.readiness import until_memory_serves
from proving.stand.rounds import cpu_s, interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from proving.rivals.rival import BatchRunner
    from proving.stand.effort import Effort
    from proving.stand.server import Server

OURS, FLOOR = "alacena, Cache.load_many", "bare, arrays as bytes"
_PEER = "aiocache, pickled arrays"
_DIMENSIONS = 1_536
_TENANT = "acme"
_COLUMNS = (
    Column("answer, times aiocache", 2, "low"),
    Column("answer, ms", 1, "low"),
    Column("all stored, ms", 1, "low"),
    Column("ms CPU here", 1, "low"),
    Column("ms CPU server", 1, "low"),
)
_turns = count()


class Sample(NamedTuple):
    """One round of one contender, in seconds."""

    answer_s: float
    stored_s: float
    cpu_s: float
    server_s: float


class _Ours:
    """`Cache.load_many`, and what is stored behind its answer."""

    def __init__(self, cache: Cache, make: Callable[[Sequence[str]], dict[str, Any]]) -> None:
        self._cache = cache
        self._make = make
        # Not by `stats`, which walks through memory: asked again and again, it would be a part of what is measured.
        self._flights = cache._open_parts().flights

    async def prepare(self) -> None:
        # A flush takes the canary away. Its push comes before the answer of this look; then memory waits to be told again.
        await self._cache.get("embedding", "none", _TENANT, use_memory=False)
        await until_memory_serves(self._cache)

    async def load(self, keys: Sequence[str]) -> int:
        async def loader(ids: Any) -> dict[str, Any]:
            return self._make(ids)

        return len(await self._cache.load_many("embedding", keys, _TENANT, loader))

    async def settle(self) -> None:
        # Not by the loads: the flush before may have closed them to new callers, and they go on.
        while self._flights.tasks:
            await asyncio.sleep(0.0005)


class _Theirs:
    """A contender's `get_many`, the source, its `set_many`."""

    def __init__(self, rival: BatchRunner, make: Callable[[Sequence[str]], dict[str, Any]]) -> None:
        self._rival = rival
        self._make = make

    async def load(self, keys: Sequence[str]) -> int:
        found = await self._rival.get_many(keys)
        missing = [key for key, value in zip(keys, found, strict=True) if value is None]
        made = self._make(missing)
        await self._rival.set_many(made)
        return len(made)

    async def prepare(self) -> None:
        """Nothing is kept here."""

    async def settle(self) -> None:
        """All is stored."""


class _Bytes:
    """The bare protocol: MGET, and SETs in one write."""

    def __init__(self, rival: Bare, make: Callable[[Sequence[str]], dict[str, Any]]) -> None:
        self._rival = rival
        self._make = make

    async def load(self, keys: Sequence[str]) -> int:
        call = self._rival.protocol.call
        found = await call("MGET", *keys)
        made = self._make([key for key, value in zip(keys, found, strict=True) if value is None])
        await asyncio.gather(*(call("SET", key, value.tobytes(), "EX", 3600) for key, value in made.items()))
        return len(made)

    async def prepare(self) -> None:
        """Nothing is kept here."""

    async def settle(self) -> None:
        """All is stored."""


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody."""
    import numpy as np

    arrays = effort.of(1_000, 200)
    rows_of = np.random.default_rng(5).standard_normal((arrays, _DIMENSIONS), dtype=np.float32)

    def make(keys: Sequence[str]) -> dict[str, Any]:
        return {key: rows_of[int(key.rpartition(".")[2])] for key in keys}

    rivals, absent = _rivals()
    place = Place(_no_source, server.path, port=server.port)
    for rival in rivals.values():
        await rival.open(place)
    async with Cache(Settings(redis_url=place.url)) as cache:
        flows: dict[str, Any] = {OURS: _Ours(cache, make)}
        for name, rival in rivals.items():
            flows[name] = _Bytes(rival, make) if isinstance(rival, Bare) else _Theirs(rival, make)
        found = await interleaved({name: _timed(server, flow, arrays) for name, flow in flows.items()}, effort.rounds)
    for rival in rivals.values():
        await rival.close()
    notes = (f"{arrays:,} arrays of {_DIMENSIONS:,} float32; over TCP", *absent)
    title = f"{arrays:,} cold arrays in one call"
    return Result((Table(title, _COLUMNS, _rows(found), notes, charted=0),), _bars(found, arrays))


def _rivals() -> tuple[dict[str, Any], tuple[str, ...]]:
    rivals: dict[str, Any] = {FLOOR: Bare()}
    absent = []
    try:
        from proving.rivals import aiocache

        rivals[_PEER] = aiocache.Pickled()
    except ModuleNotFoundError as error:
        absent.append(f"absent, not installed: {error.name}")
    try:
        from proving.rivals import cashews

        rivals["cashews, pickled arrays"] = cashews.OnRedis()
    except ModuleNotFoundError as error:
        absent.append(f"absent, not installed: {error.name}")
    return rivals, tuple(absent)


def _timed(server: Server, flow: Any, arrays: int) -> Callable[[], Awaitable[Sample]]:
    async def timed() -> Sample:
        server.flush()
        await flow.prepare()
        turn = next(_turns)
        keys = [f"text-{turn}.{number}" for number in range(arrays)]
        before_s, worked_s, began = server.cpu_s(), cpu_s(), time.perf_counter()
        loaded = await flow.load(keys)
        answer_s = time.perf_counter() - began
        await flow.settle()
        stored_s = time.perf_counter() - began
        assert loaded == arrays
        return Sample(answer_s, stored_s, cpu_s() - worked_s, server.cpu_s() - before_s)

    return timed


def _rows(found: dict[str, list[Sample]]) -> tuple[Row, ...]:
    rows = []
    for name, samples in found.items():
        times = None
        if _PEER in found:
            times = ratio([sample.answer_s for sample in samples], [sample.answer_s for sample in found[_PEER]])
        figures = [spread([sample[place] for sample in samples]).times(1e3) for place in range(4)]
        rows.append(Row(name, (times, *figures), "ours" if name == OURS else "floor" if name == FLOOR else "peer"))
    return tuple(rows)


def _bars(found: dict[str, list[Sample]], arrays: int) -> tuple[Bar, ...]:
    asked = f"{arrays:,} cold arrays, Cache.load_many"
    server_ms = spread([sample.server_s for sample in found[OURS]]).times(1e3 * 1_000 / arrays).median
    judged_server = judged(f"{asked}: CPU of the server, for 1,000", server_ms, bar=60, unit=" ms")
    if _PEER not in found:
        return (unjudged(f"{asked}: answer, of aiocache's time", "≤ 1", "–", "not installed"), judged_server)
    times = ratio([sample.answer_s for sample in found[OURS]], [sample.answer_s for sample in found[_PEER]])
    return (judged(f"{asked}: answer, of aiocache's time", times.median, bar=1), judged_server)


async def _no_source(_: str) -> None:
    return None
