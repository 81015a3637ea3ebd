"""How long does the loop stand still with a million entries, or a hundred thousand tenants, in memory?

One process fills its memory and is then scraped, invalidated and left to expire. Each step of the event loop is timed in
the processor time of its thread; what the garbage collector took of it comes off, and is a figure of its own. Plain dicts
and other caches of as many texts stand beside a full collection. Memory only: no server takes part.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from alacena import Cache, Settings
from bench.scenarios.bytes_per_entry import resident_bytes
from proving.figures.tables import Bar, Column, Result, Row, Table, judged
from proving.rivals import MEMORY, invited
from proving.rivals.rival import Place
from proving.stand.workers import Worker

if TYPE_CHECKING:
    from asyncio.events import Handle
    from collections.abc import Iterator

    from proving.stand.effort import Effort
    from proving.stand.server import Server
    from proving.stand.workers import Talk

_PEERS = ("dict", "cachebox", "cachetools", "theine")
_AT_ONCE = 20
_IN_ONE_CALL = 1_000
_ROOM_BYTES = 1 << 34
_IDLE_S, _AFTER_S = 2.0, 1.0
_LIFE_S, _TENANTS_LIFE_S = (40.0, 3.0), (25.0, 3.0)
"""Full and quick: longer than it takes to fill."""

_LONGER = 1.25
"""By how much a life may be longer than was asked for: lives are spread."""

_KEEPS, _ENDS, _MANY = "keeps", "ends", "many"
_CAUSES = {
    "fill": f"fill, Cache.set_many of {_AT_ONCE}",
    "many": f"fill, Cache.set_many of {_IN_ONE_CALL:,} in one call",
    "idle": f"nothing is asked for {_IDLE_S:g} s: the snapshot is taken",
    "stats": "Cache.stats()",
    "snapshot": "Cache.snapshot()",
    "invalidate": "Cache.invalidate of half the entries, and 1 s after",
    "expiry": "half the entries expire unread",
    "close": "Cache.close() with the other half in memory",
}
_OF_TENANTS = {
    "fill": "fill, Cache.set: one entry a tenant",
    "idle": f"nothing is asked for {_IDLE_S:g} s: the snapshot is taken",
    "stats": "Cache.stats()",
    "snapshot": "Cache.snapshot()",
    "invalidate": "Cache.invalidate of 1,000 tenants, and 1 s after",
    "expiry": "all entries expire unread",
}
_STEPS = (Column("longest step, ms of CPU", 2, "low"), Column("on the wall, ms", 1), Column("collections in it, ms", 1))
_COLLECTED = (
    Column("full collection, ms of CPU", 1, "low"),
    Column("longest while it fills, ms", 1, "low"),
    Column("tracked objects an entry", 3, "low"),
    Column("bytes over a dict", 0, "low"),
)
_TENANTS = (
    Column("full collection, ms of CPU", 1, "low"),
    Column("longest while it fills, ms", 1, "low"),
    Column("tracked objects a tenant", 2, "low"),
    Column("bytes a tenant", 0, "low"),
)


class Watch:
    """Times each step of the loop. It stands in for the method that runs one.

    Attributes:
        longest: Milliseconds of the longest step without collections: processor time, wall, collections in it.
        collected_ms: Milliseconds of the longest collection.
    """

    def __init__(self) -> None:
        self.longest = (0.0, 0.0, 0.0)
        self.collected_ms = 0.0
        self._collected_s = self._began_s = 0.0

    def take(self) -> tuple[float, float, float]:
        """Returns the longest step, and begins anew."""
        longest, self.longest = self.longest, (0.0, 0.0, 0.0)
        return longest

    def of_call(self, call: Any) -> tuple[float, float, float]:
        """Returns what one call takes that does not await."""
        self.take()
        self._timed(call)
        return self.take()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches every step of this process for the length of a block."""
        handles: Any = asyncio.Handle
        run = handles._run

        def timed(handle: Handle) -> None:
            self._timed(run, handle)

        handles._run = timed
        gc.callbacks.append(self._collection)
        try:
            yield
        finally:
            handles._run = run
            gc.callbacks.remove(self._collection)

    def _timed(self, call: Any, *arguments: Any) -> None:
        collected_s, worked_s, began_s = self._collected_s, time.thread_time(), time.perf_counter()
        call(*arguments)
        collected_s = self._collected_s - collected_s
        work_ms = (time.thread_time() - worked_s - collected_s) * 1e3
        if work_ms > self.longest[0]:
            self.longest = (work_ms, (time.perf_counter() - began_s) * 1e3, collected_s * 1e3)

    def _collection(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began_s = time.thread_time()
            return
        took_s = time.thread_time() - self._began_s
        self._collected_s += took_s
        self.collected_ms = max(self.collected_ms, took_s * 1e3)


async def measure(server: Server, effort: Effort) -> Result:
    """Ask ours with many entries and with many tenants, and the others with many entries."""
    entries, tenants = effort.of(1_000_000, 50_000), effort.of(100_000, 5_000)
    waits = {"idle_s": _IDLE_S, "after_s": _AFTER_S}
    ours = await _said("entries", entries=entries, ttl_s=effort.of(*_LIFE_S), **waits)
    of_tenants = await _said("tenants", tenants=tenants, ttl_s=effort.of(*_TENANTS_LIFE_S), **waits)
    field = invited(MEMORY, _PEERS)
    peers = {name: await _said("peer", name=name, entries=entries) for name in field.present}
    over = {name: (said["bytes"] - peers["dict"]["bytes"]) / entries for name, said in {**peers, "ours": ours}.items()}
    rows = [Row("alacena, Cache.set_many", (*_collected(ours, entries), over["ours"]), "ours")]
    for name, said in peers.items():
        rows.append(Row(name, (*_collected(said, entries), over[name]), "floor" if name == "dict" else "peer"))
    tracked, bytes_each = of_tenants["tracked"] / tenants, of_tenants["bytes"] / tenants
    row = Row("alacena, Cache.set", (of_tenants["full_ms"], of_tenants["collected_ms"], tracked, bytes_each), "ours")
    tables = (
        _steps(f"Longest step of the loop, {entries:,} entries", ours, _CAUSES, peers["dict"]["longest"]),
        _steps(f"Longest step of the loop, {tenants:,} tenants", of_tenants, _OF_TENANTS),
        Table(
            f"A full collection, {entries:,} texts of 100 characters", _COLLECTED, tuple(rows), field.note, charted=0
        ),
        Table(f"{tenants:,} tenants with one entry each, the entry included", _TENANTS, (row,)),
    )
    bars = (
        judged("GC-tracked objects an entry", ours["tracked"] / entries, bar=0.05),
        judged("GC-tracked objects a tenant", tracked, bar=5),
        judged(f"full collection, {entries:,} texts: CPU", ours["full_ms"], bar=60, unit=" ms"),
        judged(
            f"longest collection while {entries:,} texts are filled in: CPU", ours["collected_ms"], bar=30, unit=" ms"
        ),
        judged("bytes an entry over a dict, texts", over["ours"], bar=260),
        judged("bytes a tenant, its entry included", bytes_each, bar=2_000),
        judged(
            f"longest collection while {tenants:,} tenants are filled in: CPU",
            of_tenants["collected_ms"],
            bar=30,
            unit=" ms",
        ),
        *_bars(f"{entries:,} entries", ours, _CAUSES),
        *_bars(f"{tenants:,} tenants", of_tenants, _OF_TENANTS),
    )
    return Result(tables, bars)


def _collected(said: dict[str, Any], entries: int) -> tuple[float, float, float]:
    return (said["full_ms"], said["collected_ms"], said["tracked"] / entries)


def _steps(title: str, said: dict[str, Any], causes: dict[str, str], of_dict: list[float] | None = None) -> Table:
    rows = [Row(shown, tuple(said["steps"][cause]), "ours") for cause, shown in causes.items()]
    if of_dict is not None:
        rows.insert(0, Row("the same fill into a dict, which moves its entries when it grows", tuple(of_dict), "floor"))
    note = "a step of the caller's own work counts too; on the wall: of the same step, with what else the machine did"
    return Table(title, _STEPS, tuple(rows), (note,), charted=0)


def _bars(where: str, said: dict[str, Any], causes: dict[str, str]) -> list[Bar]:
    return [
        judged(f"longest step, {where}: {shown}", said["steps"][cause][0], bar=5, unit=" ms")
        for cause, shown in causes.items()
    ]


async def _said(work: str, **arguments: Any) -> dict[str, Any]:
    worker = await Worker.start(f"bench.scenarios.pauses:{work}", **arguments)
    try:
        said = await worker.hear()
        assert said is not None, f"the process of {work} ended without an answer"
        return dict(said)
    finally:
        await worker.ended()


def _facts(watch: Watch, tracked: int, resident: int) -> dict[str, Any]:
    """What is held by now: after the growth of the resident set is taken, a full collection is timed."""
    collected_ms = watch.collected_ms
    grown = resident_bytes() - resident
    began_s = time.process_time()
    gc.collect()
    full_ms = (time.process_time() - began_s) * 1e3
    held = len(gc.get_objects()) - tracked
    return {"bytes": grown, "full_ms": full_ms, "tracked": held, "collected_ms": collected_ms}


def _texts(name: str, start: int, count: int) -> dict[str, str]:
    return {f"{name}-{n:09}": f"{n:0100}" for n in range(start, start + count)}


async def entries(talk: Talk, entries: int, ttl_s: float, idle_s: float, after_s: float) -> None:
    """Many entries of three tenants: what stays, what expires, and some that come a thousand in a call."""
    watch, steps = Watch(), {}
    async with Cache(Settings(memory_max_bytes=_ROOM_BYTES, ttl_default_s=86_400)) as cache:
        await cache.set("document", "first", "value", _KEEPS)
        resident, tracked = resident_bytes(), len(gc.get_objects())
        with watch.watching():
            for name, ttl in ((_KEEPS, 86_400), (_ENDS, ttl_s)):
                for start in range(0, entries // 2, _AT_ONCE):
                    await cache.set_many("document", _texts("document", start, _AT_ONCE), name, ttl=ttl)
                    await asyncio.sleep(0)
            filled = time.perf_counter()
            steps["fill"] = watch.take()
            facts = _facts(watch, tracked, resident)
            texts = _texts("text", 0, _IN_ONE_CALL)
            await asyncio.sleep(0)
            watch.take()
            await cache.set_many("document", texts, _MANY)
            await asyncio.sleep(0)
            steps["many"] = watch.take()
            steps |= await _scraped(cache, watch, idle_s)
            await cache.invalidate(_KEEPS)
            await asyncio.sleep(after_s)
            steps["invalidate"] = watch.take()
            await asyncio.sleep(max(0.0, filled + ttl_s * _LONGER - time.perf_counter()) + after_s)
            steps["expiry"] = watch.take()
            await cache.close()
            await asyncio.sleep(0)
            steps["close"] = watch.take()
    talk.say({**facts, "steps": steps})


async def _scraped(cache: Cache, watch: Watch, idle_s: float) -> dict[str, tuple[float, float, float]]:
    await asyncio.sleep(0)
    watch.take()
    await asyncio.sleep(idle_s)
    steps = {"idle": watch.take()}
    steps["stats"] = watch.of_call(cache.stats)
    steps["snapshot"] = watch.of_call(cache.snapshot)
    await asyncio.sleep(0)
    watch.take()
    return steps


async def tenants(talk: Talk, tenants: int, ttl_s: float, idle_s: float, after_s: float) -> None:
    """Many tenants with one entry each."""
    watch, steps = Watch(), {}
    async with Cache(Settings(memory_max_bytes=_ROOM_BYTES, ttl_default_s=86_400)) as cache:
        await cache.set("document", "first", "value", "first")
        resident, tracked = resident_bytes(), len(gc.get_objects())
        with watch.watching():
            for number in range(tenants):
                await cache.set("document", "d1", f"{number:0100}", f"tenant-{number:07}", ttl=ttl_s)
                await asyncio.sleep(0)
            filled = time.perf_counter()
            steps["fill"] = watch.take()
            facts = _facts(watch, tracked, resident)
            steps |= await _scraped(cache, watch, idle_s)
            for number in range(min(tenants, 1_000)):
                await cache.invalidate(f"tenant-{number:07}")
                await asyncio.sleep(0)
            await asyncio.sleep(after_s)
            steps["invalidate"] = watch.take()
            await asyncio.sleep(max(0.0, filled + ttl_s * _LONGER - time.perf_counter()) + after_s)
            steps["expiry"] = watch.take()
    talk.say({**facts, "steps": steps})


async def peer(talk: Talk, name: str, entries: int) -> None:
    """As many texts in another cache."""
    watch = Watch()
    rival = invited(MEMORY, (name,)).present[name]
    await rival.open(Place(_source, entries=2 * entries))
    await rival.set("first", "value")
    resident, tracked = resident_bytes(), len(gc.get_objects())
    with watch.watching():
        for start in range(0, entries, _AT_ONCE):
            for key, value in _texts("document", start, _AT_ONCE).items():
                await rival.set(key, value)
            await asyncio.sleep(0)
        longest = watch.take()
    facts = _facts(watch, tracked, resident)
    await rival.close()
    talk.say({**facts, "longest": longest})


async def _source(_: str) -> Any:
    return None
