"""One of 1,000 documents is edited: do exactly the answers disappear that were made from it, and at what cost?

10,000 answers, each made from three documents drawn by lot. Beside it: cashews' tags, which keep a set of keys a tag.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from alacena import CacheManager, configure, invalidate_document_update
from alacena.common import runtime
from proving.figures.statistics import spread
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.stand.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proving.figures.tables import Cell
    from proving.stand.effort import Effort
    from proving.stand.server import Server

    Answers = Mapping[str, tuple[int, ...]]

_DOCUMENTS = 1_000
_MADE_FROM = 3
_SEED = 7
_TENANT = "acme"
_AT_ONCE = 128
_COUNTED = 0
_PATIENCE_S = 10.0
_COLUMNS = (
    Column("ms an edit", 2, "low"),
    Column("round trips", 1, "low"),
    Column("commands", 1, "low"),
    Column("answers made from it", 1),
    Column("gone", 1),
    Column("kept though made from it", 0, "low"),
    Column("gone though not", 0, "low"),
)


class Edit(NamedTuple):
    """How one edit went."""

    took_s: float
    round_trips: int
    commands: int
    concerned: int
    gone: int
    kept_wrongly: int
    gone_wrongly: int


class Side(Protocol):
    """A cache that knows what its answers were made from."""

    async def open(self, url: str) -> None:
        """Connect."""

    async def fill(self, answer: str, documents: tuple[int, ...]) -> None:
        """Keep an answer that was made from some documents."""

    async def edit(self, document: int) -> None:
        """The document was edited."""

    async def present(self, answers: list[str]) -> set[str]:
        """Which answers it would still give."""
        ...

    async def close(self) -> None:
        """Disconnect."""


class Ours(Side):
    """Generations: one a document."""

    async def open(self, url: str) -> None:
        # Patient, since this is about what is there: an answer given up on a busy machine would count as gone.
        configure(redis_url=url, redis_budget_s=_PATIENCE_S, redis_timeout_s=_PATIENCE_S)
        await CacheManager.initialize()

    async def fill(self, answer: str, documents: tuple[int, ...]) -> None:
        cache = await runtime.opened()
        await cache.set("query_result", answer, {"answer": answer}, _TENANT, document_ids=map(str, documents))

    async def edit(self, document: int) -> None:
        await invalidate_document_update(_TENANT, str(document))

    async def present(self, answers: list[str]) -> set[str]:
        return set(await CacheManager.get_many("query_result", answers, _TENANT))

    async def close(self) -> None:
        await CacheManager.close()


class Tags(Side):
    """cashews: a set of keys a tag."""

    async def open(self, url: str) -> None:
        from proving.rivals.cashews import OnRedis
        from proving.rivals.rival import Place

        self._rival = OnRedis()
        await self._rival.open(Place(_nothing, url.removeprefix("unix://")))
        self._cache = self._rival.cache
        self._cache.register_tag("document:{document}", "a{answer}")

    async def fill(self, answer: str, documents: tuple[int, ...]) -> None:
        tags = [f"document:{document}" for document in documents]
        await self._cache.set(answer, {"answer": answer}, expire=3600, tags=tags)

    async def edit(self, document: int) -> None:
        await self._cache.delete_tags(f"document:{document}")

    async def present(self, answers: list[str]) -> set[str]:
        found = await self._rival.get_many(answers)
        return {answer for answer, value in zip(answers, found, strict=True) if value is not None}

    async def close(self) -> None:
        await self._rival.close()


async def measure(server: Server, effort: Effort) -> Result:
    """Ask both."""
    answers = _lots(effort.of(10_000, 2_000))
    edited = random.Random(_SEED).sample(range(1, _DOCUMENTS), effort.of(9, 3))
    ours = await _edits(server, Ours(), answers, edited)
    rows = [Row("alacena", _cells(ours), "ours")]
    notes = [f"{len(answers):,} answers, each made from {_MADE_FROM} of {_DOCUMENTS:,} documents"]
    try:
        rows.append(Row("cashews, tags", _cells(await _edits(server, Tags(), answers, edited))))
    except ModuleNotFoundError as error:
        notes.append(f"absent, not installed: {error.name}")
    mistakes = sum(edit.kept_wrongly + edit.gone_wrongly for edit in ours)
    return Result(
        (Table("One document edited", _COLUMNS, tuple(rows), tuple(notes), charted=0),),
        (
            judged("one document edited: answers wrongly kept or gone", mistakes, bar=0),
            judged("one document edited: answers rightly gone", sum(edit.gone for edit in ours), bar=1, higher=True),
            judged("one document edited: round trips", max(edit.round_trips for edit in ours), bar=1),
        ),
    )


async def _nothing(_: str) -> None:
    return None


async def _edits(server: Server, side: Side, answers: Answers, edited: list[int]) -> list[Edit]:
    """Fill, then edit: once through the relay, to count round trips, the other times to see how long it takes."""
    server.flush()
    with Relay(server.path) as relay:
        await side.open(relay.url)
        names = list(answers)
        for start in range(0, len(names), _AT_ONCE):
            await asyncio.gather(*(side.fill(name, answers[name]) for name in names[start : start + _AT_ONCE]))
        await side.present(names)
        relay.reset()
        await side.edit(_COUNTED)
        trips, commands = relay.round_trips, relay.asked
        await side.close()
    await side.open(server.url)
    there = await side.present(names)
    found = []
    for document in edited:
        edit, there = await _edit(side, answers, there, document)
        found.append(edit._replace(round_trips=trips, commands=commands))
    await side.close()
    return found


async def _edit(side: Side, answers: Answers, there: set[str], document: int) -> tuple[Edit, set[str]]:
    concerned = {name for name in there if document in answers[name]}
    began = time.perf_counter()
    await side.edit(document)
    took_s = time.perf_counter() - began
    left = await side.present(list(answers))
    gone = there - left
    kept_wrongly, gone_wrongly = len(concerned & left), len(gone - concerned)
    return Edit(took_s, 0, 0, len(concerned), len(gone), kept_wrongly, gone_wrongly), left


def _lots(count: int) -> dict[str, tuple[int, ...]]:
    chance = random.Random(_SEED)
    return {f"a{number}": tuple(chance.sample(range(_DOCUMENTS), _MADE_FROM)) for number in range(count)}


def _cells(edits: list[Edit]) -> tuple[Cell, ...]:
    return (
        spread([edit.took_s for edit in edits]).times(1e3),
        spread([edit.round_trips for edit in edits]),
        spread([edit.commands for edit in edits]),
        spread([edit.concerned for edit in edits]),
        spread([edit.gone for edit in edits]),
        sum(edit.kept_wrongly for edit in edits),
        sum(edit.gone_wrongly for edit in edits),
    )
