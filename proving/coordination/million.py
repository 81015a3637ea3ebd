"""A queue through eight workers, two SIGKILLs a second and cut links: is anything lost, and what is doubled?"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import BackendError
from alacena.testing.proxy import FaultProxy
from proving.coordination.crew import Crew, patiently
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from alacena.coordination.item import QueueStats
    from alacena.coordination.queue import Queue
    from proving.coordination.crew import Journal
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

WORKERS = 8
BATCH = 100
VISIBILITY_S = 3.0
ATTEMPTS = 12
KILL_EVERY_S = 0.5
CUT_EVERY_S = 1.5
PAUSE_EVERY_S = 2.0
BAD = 2_003
"""Every so many items is one whose handler always fails."""


async def work(journal: Journal, url: str, place: int) -> None:
    """Take batches until killed. What was handled is noted before it is acknowledged."""
    del place
    async with Cache(Settings(redis_url=url)) as cache:
        queue = cache.queues("q", tenant_id="acme", max_attempts=ATTEMPTS)
        while True:
            token = os.urandom(16).hex()
            try:
                await _batch(queue, token, journal)
            except BackendError:
                await asyncio.sleep(0.02)


async def _batch(queue: Queue, token: str, journal: Journal) -> None:
    items = await queue.reserve(BATCH, visibility_s=VISIBILITY_S, wait_s=2.0, token=token)
    good = [item for item in items if item.value % BAD]
    if items:
        journal.note(*(f"h {item.id} {item.attempt}" for item in good))
    refused = await queue.ack(good)
    if refused:
        journal.note(f"refused {len(refused)}")
    for item in items:
        if not item.value % BAD:
            await queue.nack(item, reason="its handler always fails")


@dataclass(slots=True)
class Course:
    """What was seen while it ran."""

    began: float = field(default_factory=time.monotonic)
    samples: int = 0
    broken: int = 0
    cuts: int = 0
    pauses: int = 0
    duplicates: int = 0
    pushed_s: float = 0.0
    paused: int | None = None


async def measure(effort: Effort, seed: int) -> Result:
    """Run it once: it is long, and exact."""
    return await run(effort.of(1_000_000, 40_000), seed)


async def run(count: int, seed: int) -> Result:
    """Push so many items, and have them worked off."""
    with RedisServer("valkey") as server, tempfile.TemporaryDirectory(prefix="alacena-") as home:
        async with (
            FaultProxy(str(server.socket_path), listen=f"{home}/s", seed=seed) as proxy,
            Cache(Settings(redis_url=server.url)) as cache,
        ):
            queue, course = cache.queues("q", tenant_id="acme", max_attempts=ATTEMPTS), Course()
            with Crew(work, WORKERS, url=f"unix://{home}/s") as crew:
                stats = await _run(queue, count, crew, proxy, course, random.Random(seed))
                took_s = time.monotonic() - course.began
                dead = Counter([letter.value % BAD for letter in await patiently(lambda: queue.dead(100_000))])
                return _result(count, stats, dead, crew, course, took_s)


async def _run(
    queue: Queue, count: int, crew: Crew, proxy: FaultProxy, course: Course, chance: random.Random
) -> QueueStats:
    faults = [
        asyncio.create_task(_kill(crew, course, chance)),
        asyncio.create_task(_cut(proxy, course, chance)),
        asyncio.create_task(_pause(crew, course, chance)),
    ]
    try:
        await _push(queue, count, course, chance)
        while True:
            stats = await patiently(queue.stats)
            course.samples += 1
            course.broken += stats.pushed != stats.depth + stats.dead + stats.acked
            if stats.acked + stats.dead >= count:
                return stats
            await asyncio.sleep(0.1)
    finally:
        for fault in faults:
            fault.cancel()
        await asyncio.wait(faults)


async def _push(queue: Queue, count: int, course: Course, chance: random.Random) -> None:
    """Push with ids; one page in ten is pushed once more, as after a lost reply."""
    began = time.monotonic()
    for start in range(0, count, 500):
        page = range(start, min(start + 500, count))
        for again in range(2 if chance.random() < 0.1 else 1):
            ids = [f"i{number}" for number in page]
            await patiently(lambda page=page, ids=ids: queue.push_many(page, ids=ids))  # type: ignore[misc]
            course.duplicates += again * len(page)
    course.pushed_s = time.monotonic() - began


async def _kill(crew: Crew, course: Course, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(KILL_EVERY_S)
        crew.kill(chance.choice([place for place in range(WORKERS) if place != course.paused]))


async def _cut(proxy: FaultProxy, course: Course, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(CUT_EVERY_S)
        chance.choice([proxy.cut, proxy.reset])()
        course.cuts += 1


async def _pause(crew: Crew, course: Course, chance: random.Random) -> None:
    """Stop a worker for longer than its leases: what it acknowledges after that must be refused."""
    while True:
        await asyncio.sleep(PAUSE_EVERY_S)
        course.paused = place = chance.randrange(WORKERS)
        crew.pause(place)
        try:
            await asyncio.sleep(VISIBILITY_S + 0.5)
        finally:
            crew.resume(place)
        course.paused = None
        course.pauses += 1


def _result(count: int, stats: QueueStats, dead: Counter[int], crew: Crew, course: Course, took_s: float) -> Result:
    attempts: dict[str, list[int]] = {}
    refused = 0
    for line in crew.lines():
        kind, *rest = line.split(" ")
        if kind == "refused":
            refused += int(rest[0])
        else:
            attempts.setdefault(rest[0], []).append(int(rest[1]))
    bad = (count - 1) // BAD + 1
    innocents = stats.dead - dead[0]
    lost = count - bad - len(attempts) - innocents
    again = Counter(attempt for each in attempts.values() for attempt in sorted(each)[1:])
    doubled = again.total()
    facts: dict[str, Cell] = {
        "items": count,
        "items a second, faults included": round(count / took_s),
        "lost": lost,
        "handled more than once": f"{doubled} ({1000 * doubled / count:.2f} ‰)",
        "of these on attempt": ", ".join(f"{attempt}: {times}" for attempt, times in sorted(again.items())) or "–",
        "dead letters / bad items": f"{stats.dead} / {bad}",
        "sent twice / taken in twice": f"{course.duplicates} / {stats.pushed - count}",
        "late acknowledgements (refused)": refused,
    }
    notes = (
        (
            f"{WORKERS} workers, batches of {BATCH}, leases of {VISIBILITY_S:g} s, {ATTEMPTS} attempts; "
            f"{crew.kills} SIGKILLs, all links cut {course.cuts} times, {course.pauses} pauses of "
            f"{VISIBILITY_S + 0.5:g} s in {took_s:.0f} s; pushing took {course.pushed_s:.0f} s of them"
        ),
        (
            f"pushed = ready + delayed + in flight + dead + acked in {course.samples - course.broken} of "
            f"{course.samples} samples, and at the end: {stats.pushed} = {stats.depth} + {stats.dead} + {stats.acked}"
        ),
        "handled more than once: the worker died, was stopped or lost its link between the work and its ack",
    )
    rows = tuple(Row(name, (cell,), "ours") for name, cell in facts.items())
    bars = (
        judged("items lost", lost, bar=0),
        judged("samples in which the law does not hold", course.broken, bar=0),
        judged("pushes taken in twice", stats.pushed - count, bar=0),
        judged("items buried that were not bad", innocents, bar=0),
        judged("bad items not buried", bad - dead[0], bar=0),
    )
    return Result((Table("A queue under faults", (Column("alacena", 0),), rows, notes),), bars)
