"""How many bytes does an entry take beyond its key and value in a plain dict, here and on the server?

Each contender fills its memory in a process of its own; the growth of the resident set counts, so that nobody's
allocations are missed. The plain dict in the same process comes off.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import MEMORY, invited
from proving.rivals.rival import Place
from proving.stand.workers import Worker

if TYPE_CHECKING:
    from proving.stand.effort import Effort
    from proving.stand.server import Server
    from proving.stand.workers import Talk

_PAGE_BYTES = 4096
_ON_SERVER = 10_000
_COLUMNS = (
    Column("bytes over a dict, texts", 0, "low"),
    Column("bytes over a dict, documents", 0, "low"),
)
_SERVER_COLUMNS = (Column("bytes an entry", 0, "low"), Column("beyond SET of msgpack", 0, "low"))


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody."""
    entries = effort.of(100_000, 20_000)
    field = invited(MEMORY, [name for name in MEMORY if name != "dict"])
    rows, texts = [], 0.0
    for name in field.present:
        cells = [await _in_memory(name, entries, kind) for kind in ("text", "document")]
        texts = cells[0] if name == "alacena" else texts
        rows.append(Row(name, tuple(cells), "ours" if name == "alacena" else "peer"))
    notes = (
        "texts of 100 characters; documents: a dict of 4 fields, which alacena keeps encoded, so it may take less than the dict",
        *field.note,
    )
    return Result((
        Table(f"Memory an entry, {entries:,} entries", _COLUMNS, tuple(rows), notes, charted=0),
        await _on_server(server),
    ), (judged(f"bytes an entry over a dict, {entries:,} texts", texts, bar=260),))  # fmt: skip


def values(kind: str, entries: int) -> dict[str, Any]:
    """Distinct values by key."""
    if kind == "text":
        return {f"document-{n:09}": f"{n:0100}" for n in range(entries)}
    return {
        f"document-{n:09}": {"id": n, "title": f"title {n}", "pages": [n, n + 1], "ok": True} for n in range(entries)
    }


async def _in_memory(name: str, entries: int, kind: str) -> float:
    worker = await Worker.start("bench.scenarios.bytes_per_entry:process", name=name, entries=entries, kind=kind)
    try:
        said = await worker.hear()
        assert said is not None, f"the process of {name} ended without an answer"
        return float(said["bytes"])
    finally:
        await worker.ended()


def resident_bytes() -> int:
    """What this process holds of the machine's memory, after the allocator gave back what it could."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


async def process(talk: Talk, name: str, entries: int, kind: str) -> None:
    """Fill one contender and say what it took beyond a dict of the same keys and values.

    The values are made anew while the memory is filled and not kept otherwise: who encodes them need not hold them.
    """
    rival = invited(MEMORY, (name,)).present[name]
    await rival.open(Place(_source, entries=2 * entries))
    await rival.set("first", "value")
    started = resident_bytes()
    plain = values(kind, entries)
    dict_bytes = resident_bytes() - started
    plain.clear()
    del plain
    started = resident_bytes()
    for number in range(0, entries, 1_000):
        part = values(kind, number + 1_000) if number == 0 else _part(kind, number)
        for key, value in part.items():
            await rival.set(key, value)
        await asyncio.sleep(0)
        del part
    own_bytes = resident_bytes() - started
    await asyncio.sleep(0)
    talk.say({"bytes": (own_bytes - dict_bytes) / entries})
    await rival.close()


def _part(kind: str, start: int) -> dict[str, Any]:
    if kind == "text":
        return {f"document-{n:09}": f"{n:0100}" for n in range(start, start + 1_000)}
    return {
        f"document-{n:09}": {"id": n, "title": f"title {n}", "pages": [n, n + 1], "ok": True}
        for n in range(start, start + 1_000)
    }


async def _source(_: str) -> None:
    return None


async def _on_server(server: Server) -> Table:
    from alacena import Cache, Settings

    documents = values("document", _ON_SERVER)
    encode = msgspec.msgpack.encode
    server.flush()
    empty = server.used_bytes()
    server.ask_all([("SET", key, encode(value), "EX", 3600) for key, value in documents.items()])
    plain = (server.used_bytes() - empty) / _ON_SERVER
    server.flush()
    async with Cache(Settings(redis_url=server.url)) as cache:
        empty = server.used_bytes()
        await cache.set_many("document", documents, "acme")
        ours = (server.used_bytes() - empty) / _ON_SERVER
    rows = (Row("SET of msgpack", (plain, 0.0), "floor"), Row("alacena", (ours, ours - plain), "ours"))
    notes = ("with the server's record of who is to be told of a change",)
    return Table(f"On the server, {_ON_SERVER:,} documents", _SERVER_COLUMNS, rows, notes, charted=0)
