"""Is anything stale while connections are killed fifty times a second, or any subset of them; how soon is all well again?"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from bench.reliability.journal import now
from bench.reliability.journey import Journey, roamed
from bench.reliability.place import Effort, Finding
from tests.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from bench.reliability.crew import Member

NUMBERS = ("7", "8")
_BOUND_S = 0.5


async def run(effort: Effort) -> list[Finding]:
    """All at a high rate, then some at a low one."""
    storms = (
        _storm(effort, "7", "reconnect storm, 50 kills/s", every_s=0.02, share=0.0),
        _storm(effort, "8", "random subsets of connections killed", every_s=0.5, share=0.5),
    )
    return list(await asyncio.gather(*storms)) if effort.quick else [await storm for storm in storms]


async def _storm(effort: Effort, number: str, title: str, *, every_s: float, share: float) -> Finding:
    journey, killed, ended_at = await stormed(effort, every_s=every_s, share=share)
    back_s = journey.back_s(ended_at)
    return Finding(
        number,
        title,
        "alacena",
        f"seed {effort.seed}, {journey.ran}, {killed} kills",
        f"{journey.seen}; full service everywhere {back_s:.2f} s after the last kill",
        held=journey.held and back_s < 5,
        details={"violations": len(journey.report.violations), "killed": killed, "back_s": back_s},
    )


async def stormed(effort: Effort, *, every_s: float, share: float) -> tuple[Journey, int, float]:
    """Roam while connections are killed; how many were, and when the last one was."""
    seconds = effort.of(15.0, 6.0)
    killed = 0
    with RedisServer(effort.flavour) as server:

        async def kill(_: list[Member]) -> float:
            nonlocal killed
            chance = random.Random(f"{effort.seed}/{every_s}")
            until = now() + seconds / 2
            while now() < until:
                await asyncio.sleep(every_s)
                killed += await asyncio.to_thread(_kill_some, server, chance, share)
            return now()

        urls = [server.url] * effort.of(8, 3)
        journey = await roamed(effort, urls, seconds=seconds, bound_s=_BOUND_S, trouble=kill)
    return journey, killed, journey.figure


def _kill_some(server: RedisServer, chance: random.Random, share: float) -> int:
    """Kill one connection, or each with a probability."""
    clients = [line.split(" ")[0].partition("=")[2] for line in server.call("CLIENT", "LIST").splitlines()]
    chosen = [one for one in clients if chance.random() < share] if share else [chance.choice(clients)]
    return sum(int(server.call("CLIENT", "KILL", "ID", one)) for one in chosen)
