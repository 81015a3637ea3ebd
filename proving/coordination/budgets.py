"""A thousand spenders at once against one limit, links cut and processes killed: is more spent than there is?"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from typing import TYPE_CHECKING

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import BackendError, LimitExceededError, NotOwnerError
from alacena.testing.proxy import FaultProxy
from proving.coordination.crew import Crew, patiently, until
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.coordination.crew import Journal
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

PROCESSES = 4
EACH = 250
TTL_S = 2.0
MOST = 20
TENANT = "acme"


async def spend(journal: Journal, url: str, limit: int, seed: int, place: int) -> None:
    """Reserve, and commit, refund or forget, until nothing fits any more."""
    chance = random.Random(f"{seed} {place}")
    async with Cache(Settings(redis_url=url)) as cache:
        budget = cache.budgets("b", tenant_id=TENANT, limit=limit)

        async def spender() -> None:
            while True:
                amount = chance.randint(1, MOST)
                try:
                    reservation = await budget.reserve(amount, ttl_s=TTL_S)
                    choice = chance.random()
                    if choice < 0.7:
                        actual = chance.randint(0, amount)
                        await reservation.commit(actual)
                        journal.note(f"spent {actual}")
                    elif choice < 0.9:
                        await reservation.refund()
                except LimitExceededError as full:
                    journal.note("full")
                    await asyncio.sleep(min(full.retry_after_s or 0.2, 0.2))
                except (BackendError, NotOwnerError):
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(spender() for _ in range(EACH)))


async def spend_naively(journal: Journal, url: str, limit: int, seed: int, place: int) -> None:
    """Read what was spent, compare, add: what is done without budgets."""
    chance = random.Random(f"{seed} {place}")
    async with Cache(Settings(redis_url=url)) as cache:

        async def spender() -> None:
            while True:
                amount = chance.randint(1, MOST)
                try:
                    if await cache.counters.get("spent", tenant_id=TENANT) + amount <= limit:
                        await cache.counters.increment("spent", amount, tenant_id=TENANT)
                        journal.note(f"spent {amount}")
                    else:
                        journal.note("full")
                        await asyncio.sleep(0.2)
                except BackendError:
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(spender() for _ in range(EACH)))


async def measure(effort: Effort, seed: int) -> Result:
    """Both ways, with the same faults."""
    limit = effort.of(100_000, 20_000)
    ours = await spend_all(limit, seed, naive=False)
    naive = await spend_all(limit, seed, naive=True)
    notes = (
        (
            f"{PROCESSES} processes with {EACH} spenders each, 1 to {MOST} at a time; of the reservations 7 in 10 are committed "
            f"at a part, 2 refunded, 1 forgotten (it runs out after {TTL_S:g} s); each second "
            "a process is killed and all links are cut"
        ),
        "confirmed: what the spenders know to be spent; the rest was committed by one who died or lost the reply",
    )
    rows = (Row("alacena, budgets", ours, "ours"), Row("read, compare, add", naive, "floor"))
    overspent, sampled = int(str(ours[2])), int(str(ours[4]))
    bars = (
        judged("spent above the limit", overspent, bar=0),
        judged("samples with spent + reserved above the limit", sampled, bar=0),
        judged("spent less than confirmed", max(int(str(ours[3])) - int(str(ours[1])), 0), bar=0),
    )
    return Result((Table("Budgets", tuple(Column(name, 0) for name in _COLUMNS), rows, notes),), bars)


_COLUMNS = ("limit", "spent", "overspent", "confirmed", "samples above it", "samples", "kills", "cuts", "settled/s")


async def spend_all(limit: int, seed: int, *, naive: bool) -> tuple[Cell, ...]:
    chance = random.Random(seed)
    work = spend_naively if naive else spend
    with RedisServer("valkey") as server, tempfile.TemporaryDirectory(prefix="alacena-") as home:
        async with (
            FaultProxy(str(server.socket_path), listen=f"{home}/s", seed=seed) as proxy,
            Cache(Settings(redis_url=server.url)) as cache,
        ):
            budget = cache.budgets("b", tenant_id=TENANT, limit=limit)
            samples: list[int] = []
            cuts = 0

            async def taken() -> int:
                if naive:
                    return await patiently(lambda: cache.counters.get("spent", tenant_id=TENANT))
                state = await patiently(budget.state)
                samples.append(state.spent + state.reserved)
                return state.spent

            with Crew(work, PROCESSES, url=f"unix://{home}/s", limit=limit, seed=seed) as crew:
                began = time.monotonic()

                async def used_up() -> bool:
                    return await taken() >= limit - MOST

                while not await until(used_up, 1.0, every_s=0.02):
                    crew.kill(chance.randrange(PROCESSES))
                    proxy.cut()
                    cuts += 1
                took_s = time.monotonic() - began
                await asyncio.sleep(1.0)
                spent = await taken()
                lines = crew.lines()
            confirmed = [int(line.split(" ")[1]) for line in lines if line.startswith("spent")]
            above = sum(sample > limit for sample in samples)
            return (
                limit, spent, max(spent - limit, 0), sum(confirmed), above, len(samples), crew.kills, cuts,
                len(confirmed) / took_s,
            )  # fmt: skip
