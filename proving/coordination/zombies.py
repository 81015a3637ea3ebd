"""Who comes too late is refused, and who is pushed twice is taken in once: always?"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import NotOwnerError
from proving.coordination.crew import Crew, until
from proving.figures.statistics import percentile
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from alacena.coordination.item import Item
    from proving.coordination.crew import Journal
    from proving.figures.tables import Bar
    from proving.stand.effort import Effort

VISIBILITY_S = 0.6
COLUMNS = (Column("seen", 0), Column("of", 0))


async def hold(journal: Journal, url: str, each: int, place: int) -> None:
    """Take items, and stand still until somebody resumes this process; then try every verb of a holder."""
    async with Cache(Settings(redis_url=url)) as cache:
        items = await cache.queues("q", tenant_id="acme").reserve(each, visibility_s=VISIBILITY_S)
        journal.note(*("held" for _ in items))
        os.kill(os.getpid(), 19)
        for number, item in enumerate(items):
            verb = (item.ack, item.nack, lambda item=item: item.extend(60))[number % 3]
            try:
                await verb()
                journal.note("accepted")
            except NotOwnerError:
                journal.note("refused")
        await asyncio.Event().wait()


async def measure(effort: Effort, seed: int) -> Result:
    """Two questions, one after the other."""
    del seed
    with RedisServer("valkey") as server:
        answers = [
            await zombies(server.url, effort.of(8, 4), effort.of(200, 50)),
            await twins(server.url, effort.of(20_000, 3_000)),
        ]
    return Result(tuple(table for table, _ in answers), tuple(bar for _, bars in answers for bar in bars))


async def zombies(url: str, processes: int, each: int) -> tuple[Table, tuple[Bar, ...]]:
    count = processes * each
    async with Cache(Settings(redis_url=url)) as cache:
        queue = cache.queues("q", tenant_id="acme", max_attempts=50)
        await queue.push_many(range(count))
        with Crew(hold, processes, url=url, each=each) as crew:
            await until(lambda: all(crew.paused(place) for place in range(processes)), 20)
            held = len(crew.lines())
            await asyncio.sleep(VISIBILITY_S + 0.1)
            half: list[Item] = []
            while len(half) < count // 2:
                half += await queue.reserve(min(count // 2 - len(half), 100), visibility_s=60)
            for place in range(processes):
                crew.resume(place)
            await until(lambda: len(crew.lines()) == 2 * held, 20)
            refused, accepted = crew.lines().count("refused"), crew.lines().count("accepted")
        stats = await queue.stats()
    rows = (
        Row("late verbs refused", (refused, held), "ours"),
        Row("late verbs accepted", (accepted, held), "ours"),
        Row("items acknowledged behind their new holder's back", (stats.acked, len(half)), "ours"),
    )
    note = (
        f"{processes} processes stopped past their leases of {VISIBILITY_S:g} s; half of their items had a new holder"
    )
    table = Table("Zombies: ack, nack and extend in turn", COLUMNS, rows, (note,))
    return table, (judged("late verbs accepted", accepted + stats.acked, bar=0),)


async def twins(url: str, count: int) -> tuple[Table, tuple[Bar, ...]]:
    """Everybody sends everything, at once, while it is worked off."""
    async with Cache(Settings(redis_url=url)) as cache:
        queue = cache.queues("t", tenant_id="acme")
        seen: dict[int, int] = {}
        waits: list[float] = []

        async def send() -> None:
            for start in range(0, count, 100):
                page = range(start, min(start + 100, count))
                await queue.push_many(page, ids=[f"i{number}" for number in page])

        async def work() -> None:
            while len(seen) < count:
                began = time.perf_counter()
                items = await queue.reserve(50, wait_s=0.2)
                waits.append(time.perf_counter() - began)
                for item in items:
                    seen[item.value] = seen.get(item.value, 0) + 1
                await queue.ack(items)

        await asyncio.gather(*(send() for _ in range(8)), *(work() for _ in range(4)))
        stats = await queue.stats()
    twice = sum(times - 1 for times in seen.values())
    rows = (
        Row("pushes sent", (8 * count, 8 * count), "ours"),
        Row("items taken in", (stats.pushed, count), "ours"),
        Row("items handled twice", (twice, count), "ours"),
        Row("99 of 100 reserves took at most so many ms", (1000 * percentile(waits, 0.99), None), "ours"),
    )
    table = Table("Eight senders of the same items", COLUMNS, rows)
    return table, (judged("items taken in or handled twice", stats.pushed - count + twice, bar=0),)
