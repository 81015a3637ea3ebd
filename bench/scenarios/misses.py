"""What does a read cost that misses and loads, in memory alone and through a server, where the source itself costs nothing?

Every key is cold. In memory, one task loads key after key: multiples of awaiting a coroutine that does one dict look-up,
in processor time. On the server, 100 callers load at a time; the round trips are counted on the wire, one miss at a time,
in a pass of its own; what a contender does behind its answer is waited for before the clock stops.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from alacena import Cache, Settings
from proving.figures.statistics import ratio, spread
from proving.figures.tables import Bar, Column, Result, Row, Table, judged, unjudged
from proving.rivals import MEMORY, REDIS, invited, opened, settings_of
from proving.rivals.rival import Place
from proving.stand.asking import Cost, work_beside_floor
from proving.stand.relay import Relay
from proving.stand.rounds import Stopwatch, interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.rivals.rival import Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

FLOOR = "bare"
LOAD = "Cache.load"
ASIDE = "get_with_cache_aside"
LOAD_MANY = "Cache.load_many, an entry"
_PEER = "cashews"
_IN_MEMORY = ("cashews", "aiocache", "cachebox", "theine")
_NAMES = tuple(name for name in REDIS if "," not in name)
_CALLERS = 100
_COUNTED = 20
_BATCH = 1_000
_TENANT = "acme"
_TEXT = "An answer of some length, as a language model gives it. " * 2
_DOCUMENT = {"id": "d1", "title": "Manual", "pages": [1, 2, 3], "body": "Close the valve before you drain. " * 8}
_FLOORS = (Column("floors", 0, "low"), Column("µs of CPU", 1, "low"))
_COLUMNS = (
    Column(f"times {_PEER}", 2, "high"),
    Column("k misses/s", 2, "high"),
    Column("µs CPU here", 1, "low"),
    Column("µs CPU server", 1, "low"),
    Column("round trips a miss", 1, "low"),
    Column("commands a miss", 1, "low"),
)
_numbers = count()


class Sample(NamedTuple):
    """One round of one contender."""

    per_s: float
    cpu_us: float
    server_us: float


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody."""
    in_memory, memory_bars = await _memory(effort)
    on_server, server_bars = await _through_server(server, effort)
    return Result((in_memory, on_server), (*memory_bars, *server_bars))


async def _memory(effort: Effort) -> tuple[Table, tuple[Bar, ...]]:
    loads = effort.of(_BATCH, 300)
    field = invited(MEMORY, ("alacena", *_IN_MEMORY))
    async with Cache(Settings()) as cache, opened(field, Place(_text)) as rivals:
        contenders = {
            LOAD: _each(lambda key: cache.load("document", key, _TENANT, _loader), loads),
            LOAD_MANY: _many(cache, loads),
        }
        contenders |= {
            ASIDE if name == "alacena" else name: _each(rival.get_or_load, loads) for name, rival in rivals.items()
        }
        found = await interleaved(contenders, effort.rounds)
    floors = {
        name: ratio([one.call_s for one in costs], [one.floor_s for one in costs]) for name, costs in found.items()
    }
    rows = tuple(
        Row(
            name,
            (floors[name], spread([one.call_s for one in costs]).times(1e6)),
            "peer" if name in rivals else "ours",
        )
        for name, costs in found.items()
    )
    notes = (settings_of(rivals), "aiocache, cachebox and theine keep no lock for other processes", *field.note)
    bars = [judged("load that misses, memory only, Cache.load", floors[LOAD].median, bar=620, goal=430, unit=" floors")]
    bars.append(
        judged(
            "load that misses, memory only, Cache.load: of cashews", floors[LOAD].median / floors[_PEER].median, goal=1
        )
        if _PEER in floors
        else unjudged("load that misses, memory only, Cache.load: of cashews", "–", "≤ 1", "not installed")
    )
    return Table("A load that misses, memory only", _FLOORS, rows, notes, charted=0), tuple(bars)


