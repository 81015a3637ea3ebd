"""Is a process that filled or wrote an entry itself told when another one removes it?"""

from __future__ import annotations

from proving.reliability.place import Effort, Finding, folder
from proving.reliability.puppet import puppets
from proving.reliability.truth import Truth
from proving.servers.redis_server import RedisServer

NUMBERS = ("4",)
_DEADLINE_S = 1.0


async def run(effort: Effort) -> list[Finding]:
    """Fills, sets and reads, then a foreign removal."""
    found = []
    for how in ("fill", "set_all", "load"):
        took = await told(effort, how)
        arrived = sorted(s for s in took if s >= 0)
        p99_ms = arrived[int(0.99 * (len(arrived) - 1))] * 1000 if arrived else float("inf")
        found.append(
            Finding(
                "4",
                f"foreign removal after our own {how.replace('_all', '')}",
                "alacena",
                f"{len(took)} entries in memory, removed one after the other by another process",
                f"gone from memory without a read: {len(arrived)} of {len(took)}; after p99 {p99_ms:.1f} ms",
                held=len(arrived) == len(took),
                details={"arrived": len(arrived), "p99_ms": p99_ms},
            )
        )
    return found


async def told(effort: Effort, how: str) -> list[float]:
    """How long it took until memory had lost each entry, from when the other process began; -1 where it did not."""
    keys = list(range(effort.of(500, 50)))
    with folder() as home, RedisServer(effort.flavour) as server, Truth.create(home / "truth", len(keys)):
        async with puppets(home, [server.url] * 2) as (holder, remover):
            if how == "load":
                await remover.pull("fill", keys)
            await holder.pull(how, keys, *([1] if how == "set_all" else []))
            if how != "set_all":
                await holder.pull("load", keys)
            holder.begin("peeked", keys, 1, _DEADLINE_S)
            await remover.pull("invalidate", keys)
            took: list[float] = await holder.answer()
            return took
