"""What does a write cost: into this process's memory, and of many at once to a server?

In memory only: multiples of awaiting a coroutine that does one dict look-up, in processor time, the floor measured in turn
with each. To the server: one call with 1,000 documents, the contenders in turn.
"""

from __future__ import annotations

import gc
import time
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from alacena import Cache, Settings
from proving.figures.statistics import Spread, ratio, spread
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import REDIS, invited, settings_of
from proving.rivals.rival import Place
from proving.stand.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.rivals.rival import Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

_BATCH = 1_000
_TENANT = "acme"
_SET, _SET_MANY = "Cache.set", "Cache.set_many, an entry"
_TO_SERVER = "alacena, CacheManager.set_many"
_PEER = "aiocache"
_FLOORS = (Column("floors", 1, "low"), Column("µs of CPU", 1, "low"))
_TIMES = (Column(f"times {_PEER}", 2, "low"), Column("ms", 1, "low"))


class _Cost(NamedTuple):
    """Seconds of processor time: of a call, and of the floor meanwhile."""

    call_s: float
    floor_s: float


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody."""
    async with Cache(Settings()) as cache:
        in_memory = await interleaved(_in_memory(cache), effort.of(15, 7))
    field = invited(REDIS, ("alacena", _PEER, "cashews"))
    for rival in field.present.values():
        await rival.open(Place(_source, server.path, entries=10 * _BATCH))
    to_server = await interleaved({n: _sent(server, rival) for n, rival in field.present.items()}, effort.rounds)
    for rival in field.present.values():
        await rival.close()
    floors = {
        name: ratio([one.call_s for one in costs], [one.floor_s for one in costs]) for name, costs in in_memory.items()
    }
    rows = [
        Row(name, (floors[name], spread([one.call_s for one in costs]).times(1e6)), "ours")
        for name, costs in in_memory.items()
    ]
    times = _times(to_server)
    sent = [
        Row(
            _TO_SERVER if is_ours else name, (times.get(name), spread(took_s).times(1e3)), "ours" if is_ours else "peer"
        )
        for name, took_s in to_server.items()
        for is_ours in (name == "alacena",)
    ]
    notes = (settings_of(field.present), *field.note)
    bars = [
        judged("write into memory: set", floors[_SET].median, bar=110, unit=" floors"),
        judged("write into memory: set_many, an entry", floors[_SET_MANY].median, bar=80, unit=" floors"),
    ]
    if times:
        bars.append(judged("set_many of 1,000 to the server", times["alacena"].median, bar=1.6, unit=f" × {_PEER}"))
    return Result(
        (
            Table("A write, memory only", _FLOORS, tuple(rows), ("texts of 100 characters, every key new",), charted=0),
            Table(f"{_BATCH:,} documents to the server in one call", _TIMES, tuple(sent), notes, charted=1),
        ),
        tuple(bars),
    )


def _times(took_s: dict[str, list[float]]) -> dict[str, Spread]:
    if _PEER not in took_s:
        return {}
    return {name: ratio(samples, took_s[_PEER]) for name, samples in took_s.items()}


def _in_memory(cache: Cache) -> dict[str, Callable[[], Awaitable[_Cost]]]:
    turns = count()

    async def singles() -> _Cost:
        values = _texts(next(turns))
        floor_s = await _floor_s()
        began = time.process_time()
        for resource_id, value in values.items():
            await cache.set("document", resource_id, value, _TENANT)
        return _Cost((time.process_time() - began) / _BATCH, floor_s)

    async def many() -> _Cost:
        values = _texts(next(turns))
        floor_s = await _floor_s()
        began = time.process_time()
        await cache.set_many("document", values, _TENANT)
        return _Cost((time.process_time() - began) / _BATCH, floor_s)

    return {_SET: singles, _SET_MANY: many}


def _texts(turn: int) -> dict[str, str]:
    return {f"document-{turn:04}-{number:06}": f"{number:0100}" for number in range(_BATCH)}


async def _floor_s() -> float:
    table = dict.fromkeys(range(_BATCH))

    async def look(key: int) -> object:
        return table.get(key)

    began = time.process_time()
    for key in range(20_000):
        await look(key)
    return (time.process_time() - began) / 20_000


def _sent(server: Server, rival: Rival) -> Callable[[], Awaitable[float]]:
    documents = {
        f"document-{n:09}": {"id": n, "title": f"title {n}", "pages": [n, n + 1], "ok": True} for n in range(_BATCH)
    }

    async def send() -> float:
        gc.collect()
        began = time.perf_counter()
        await rival.set_many(documents)
        return time.perf_counter() - began

    return send


async def _source(_: str) -> object:
    return None
