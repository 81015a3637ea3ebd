"""Is anything stale, or stored too late, when processes are stopped at any point and wake up again?"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from proving.reliability.journal import now
from proving.reliability.journey import Journey, roamed
from proving.reliability.place import Effort, Finding, folder
from proving.reliability.puppet import puppets
from proving.reliability.truth import Truth
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.reliability.crew import Member

NUMBERS = ("20",)
_BOUND_S = 0.5


async def run(effort: Effort) -> list[Finding]:
    """Processes that roam, then loaders that wake up after everything they had was taken away."""
    journey = await stopped(effort)
    races, stored = await woken(effort)
    return [
        Finding(
            "20",
            "processes stopped and continued",
            "alacena",
            f"seed {effort.seed}, {journey.ran}, {journey.figure:.0f} pauses of 0.1 to {effort.of(4.0, 1.0):g} s",
            journey.seen,
            held=journey.held,
            details={"violations": len(journey.report.violations)},
        ),
        Finding(
            "20",
            "loader stopped beyond its lease",
            "alacena",
            f"{races} loads under a lease of 0.2 s in a process that is stopped for 0.6 s, invalidated meanwhile",
            f"old values stored by late fills: {stored} of {races}",
            held=stored == 0,
            details={"stored": stored},
        ),
    ]


async def stopped(effort: Effort) -> Journey:
    """Stop members at random, now and then for longer than the bound."""
    seconds, longest_s = effort.of(20.0, 4.0), effort.of(4.0, 1.0)

    async def trouble(members: list[Member]) -> float:
        chance = random.Random(effort.seed)
        until, pauses = now() + seconds - 2 * longest_s, 0
        while now() < until:
            member = chance.choice(members)
            member.pause()
            await asyncio.sleep(0.1 + (longest_s - 0.1) * chance.random() ** 2)
            member.resume()
            pauses += 1
            await asyncio.sleep(0.2 * chance.random())
        return pauses

    with RedisServer(effort.flavour) as server:
        urls = [server.url] * effort.of(8, 3)
        return await roamed(effort, urls, seconds=seconds, bound_s=_BOUND_S, trouble=trouble, load_s=0.05)


async def woken(effort: Effort) -> tuple[int, int]:
    """How many late fills were tried, and how many old values were stored."""
    keys = list(range(effort.of(200, 20)))
    async with AsyncExitStack() as stack:
        home = stack.enter_context(folder())
        server = stack.enter_context(RedisServer(effort.flavour))
        truth = stack.enter_context(Truth.create(home / "truth", len(keys)))
        loader, writer = await stack.enter_async_context(puppets(home, [server.url] * 2, lease_s=0.2))
        await loader.pull("begin", keys)
        loader.member.pause()
        await asyncio.sleep(0.6)
        for key in keys[::2]:
            truth.commit(key)
        await writer.pull("invalidate", keys[::2])
        # The other half is loaded anew by somebody else, in a newer version, while the first loader sleeps.
        for key in keys[1::2]:
            truth.commit(key)
        await writer.pull("load", keys[1::2])
        loader.member.resume()
        await loader.pull("finish")
        stored = 0
        for puppet in (loader, writer):
            versions = await puppet.pull("get", keys, use_memory=False)
            stored += sum(0 < v < truth.version(key) for key, v in zip(keys, versions, strict=True))
        return len(keys), stored
