"""An ingestion ends the documents of 10,000 chunks: what does it cost, and which answers made meanwhile are lost to it?

Each chunk invalidates its document, as an ingestion does that knows nothing of caches; what is said in one turn of the
loop leaves together. Meanwhile answers are made from documents that their loaders name when they are done. Only those
whose document was ended while they were made may be refused. The control refuses every answer during which anything
ended: what a cache has to do that does not know which.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

from alacena import CacheManager, configure, invalidate_document_update
from alacena.common import runtime
from alacena.engine.base.events import FillRefused
from bench.scenarios.lineage import Ours, Tags
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.stand.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena import LoadContext
    from alacena.engine.base.events import Event
    from bench.scenarios.lineage import Side
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort
    from proving.stand.server import Server

_TENANT = "acme"
_SEED = 17
_INGESTED = 50
_DOCUMENTS = 1_000
_MADE_FROM = 3
_WORKERS = 16
_TAKES_S = 0.05
_EVERY_S = 0.002
_COSTS = (
    Column("ms", 1, "low"),
    Column("µs a chunk", 1, "low"),
    Column("commands", 0, "low"),
    Column("round trips", 0, "low"),
)
_LOSSES = (
    Column("answers made meanwhile", 0),
    Column("stored", 0, "high"),
    Column("refused", 0, "low"),
    Column("refused though nothing of theirs ended", 0, "low"),
    Column("kept though a document ended", 0, "low"),
)


class Making(NamedTuple):
    """One answer: from which documents, and from when to when its loader ran."""

    documents: tuple[str, ...]
    began: float
    ended: float


class Refusals:
    """Notes which fills were refused, and when."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def observe(self, event: Event) -> None:
        """One event of the cache."""
        if isinstance(event, FillRefused):
            self.at[event.resource_id] = time.perf_counter()


async def measure(server: Server, effort: Effort) -> Result:
    """What it costs, and what is lost."""
    total = effort.of(10_000, 1_000)
    chunks = [number * _INGESTED // total for number in range(total)]
    notes = [f"{total:,} chunks of {len(set(chunks))} documents"]
    rows = [
        Row("alacena, all at once", await _cost(server, Ours(), chunks, len(chunks)), "ours"),
        Row(f"alacena, {_WORKERS} workers", await _cost(server, Ours(), chunks, _WORKERS), "ours"),
    ]
    try:
        rows.append(Row(f"cashews, tags, {_WORKERS} workers", await _cost(server, Tags(), chunks, _WORKERS)))
    except ModuleNotFoundError as error:
        notes.append(f"absent, not installed: {error.name}")
    answers = effort.of(500, 100)
    exact = await _losses(server, answers)
    with patch("alacena.engine.remote.redis.store_sender.tells_of", lambda _name, since, *_: bool(since)):
        blunt = await _losses(server, answers)
    losses = Table(
        "Answers made during an ingestion",
        _LOSSES,
        (Row("alacena", exact, "ours"), Row("any ending refuses", blunt, "floor")),
        (
            f"answers from {_MADE_FROM} of {_DOCUMENTS:,} documents in {_TAKES_S * 1e3:.0f} ms each, named at the end; a "
            f"document every {_EVERY_S * 1e3:g} ms or so is ended; seed {_SEED}",
        ),
        charted=2,
    )
    return Result(
        (Table("The documents of many chunks ended", _COSTS, tuple(rows), tuple(notes), charted=1), losses),
        (
            judged("ingestion: answers refused though nothing of theirs ended", float(str(exact[3])), bar=0),
            judged("ingestion: answers kept though a document ended", float(str(exact[4])), bar=0),
            judged("ingestion at once: commands", float(str(rows[0].cells[2])), bar=4 * len(set(chunks))),
        ),
    )


async def _cost(server: Server, side: Side, chunks: list[int], at_once: int) -> tuple[Cell, ...]:
    """Once through the relay, to count, and once to see how long it takes."""
    server.flush()
    with Relay(server.path) as relay:
        await side.open(relay.url)
        await _filled(side, chunks)
        relay.reset()
        await _ingest(side, chunks, at_once)
        trips, commands = relay.round_trips, relay.asked
        await side.close()
    server.flush()
    await side.open(server.url)
    await _filled(side, chunks)
    began = time.perf_counter()
    await _ingest(side, chunks, at_once)
    took_s = time.perf_counter() - began
    await side.close()
    return took_s * 1e3, took_s / len(chunks) * 1e6, commands, trips


async def _filled(side: Side, chunks: list[int]) -> None:
    for document in dict.fromkeys(chunks):
        await side.fill(f"a{document}", (document,))


async def _ingest(side: Side, chunks: list[int], at_once: int) -> None:
    left = iter(chunks)

    async def work() -> None:
        for document in left:
            await side.edit(document)

    await asyncio.gather(*(work() for _ in range(at_once)))


async def _losses(server: Server, count: int) -> tuple[Cell, ...]:
    """Make answers while documents end, and see which were refused."""
    server.flush()
    refusals = Refusals()
    configure(redis_url=server.url, observers=[refusals])
    await CacheManager.initialize()
    cache = await runtime.opened()
    edits: dict[str, list[tuple[float, float]]] = {}
    made: dict[str, Making] = {}
    ingestion = asyncio.create_task(_end_one_after_the_other(edits))
    names = iter([f"q{number}" for number in range(count)])
    chance = random.Random(_SEED)

    async def work() -> None:
        for name in names:
            documents = tuple(f"d{number}" for number in chance.sample(range(_DOCUMENTS), _MADE_FROM))
            await cache.load("query_result", name, _TENANT, _loader(name, documents, made))

    await asyncio.gather(*(work() for _ in range(_WORKERS)))
    while cache.stats()["flights"]:
        await asyncio.sleep(0.001)
    ingestion.cancel()
    await asyncio.wait([ingestion])
    await CacheManager.close()
    return _weighed(made, edits, refusals.at)


async def _end_one_after_the_other(edits: dict[str, list[tuple[float, float]]]) -> None:
    for number in itertools.count():
        document = f"d{number % _DOCUMENTS}"
        began = time.perf_counter()
        await invalidate_document_update(_TENANT, document)
        edits.setdefault(document, []).append((began, time.perf_counter()))
        await asyncio.sleep(_EVERY_S)


def _loader(name: str, documents: tuple[str, ...], made: dict[str, Making]) -> Callable[[LoadContext], Any]:
    async def load(context: LoadContext) -> str:
        began = time.perf_counter()
        await asyncio.sleep(_TAKES_S)
        context.depends_on(documents)
        made[name] = Making(documents, began, time.perf_counter())
        return name

    return load


def _weighed(
    made: dict[str, Making], edits: dict[str, list[tuple[float, float]]], refused: dict[str, float]
) -> tuple[Cell, ...]:
    """How many were refused, rightly or not. Ended for certain is what ended while the loader ran, call and answer."""

    def ended(making: Making, until: float) -> bool:
        return any(
            began < until and done > making.began
            for document in making.documents
            for began, done in edits.get(document, ())
        )

    def surely_ended(making: Making) -> bool:
        return any(
            making.began < began and done < making.ended
            for document in making.documents
            for began, done in edits.get(document, ())
        )

    needlessly = sum(not ended(making, refused[name]) for name, making in made.items() if name in refused)
    wrongly = sum(surely_ended(making) for name, making in made.items() if name not in refused)
    return len(made), len(made) - len(refused), len(refused), needlessly, wrongly
