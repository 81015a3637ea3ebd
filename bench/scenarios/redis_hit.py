"""How fast is a hit on the server, for 1, 10, 100 and 1,000 callers at a time, and what does it cost on both sides?

A document of about 500 bytes; every read goes to the server and comes back as an object. The callers are tasks of one
process, each asking again as soon as it has its answer. A contender that gives up in time answers with nothing: a row
with such answers is no measure of hits. Over TCP, as services reach their server, and over a unix socket.
"""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.figures.statistics import Spread, ratio, spread
from proving.figures.tables import Bar, Column, Result, Row, Table, judged, unjudged
from proving.rivals import REDIS, filled, invited, opened, settings_of
from proving.rivals.rival import Place
from proving.stand.rounds import Stopwatch, interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.rivals.rival import Ask, Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

LOOPS = ("asyncio", "uvloop")

OURS = "alacena"
FLOOR = "bare"
_CALLERS = (1, 10, 100, 1000)
_READS = {1: 600, 10: 2_400, 100: 6_000, 1000: 6_000}
_SLOW = {"redis-py": 5, "coredis": 5, "cashews": 5, "aiocache": 5, "aiocache, defaults": 5, "valkey-glide": 2}
"""How many times fewer reads a contender makes, so that all take about as long."""

_KEYS = 1_024
_DOCUMENT = {
    "id": "d1",
    "title": "Manual of the boiler, second edition",
    "pages": list(range(20)),
    "score": 0.5,
    "tags": ["heating", "manual"],
    "body": "Close the valve before you open the drain. " * 8,
}
_SLICES = 4

_COLUMNS = (
    Column("of bare", 2, "high"),
    Column("k hits/s", 1, "high"),
    Column("µs CPU here", 1, "low"),
    Column("µs CPU server", 1, "low"),
    Column("unanswered, %", 1, "low"),
)


