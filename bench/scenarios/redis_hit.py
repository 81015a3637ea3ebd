"""How fast is a hit on the server, for 1, 10, 100 and 1,000 callers at a time, and what does it cost on both sides?

A document of about 500 bytes; every read goes to the server and comes back as an object. The callers are tasks of one
process, each asking again as soon as it has its answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.figures.statistics import Spread, ratio, spread
from bench.figures.tables import Bar, Column, Result, Row, Table, judged, unjudged
from bench.rivals import REDIS, invited
from bench.rivals.rival import Place
from bench.stand.rounds import Stopwatch, interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.rivals.rival import Rival
    from bench.stand.effort import Effort
    from bench.stand.server import Server

LOOPS = ("asyncio", "uvloop")

OURS = "alacena"
FLOOR = "bare"
_CALLERS = (1, 10, 100, 1000)
_READS = {1: 1_000, 10: 4_000, 100: 10_000, 1000: 10_000}
_SLOW = {"redis-py": 5, "coredis": 5, "cashews": 5, "aiocache": 5, "valkey-glide": 2, "dogpile": 20}
"""How many times fewer reads a contender makes, so that all take about as long."""

_KEYS = tuple(f"d{number}" for number in range(16))
_DOCUMENT = {
    "id": "d1",
    "title": "Manual of the boiler, second edition",
    "pages": list(range(20)),
    "score": 0.5,
    "tags": ["heating", "manual"],
    "body": "Close the valve before you open the drain. " * 8,
}
_COLUMNS = (
    Column("of bare", 2, "high"),
    Column("k hits/s", 1, "high"),
    Column("µs CPU here", 1, "low"),
    Column("µs CPU server", 1, "low"),
    Column("with", 0),
)


class Sample(NamedTuple):
    """One round of one contender."""

    per_s: float
    cpu_us: float
    server_us: float


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody with each number of callers."""
    field = invited(REDIS, [name for name in REDIS if name != "dogpile"])
    for rival in field.present.values():
        await rival.open(Place(_source, server.path))
        for key in _KEYS:
            await rival.set(key, _DOCUMENT)
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    tables, bars = [], []
    try:
        for callers in effort.of(_CALLERS, (1, 100)):
            found = await interleaved(_contenders(server, field.present, callers, effort), effort.rounds)
            title = f"Hits on the server, {callers:,} caller{'s' * (callers > 1)} ({loop})"
            tables.append(_table(title, found, field.present, field.note))
            bars += _bars(found, callers, loop)
    finally:
        for rival in field.present.values():
            await rival.close()
    return Result(tuple(tables), tuple(bars))


async def _source(_: str) -> Any:
    return _DOCUMENT


def _contenders(
    server: Server, rivals: dict[str, Rival], callers: int, effort: Effort
) -> dict[str, Callable[[], Awaitable[Sample]]]:
    def contender(name: str, rival: Rival) -> Callable[[], Awaitable[Sample]]:
        reads = _READS[callers] // _SLOW.get(name, 1) // effort.of(1, 2)
        return lambda: _sample(server, rival, callers, max(1, reads // callers))

    return {name: contender(name, rival) for name, rival in rivals.items()}


async def _sample(server: Server, rival: Rival, callers: int, each: int) -> Sample:
    async def caller(number: int) -> None:
        for turn in range(each):
            function, arguments, _ = asks[(number + turn) % len(asks)]
            await function(*arguments)

    asks = [rival.hit(key) for key in _KEYS]
    before_s = server.cpu_s()
    with Stopwatch() as watch:
        await asyncio.gather(*(caller(number) for number in range(callers)))
    reads = callers * each
    return Sample(reads / watch.wall_s, watch.cpu_s / reads * 1e6, (server.cpu_s() - before_s) / reads * 1e6)


def _table(title: str, found: dict[str, list[Sample]], rivals: dict[str, Rival], notes: tuple[str, ...]) -> Table:
    rows = []
    for name, samples in found.items():
        cells = (
            _of(found, name, FLOOR),
            spread([sample.per_s for sample in samples]).times(1e-3),
            spread([sample.cpu_us for sample in samples]),
            spread([sample.server_us for sample in samples]),
            rivals[name].about,
        )
        rows.append(Row(name, cells, "ours" if name.startswith(OURS) else "floor" if name == FLOOR else "peer"))
    return Table(title, _COLUMNS, tuple(rows), notes, charted=0)


def _of(found: dict[str, list[Sample]], above: str, below: str) -> Spread:
    return ratio([sample.per_s for sample in found[above]], [sample.per_s for sample in found[below]])


def _bars(found: dict[str, list[Sample]], callers: int, loop: str) -> list[Bar]:
    peers = [name for name in found if name != FLOOR and not name.startswith(OURS)]
    floor = _of(found, OURS, FLOOR).median
    bars = []
    if callers == 1:
        question = f"hit on the server, 1 caller, of the best peer ({loop})"
        if peers:
            bars.append(judged(question, min(_of(found, OURS, p).median for p in peers), bar=3, higher=True, unit="×"))
        else:
            bars.append(unjudged(question, "≥ 3×", "–", "no peer is installed"))
    if callers == 100:
        for peer in ("cashews", "aiocache"):
            question = f"hit on the server, 100 callers, of {peer} ({loop})"
            if peer in found:
                bars.append(judged(question, _of(found, OURS, peer).median, bar=8, higher=True, unit="×"))
            else:
                bars.append(unjudged(question, "≥ 8×", "–", "not installed"))
    if callers in {1, 100}:
        question = f"hit on the server, {callers} caller{'s' * (callers > 1)}, of the bare protocol ({loop})"
        bars.append(judged(question, floor, bar=0.7, higher=True))
    return bars
