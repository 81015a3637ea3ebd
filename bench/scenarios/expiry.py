"""Many entries expire and nobody reads them: is their memory given back, and does the loop stand still meanwhile?

Each contender in a process of its own: filled, then left alone until all is over. A task that wants to wake every
millisecond measures how late it does, and how much of that was work of this process: the rest is the machine's.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from bench.scenarios.bytes_per_entry import resident_bytes
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import MEMORY, invited, settings_of
from proving.rivals.rival import Place
from proving.stand.workers import Worker

if TYPE_CHECKING:
    from proving.stand.effort import Effort
    from proving.stand.server import Server
    from proving.stand.workers import Talk

_NAMES = ("alacena", "cashews", "aiocache", "theine")
_TICK_S = 0.001
_COLUMNS = (
    Column("MB full", 0),
    Column("MB after", 0, "low"),
    Column("% given back", 0, "high"),
    Column("longest pause, ms", 1, "low"),
    Column("longest work, ms of CPU", 1, "low"),
    Column("µs to keep one", 1, "low"),
)


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody."""
    entries, ttl_s = effort.of((500_000, 20), (50_000, 4))
    field = invited(MEMORY, effort.of(_NAMES, ("alacena", "cashews")))
    said: dict[str, dict[str, float]] = {}
    for name in field.present:
        worker = await Worker.start("bench.scenarios.expiry:process", name=name, entries=entries, ttl_s=ttl_s)
        said[name] = await worker.hear()
        await worker.ended()
    rows = tuple(Row(name, _cells(found), "ours" if name == "alacena" else "peer") for name, found in said.items())
    notes = (
        f"texts of 100 characters that live {ttl_s} s, longer than it takes to fill; measured 3 s after the last one's end",
        "longest pause: in wall time, and in CPU time, which need not be of the same moment",
        settings_of(field.present),
        *field.note,
    )
    ours = said["alacena"]
    return Result(
        (Table(f"{entries:,} entries expire", _COLUMNS, rows, notes, charted=3),),
        (
            judged("expiry unread: % of memory given back", _cells(ours)[2], bar=80, higher=True, unit=" %"),
            judged("expiry unread: longest pause of the loop", ours["pause_ms"], bar=20, unit=" ms"),
        ),
    )


def _cells(said: dict[str, float]) -> tuple[float, ...]:
    given_back = 100 * (said["full"] - said["after"]) / max(said["full"], 1)
    return (said["full"] / 1e6, said["after"] / 1e6, given_back, said["pause_ms"], said["work_ms"], said["set_us"])


async def process(talk: Talk, name: str, entries: int, ttl_s: int) -> None:
    """Fill one contender, wait for the end of all, and say how it went."""
    rival = invited(MEMORY, (name,)).present[name]
    await rival.open(Place(_source, entries=2 * entries, ttl_s=ttl_s))
    await rival.set("first", "value")
    empty = resident_bytes()
    began = time.perf_counter()
    for number in range(entries):
        await rival.set(f"document-{number:09}", f"{number:0100}")
    set_us = (time.perf_counter() - began) / entries * 1e6
    full = resident_bytes() - empty
    pause_s, work_s = await _longest_pause(ttl_s + 3)
    after = resident_bytes() - empty
    pauses = {"pause_ms": pause_s * 1e3, "work_ms": work_s * 1e3}
    talk.say({"full": full, "after": max(after, 0), **pauses, "set_us": set_us})
    await rival.close()


async def _longest_pause(for_s: float) -> tuple[float, float]:
    """In wall time and in CPU time of this process."""
    longest_s, longest_work_s, end = 0.0, 0.0, time.perf_counter() + for_s
    while (before := time.perf_counter()) < end:
        worked_s = time.process_time()
        await asyncio.sleep(_TICK_S)
        longest_s = max(longest_s, time.perf_counter() - before - _TICK_S)
        longest_work_s = max(longest_work_s, time.process_time() - worked_s)
    return longest_s, longest_work_s


async def _source(_: str) -> Any:
    return None
