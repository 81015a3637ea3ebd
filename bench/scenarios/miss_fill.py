"""What does a miss cost that has to ask the source and store its answer, where the source itself costs nothing?

Every key is cold. The round trips are counted on the wire, one miss at a time, in a pass of its own; what a contender
does behind its answer is waited for before the clock stops.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.figures.statistics import ratio, spread
from proving.figures.tables import Column, Result, Row, Table
from proving.rivals import REDIS, invited, opened, settings_of
from proving.rivals.rival import Place
from proving.stand.relay import Relay
from proving.stand.rounds import Stopwatch, interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.rivals.rival import Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

FLOOR = "bare"
_NAMES = tuple(name for name in REDIS if "," not in name)
_CALLERS = 50
_COUNTED = 20
_DOCUMENT = {"id": "d1", "title": "Manual", "pages": [1, 2, 3], "body": "Close the valve before you drain. " * 8}
_COLUMNS = (
    Column("of bare", 2, "high"),
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
    misses = effort.of(2_000, 500)
    field = invited(REDIS, _NAMES)
    trips = {name: await _counted(server, name) for name in field.present}
    async with opened(field, Place(_source, server.path)) as rivals:

        def contender(rival: Rival) -> Callable[[], Awaitable[Sample]]:
            return lambda: _sample(server, rival, misses)

        found = await interleaved({name: contender(rival) for name, rival in rivals.items()}, effort.rounds)
    rows = []
    for name, samples in found.items():
        cells = (
            ratio([sample.per_s for sample in samples], [sample.per_s for sample in found[FLOOR]]),
            spread([sample.per_s for sample in samples]).times(1e-3),
            spread([sample.cpu_us for sample in samples]),
            spread([sample.server_us for sample in samples]),
            *trips[name],
        )
        rows.append(Row(name, cells, "ours" if name == "alacena" else "floor" if name == FLOOR else "peer"))
    notes = (
        settings_of(field.present),
        "bare, redis-py, coredis and valkey-glide do not protect the source: every caller would load",
        "alacena stores behind its answer: the caller waits for two of its round trips",
        *field.note,
    )
    return Result((Table(f"Misses, {_CALLERS} callers", _COLUMNS, tuple(rows), notes, charted=0),))


async def _source(_: str) -> Any:
    return _DOCUMENT


async def _sample(server: Server, rival: Rival, misses: int) -> Sample:
    async def caller() -> None:
        for _ in range(misses // _CALLERS):
            await rival.get_or_load(f"m{next(_numbers)}")

    before_s = server.cpu_s()
    with Stopwatch() as watch:
        await asyncio.gather(*(caller() for _ in range(_CALLERS)))
        await rival.settle()
    return Sample(misses / watch.wall_s, watch.cpu_s / misses * 1e6, (server.cpu_s() - before_s) / misses * 1e6)


async def _counted(server: Server, name: str) -> tuple[float, float]:
    """Round trips and commands of a miss, after a few that make connections and load scripts."""
    rival = invited(REDIS, (name,)).present[name]
    with Relay(server.path) as relay:
        await rival.open(Place(_source, relay.path))
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
