"""Does anything come back when generations, leases and holds vanish from the server, one at a time or all at once?"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from proving.reliability.journal import now
from proving.reliability.journey import Journey, roamed
from proving.reliability.place import Effort, Finding
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.reliability.crew import Member

NUMBERS = ("15",)


async def run(effort: Effort) -> list[Finding]:
    """Single keys, then everything."""
    robberies = (("generations, leases, holds", 0.2, False), ("FLUSHALL", 0.0, True))
    journeys = await asyncio.gather(*(robbed(effort, share=share, flush=flush) for _, share, flush in robberies))
    return [
        Finding(
            "15",
            f"lost keys: {title}",
            "alacena",
            f"seed {effort.seed}, {journey.ran}, {journey.figure:.0f} keys or whole data sets removed behind its back",
            journey.seen,
            held=journey.held and journey.figure > 0,
            details={"violations": len(journey.report.violations)},
        )
        for (title, *_), journey in zip(robberies, journeys, strict=True)
    ]


async def robbed(effort: Effort, *, share: float, flush: bool) -> Journey:
    """Roam while somebody removes keys that are not entries, or everything."""
    seconds = effort.of(12.0, 3.0)
    with RedisServer(effort.flavour) as server:

        async def rob(_: list[Member]) -> float:
            chance = random.Random(effort.seed)
            until, robbed = now() + seconds * 0.9, 0
            while now() < until:
                await asyncio.sleep(0.2 if flush else 0.02)
                robbed += await asyncio.to_thread(_rob, server, chance, share, flush=flush)
            return robbed

        urls = [server.url] * effort.of(6, 3)
        return await roamed(effort, urls, seconds=seconds, bound_s=0.5, trouble=rob)


def _rob(server: RedisServer, chance: random.Random, share: float, *, flush: bool) -> int:
    if flush:
        server.call("FLUSHALL")
        return 1
    names = [name for kind in "glh" for name in server.call("KEYS", f"alacena:{kind}:*")]
    chosen = [name for name in names if chance.random() < share]
    return int(server.call("DEL", *chosen)) if chosen else 0