def _each(load: Callable[[str], Awaitable[Any]], loads: int) -> Callable[[], Awaitable[Cost]]:
    async def work() -> None:
        for _ in range(loads):
            await load(f"m{next(_numbers):09}")

    return lambda: work_beside_floor(work, loads)


def _many(cache: Cache, loads: int) -> Callable[[], Awaitable[Cost]]:
    async def load(ids: Any) -> dict[str, str]:
        return dict.fromkeys(ids, _TEXT)

    async def work() -> None:
        await cache.load_many("document", [f"m{next(_numbers):09}" for _ in range(loads)], _TENANT, load)

    return lambda: work_beside_floor(work, loads)


async def _through_server(server: Server, effort: Effort) -> tuple[Table, tuple[Bar, ...]]:
    misses = effort.of(1_000, 400)
    field = invited(REDIS, _NAMES)
    trips = {name: await _counted(server, name) for name in field.present}
    async with opened(field, Place(_document, server.path)) as rivals:

        def contender(rival: Rival) -> Callable[[], Awaitable[Sample]]:
            return lambda: _sample(server, rival, misses)

        found = await interleaved({name: contender(rival) for name, rival in rivals.items()}, effort.rounds)
    times = {}
    if _PEER in found:
        peer = [sample.per_s for sample in found[_PEER]]
        times = {name: ratio([sample.per_s for sample in samples], peer) for name, samples in found.items()}
    rows = []
    for name, samples in found.items():
        cells = (
            times.get(name),
            spread([sample.per_s for sample in samples]).times(1e-3),
            spread([sample.cpu_us for sample in samples]),
            spread([sample.server_us for sample in samples]),
            *trips[name],
        )
        shown = f"alacena, {ASIDE}" if name == "alacena" else name
        rows.append(Row(shown, cells, "ours" if name == "alacena" else "floor" if name == FLOOR else "peer"))
    notes = (
        settings_of(field.present),
        "bare, redis-py, coredis and valkey-glide do not protect the source: every caller would load",
        "alacena stores behind its answer: the caller waits for two of its round trips",
        *field.note,
    )
    asked = f"miss and fill on the server, {ASIDE}, {_CALLERS} callers"
    own_us = spread([sample.server_us for sample in found["alacena"]]).median
    bars = (
        judged(f"{asked}: misses a second, of cashews", times["alacena"].median, bar=4, higher=True, unit="×")
        if times
        else unjudged(f"{asked}: misses a second, of cashews", "≥ 4×", "–", "not installed"),
        judged(f"{asked}: CPU of the server, an entry", own_us, bar=60, unit=" µs"),
    )
    return Table(
        f"A miss and its fill on the server, {_CALLERS} callers", _COLUMNS, tuple(rows), notes, charted=0
    ), bars


async def _text(_: str) -> Any:
    return _TEXT


async def _loader(_: Any) -> Any:
    return _TEXT


async def _document(_: str) -> Any:
    return _DOCUMENT


async def _sample(server: Server, rival: Rival, misses: int) -> Sample:
    each = max(1, misses // _CALLERS)

    async def caller() -> None:
        for _ in range(each):
            await rival.get_or_load(f"m{next(_numbers)}")

    loads = each * _CALLERS
    before_s = server.cpu_s()
    with Stopwatch() as watch:
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        await rival.settle()
    return Sample(loads / watch.wall_s, watch.cpu_s / loads * 1e6, (server.cpu_s() - before_s) / loads * 1e6)


async def _counted(server: Server, name: str) -> tuple[float, float]:
    """Round trips and commands of a miss, after a few that make connections and load scripts."""
    rival = invited(REDIS, (name,)).present[name]
    with Relay(server.path) as relay:
        await rival.open(Place(_document, relay.path))
        try:
            await _one_by_one(rival)
            relay.reset()
            await _one_by_one(rival)
            return relay.round_trips / _COUNTED, relay.asked / _COUNTED
        finally:
            await rival.close()


async def _one_by_one(rival: Rival) -> None:
    for _ in range(_COUNTED):
        await rival.get_or_load(f"m{next(_numbers)}")
        await rival.settle()
