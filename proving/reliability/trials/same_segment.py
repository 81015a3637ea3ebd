"""Does memory keep a value whose removal arrives in the same read as the value itself?

A process asks for an entry and is then too busy to listen, while somebody else removes the entry: the answer and the
push about it lie in its socket together. Asked of the caches that keep copies and are told of changes.
"""

from __future__ import annotations

import asyncio
import random

from proving.reliability.line import Line
from proving.reliability.place import Effort, Finding, attempted
from proving.reliability.rivalry import OURS, contender, others
from proving.rivals.rival import Place
from proving.servers.redis_server import RedisServer

NUMBERS = ("2", "3")
_KEEPERS = ("coredis",)
_SPARE = "spare"
_READ_S = 0.001
"""Room for contenders that hear of removals on a connection of their own."""
_TURNS = 12
"""Turns of the loop, at most, that the asking process gets before it is too busy: some contenders need several to send."""


async def run(effort: Effort) -> list[Finding]:
    """Races, one after the other."""
    keepers = [who for who in others(effort) if who in _KEEPERS]
    return [
        await attempted("2, 3", "answer and push in one read", who, _raced(who, effort)) for who in (OURS, *keepers)
    ]


async def _raced(who: str, effort: Effort) -> Finding:
    races = effort.of(5_000, 1_000)
    caught, stale = await raced(who, effort, races)
    return Finding(
        "2, 3",
        "answer and push in one read",
        who,
        f"seed {effort.seed}, {races:,} reads of entries that are removed while the process does not listen; "
        f"{caught:,} got the value first",
        f"still served from memory afterwards: {stale}",
        held=stale == 0 and caught > races // 20 if who == OURS else None,
        details={"stale": stale, "caught": caught},
    )


async def raced(who: str, effort: Effort, races: int) -> tuple[int, int]:
    """How many reads got a value that was removed right behind it, and after how many it was still served."""
    chance = random.Random(effort.seed)
    caught = stale = 0
    with RedisServer(effort.flavour) as server, Line(server) as line:
        cache = contender(who)
        await cache.open(Place(_nothing, str(server.socket_path)))
        try:
            await cache.set("d0", 1)
            (name,) = line.ask("KEYS", "*d0")
            line.ask("COPY", name, _SPARE)
            line.ask("UNLINK", name)
            for _ in range(races):
                line.ask("COPY", _SPARE, name, "REPLACE")
                reading = asyncio.create_task(cache.get("d0"))
                for _ in range(chance.randrange(1, _TURNS)):
                    await asyncio.sleep(0)
                line.ask("UNLINK", name)
                if await reading is not None:
                    caught += 1
                    # What is answered now was sent behind the push.
                    await cache.get("d1")
                    await asyncio.sleep(_READ_S)
                    stale += await cache.get("d0") is not None
        finally:
            await cache.close()
    return caught, stale


async def _nothing(_: str) -> None:
    """The source is not asked here."""
