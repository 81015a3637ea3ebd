"""How stale does anybody read, in eight processes behind proxies that delay, split, stall, lose, cut and reset?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from alacena.testing.proxy import FaultProxy
from alacena.testing.trouble import torment
from proving.reliability.journey import Journey, roamed
from proving.reliability.place import OURS, Effort, Finding, attempted
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from proving.reliability.crew import Member

NUMBERS = ("5", "2", "19", "39")


async def run(effort: Effort) -> list[Finding]:
    """With and without faults, with H of a second and less, with quick and slow sources."""
    found = []
    for title, bound_s, every_s, load_s in (
        ("calm", 1.0, None, 0.01),
        ("faults", 1.0, 0.4, 0.01),
        ("faults, H = 0.2 s", 0.2, 0.4, 0.01),
        ("faults, loads up to 1 s, H = 0.2 s", 0.2, 0.4, 1.0),
    ):
        roaming = tormented(effort, bound_s=bound_s, every_s=every_s, load_s=load_s)
        name = f"staleness bound, {title}"
        found.append(await attempted("5, 2, 19, 39", name, OURS, _judged(name, effort, roaming)))
    return found


async def tormented(effort: Effort, *, bound_s: float, every_s: float | None, load_s: float) -> Journey:
    """Roam on one server, each process behind a proxy of its own that does something else every so often."""
    seconds, processes = effort.of(25.0, 3.0), effort.of(8, 3)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(effort.flavour, tcp=True))
        proxies = [
            await stack.enter_async_context(FaultProxy(server.address, seed=effort.seed * 100 + number))
            for number in range(processes)
        ]

        async def trouble(_: list[Member]) -> float:
            if every_s is None:
                return 0.0
            done = await asyncio.gather(
                *(
                    torment(proxy, duration_s=seconds, every_s=every_s, seed=effort.seed * 1000 + number)
                    for number, proxy in enumerate(proxies)
                )
            )
            return sum(map(len, done))

        urls = [f"redis://127.0.0.1:{proxy.port}" for proxy in proxies]
        return await roamed(effort, urls, seconds=seconds, bound_s=bound_s, trouble=trouble, clocks=True, load_s=load_s)


async def _judged(name: str, effort: Effort, roaming: Awaitable[Journey]) -> Finding:
    journey = await roaming
    return Finding(
        "5, 2, 19, 39",
        name,
        "alacena",
        f"seed {effort.seed}, {journey.ran}, {journey.figure:.0f} faults, clocks off by up to an hour",
        journey.seen,
        held=journey.held,
        details={"violations": len(journey.report.violations), "max_ms": journey.report.max_s * 1000},
    )
