"""Is anything stale while connections are killed fifty times a second, or any subset of them; how soon is all well again?"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from proving.reliability.journal import now
from proving.reliability.journey import Journey, roamed, wait_until
from proving.reliability.line import Line
from proving.reliability.place import Effort, Finding
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.reliability.crew import Member

NUMBERS = ("7", "8")
_BOUND_S = 0.5


async def run(effort: Effort) -> list[Finding]:
    """All at a high rate, then some at a low one."""
    storms = (
        _storm(effort, "7", "reconnect storm, a kill every 20 ms", every_s=0.02, share=0.0),
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
        held=journey.held and back_s < 10,
        details={"violations": len(journey.report.violations), "killed": killed, "back_s": back_s},
    )


async def stormed(effort: Effort, *, every_s: float, share: float) -> tuple[Journey, int, float]:
    """Roam while connections are killed; how many were, and when the last one was."""
    seconds = effort.of(15.0, 4.0)
    killed = 0
    with RedisServer(effort.flavour) as server, Line(server) as line:

        async def kill(_: list[Member]) -> float:
            nonlocal killed
            chance = random.Random(f"{effort.seed}/{every_s}")
            until, due = now() + seconds / 3, now()
            while now() < until:
                due += every_s
                await wait_until(due)
                killed += _kill_some(line, chance, share)
            return now()

        urls = [server.url] * effort.of(8, 3)
        journey = await roamed(effort, urls, seconds=seconds, bound_s=_BOUND_S, trouble=kill)
    return journey, killed, journey.figure


def _kill_some(line: Line, chance: random.Random, share: float) -> int:
    """Kill one connection, or each with a probability; never the one that does it."""
    clients = [one.split(" ")[0].partition("=")[2] for one in line.ask("CLIENT", "LIST").splitlines()]
    clients.remove(str(line.client_id))
    chosen = [one for one in clients if chance.random() < share] if share else clients and [chance.choice(clients)]
    return sum(int(line.ask("CLIENT", "KILL", "ID", one)) for one in chosen)