class Sample(NamedTuple):
    """One round of one contender, with the bare protocol in turn."""

    per_s: float
    bare_per_s: float
    cpu_us: float
    server_us: float
    unanswered: float


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody with each number of callers."""
    field = invited(REDIS, [name for name in REDIS if name != "dogpile"])
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    tables, bars = [], []
    for way, port, numbers in (("TCP", server.port, _CALLERS), ("unix socket", 0, (1, 100))):
        async with opened(field, Place(_source, server.path, port=port)):
            for name, rival in field.present.items():
                await filled(rival, dict.fromkeys(_keys(name), _DOCUMENT))
            for callers in effort.of(numbers, (1, 100) if port else ()):
                found = await interleaved(_contenders(server, field.present, callers, effort), effort.rounds)
                title = f"Hits on the server, {callers:,} caller{'s' * (callers > 1)} ({way}, {loop})"
                tables.append(_table(title, found, field.present, field.note))
                bars += _bars(found, callers, f"{way}, {loop}")
    return Result(tuple(tables), tuple(bars))


def _keys(name: str) -> list[str]:
    """Keys of a contender's own: nobody can read what another's serializer wrote."""
    return [f"{name}.{number}" for number in range(_KEYS)]


async def _source(_: str) -> Any:
    return _DOCUMENT


def _contenders(
    server: Server, rivals: dict[str, Rival], callers: int, effort: Effort
) -> dict[str, Callable[[], Awaitable[Sample]]]:
    def contender(name: str, rival: Rival) -> Callable[[], Awaitable[Sample]]:
        each = max(1, _READS[callers] // effort.of(1, 2) // _SLICES // callers)
        own, floor = (_asks(name, rival) for name, rival in ((name, rival), (FLOOR, rivals[FLOOR])))
        return lambda: _sample(server, (floor, each), (own, max(1, each // _SLOW.get(name, 1))), callers)

    return {name: contender(name, rival) for name, rival in rivals.items()}


def _asks(name: str, rival: Rival) -> list[Ask]:
    return [rival.hit(key) for key in _keys(name)]


async def _sample(server: Server, floor: tuple[list[Ask], int], own: tuple[list[Ask], int], callers: int) -> Sample:
    """Slices of the bare protocol and of the contender in turn: what slows the machine down hits both.

    Each comes with the number of reads that a caller makes in a slice.
    """
    wall_s, cpu_s, server_s, bare_s, missing = [], 0.0, 0.0, [], 0
    for turn in range(_SLICES + 1):
        with Stopwatch() as beside:
            await _rush(floor[0], callers, floor[1])
        if turn:
            bare_s.append(beside.wall_s)
        before_s = server.cpu_s()
        with Stopwatch() as watch:
            unanswered = await _rush(own[0], callers, own[1])
        if turn:
            missing += unanswered
            wall_s.append(watch.wall_s)
            cpu_s += watch.cpu_s
            server_s += server.cpu_s() - before_s
    reads, floor_reads = callers * own[1], callers * floor[1]
    return Sample(
        per_s=reads / statistics.median(wall_s),
        bare_per_s=floor_reads / statistics.median(bare_s),
        cpu_us=cpu_s / reads / _SLICES * 1e6,
        server_us=server_s / reads / _SLICES * 1e6,
        unanswered=100 * missing / reads / _SLICES,
    )


async def _rush(asks: list[Ask], callers: int, each: int) -> int:
    """Let all callers ask; how often nothing came back, because the contender gave up in time."""

    async def caller(number: int) -> int:
        unanswered = 0
        for turn in range(each):
            function, arguments, _ = asks[(number + turn * callers) % len(asks)]
            unanswered += await function(*arguments) is None
        return unanswered

    return sum(await asyncio.gather(*(caller(number) for number in range(callers))))


def _table(title: str, found: dict[str, list[Sample]], rivals: dict[str, Rival], notes: tuple[str, ...]) -> Table:
    rows = []
    for name, samples in found.items():
        cells = (
            _of_bare(samples),
            spread([sample.per_s for sample in samples]).times(1e-3),
            spread([sample.cpu_us for sample in samples]),
            spread([sample.server_us for sample in samples]),
            spread([sample.unanswered for sample in samples]),
        )
        rows.append(Row(name, cells, "ours" if name.startswith(OURS) else "floor" if name == FLOOR else "peer"))
    return Table(title, _COLUMNS, tuple(rows), (settings_of(rivals), *notes), charted=0)


def _of_bare(samples: list[Sample]) -> Spread:
    return ratio([sample.per_s for sample in samples], [sample.bare_per_s for sample in samples])


def _of(found: dict[str, list[Sample]], peer: str) -> float:
    return _of_bare(found[OURS]).median / _of_bare(found[peer]).median


def _bars(found: dict[str, list[Sample]], callers: int, where: str) -> list[Bar]:
    peers = [name for name in found if name != FLOOR and not name.startswith(OURS)]
    bars = []
    if callers == 1:
        question = f"hit on the server, 1 caller, of the best peer ({where})"
        if peers:
            best = max(_of_bare(found[peer]).median for peer in peers)
            room = f"of {1 / best:.1f} that the bare protocol has"
            bars.append(
                judged(f"{question}, {room}", _of_bare(found[OURS]).median / best, bar=3, higher=True, unit="×")
            )
        else:
            bars.append(unjudged(question, "≥ 3×", "–", "no peer is installed"))
    if callers == 100:
        for peer in ("cashews", "aiocache", "aiocache, defaults"):
            question = f"hit on the server, 100 callers, of {peer} ({where})"
            if peer in found:
                bars.append(judged(question, _of(found, peer), bar=8, higher=True, unit="×"))
            else:
                bars.append(unjudged(question, "≥ 8×", "–", "not installed"))
    if callers in {1, 100}:
        question = f"hit on the server, {callers} caller{'s' * (callers > 1)}, of the bare protocol ({where})"
        bars.append(judged(question, _of_bare(found[OURS]).median, goal=0.7, higher=True))
    return bars
