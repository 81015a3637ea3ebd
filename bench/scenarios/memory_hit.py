"""What does a hit in this process's memory cost, in multiples of awaiting a coroutine that does one dict look-up?

One key, read again and again by one task. Each contender is called as its users call it: the synchronous ones without
await. The floor is measured in turn with each of them, in slices of milliseconds, so that a slow machine falls out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alacena import CacheManager, configure, get_with_cache_aside
from alacena.engine import Policy
from proving.figures.statistics import Spread, ratio, spread
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import MEMORY, invited
from proving.rivals.rival import Ask, Place
from proving.stand.asking import Pair, beside
from proving.stand.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.stand.effort import Effort
    from proving.stand.server import Server

FLOOR = "await of a dict look-up"
GET = "CacheManager.get, immutable"
ASIDE = "get_with_cache_aside, immutable"

_TENANT = "acme"
_TEXT = "An answer of some length, as a language model gives it. " * 10
_DOCUMENT = {"id": "d1", "title": "Manual", "pages": [1, 2, 3], "score": 0.5, "tags": ["a", "b"], "body": _TEXT}
_COLUMNS = (Column("floors", 2, "low"), Column("ns a hit", 0, "low"))


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody."""
    repeat = effort.of(50_000, 10_000)
    field = invited(MEMORY, [name for name in MEMORY if name != "alacena"])
    await _open_ours(server)
    gets: dict[str, tuple[Ask, str]] = {}
    loads: dict[str, tuple[Ask, str]] = {}
    for name, rival in field.present.items():
        await rival.open(Place(_source))
        await rival.set("d1", _TEXT)
        await rival.get_or_load("d1")
        gets[name] = (rival.hit("d1"), rival.about)
        if name not in {"dict", "cachetools"}:
            loads[name] = (rival.loaded_hit("d1"), rival.about)
    floor, _ = gets.pop("dict")
    found = await interleaved(_timed(floor, {**_ours(), **gets}, repeat), effort.rounds)
    aside = await interleaved(_timed(floor, {**_our_loads(), **loads}, repeat // 4), effort.rounds)
    await CacheManager.close()
    for rival in field.present.values():
        await rival.close()
    tables = (
        _table("A hit in memory: get", found, {**_ours(), **gets}, field.note),
        _table("A hit in memory: get or load", aside, {**_our_loads(), **loads}, ()),
    )
    return Result(
        tables,
        (
            judged("memory hit, CacheManager.get", _floors(found[GET]).median, bar=5, goal=4.3, unit=" floors"),
            judged("memory hit, get_with_cache_aside", _floors(aside[ASIDE]).median, bar=9, goal=8, unit=" floors"),
        ),
    )


async def _source(_: str) -> Any:
    return _TEXT


async def _open_ours(server: Server) -> None:
    configure(redis_url=server.url, policies={"shared": Policy(shared=True), "copied": Policy()})
    await CacheManager.initialize()
    for data_type, value in (("text", _TEXT), ("shared", _DOCUMENT), ("copied", _DOCUMENT)):
        await CacheManager.set(data_type, "d1", value, _TENANT)
    await CacheManager.set("text", "d1", _TEXT, _TENANT, "agent", None, "manuals")


def _ours() -> dict[str, tuple[Ask, str]]:
    get = CacheManager.get
    return {
        GET: (Ask(get, ("text", "d1", _TENANT)), "text"),
        "CacheManager.get, scoped": (Ask(get, ("text", "d1", _TENANT, "agent", None, "manuals")), "text, agent + collection"),
        "CacheManager.get, shared": (Ask(get, ("shared", "d1", _TENANT)), "a dict that its policy shares"),
        "CacheManager.get, copied": (Ask(get, ("copied", "d1", _TENANT)), "a private copy of a dict"),
    }  # fmt: skip


def _our_loads() -> dict[str, tuple[Ask, str]]:
    load = get_with_cache_aside
    return {
        ASIDE: (Ask(load, ("text", "d1", _TENANT, _source)), "text, and the metrics of the read"),
        "get_with_cache_aside, copied": (Ask(load, ("copied", "d1", _TENANT, _source)), "a private copy of a dict"),
    }


def _timed(floor: Ask, asks: dict[str, tuple[Ask, str]], repeat: int) -> dict[str, Callable[[], Awaitable[Pair]]]:
    def timed(ask: Ask) -> Callable[[], Awaitable[Pair]]:
        return lambda: beside(floor, ask, repeat)

    return {name: timed(ask) for name, (ask, _) in asks.items()}


def _floors(pairs: list[Pair]) -> Spread:
    return ratio([pair.call_s for pair in pairs], [pair.floor_s for pair in pairs])


def _table(title: str, found: dict[str, list[Pair]], asks: dict[str, tuple[Ask, str]], notes: tuple[str, ...]) -> Table:
    ours = {*_ours(), *_our_loads()}
    floor = spread([pair.floor_s for pairs in found.values() for pair in pairs]).times(1e9)
    rows = [Row(FLOOR, (1.0, floor), "floor")]
    for name in asks:
        cells = (_floors(found[name]), spread([pair.call_s for pair in found[name]]).times(1e9))
        rows.append(Row(name, cells, "ours" if name in ours else "peer"))
    about = "with: " + "; ".join(f"{name}: {what}" for name, (_, what) in asks.items())
    return Table(title, _COLUMNS, tuple(rows), (about, *notes), charted=0)
