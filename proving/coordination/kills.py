"""Four workers of each library, SIGKILLed a dozen times: how many of its items are lost, how many handled twice?"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from proving.coordination.crew import Crew, until
from proving.coordination.peers import ABSENT
from proving.coordination.peers.queues import AT_ONCE, PEERS, RECLAIM_S
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.coordination.peers.queues import QueuePeer
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

WORKERS = 4
PAUSE_S = 0.02
_QUICK = ("alacena, Worker", "a list and LPOP")
SETTLED_S = 16.0
"""No progress for so long: what is missing is lost. arq adds 10 s to what it is told to reclaim after."""


async def measure(effort: Effort, seed: int) -> Result:
    """Each library by itself, on an emptied server."""
    count, kills = effort.of((3_000, 12), (300, 3))
    rows = []
    lost = 0
    with RedisServer("valkey") as server:
        for peer in PEERS:
            if effort.quick and peer.name not in _QUICK:
                continue
            if peer.absent:
                rows.append(Row(peer.name, (ABSENT, *(None,) * (len(_COLUMNS) - 1)), "peer"))
                continue
            server.reset()
            settled_s = effort.of(SETTLED_S, 3.0)
            cells = await kill_workers(peer, server.url, count, kills, settled_s, random.Random(seed))
            if peer.role == "ours":
                lost += int(str(cells[2]))
            rows.append(Row(peer.name, cells, peer.role))
    notes = (
        (
            f"{WORKERS} workers, {AT_ONCE} handlers of {PAUSE_S * 1000:g} ms at a time in each; every library reclaims "
            f"after about {RECLAIM_S:g} s (arq: {RECLAIM_S + 10:g}); "
            f"lost: did not come while nothing came for {effort.of(SETTLED_S, 3.0):g} s"
        ),
    )
    table = Table("SIGKILL", tuple(Column(name, digits) for name, digits in _COLUMNS), tuple(rows), notes)
    return Result((table,), (judged("items lost by alacena", lost, bar=0),))


async def kill_workers(
    peer: QueuePeer, url: str, count: int, kills: int, settled_s: float, chance: random.Random
) -> tuple[Cell, ...]:
    await peer.send(url, range(count))
    with Crew(peer.work, WORKERS, url=url, pause_s=PAUSE_S) as crew:
        began = time.monotonic()
        for number in range(kills):
            least = 8 * count * (number + 1) // (kills + 2)
            await until(lambda least=least: crew.noted_bytes() >= least, settled_s)  # type: ignore[misc]
            await asyncio.sleep(0.01 * chance.random())
            crew.kill(chance.randrange(WORKERS))
        await _settled(peer, url, crew, count, settled_s)
        took_s = time.monotonic() - began
        handled = Counter(int(line) for line in crew.lines() if int(line) < count)
        missing = count - len(handled)
        return (
            peer.promise, count, missing, handled.total() - len(handled), crew.kills, took_s - settled_s * bool(missing)
        )  # fmt: skip


async def _settled(peer: QueuePeer, url: str, crew: Crew, count: int, settled_s: float) -> None:
    """Wait until everything was handled, or nothing has come for a while.

    Something new is sent each second, because taskiq looks for what dead workers left only after it got something.
    """
    extra, last, found = count, time.monotonic(), -1
    while time.monotonic() - last < settled_s:
        handled = len({line for line in crew.lines() if int(line) < count})
        if handled == count:
            return
        if handled > found:
            found, last = handled, time.monotonic()
        await peer.send(url, range(extra, extra + 4))
        extra += 4
        await asyncio.sleep(1.0)


_COLUMNS = (("says", 0), ("items", 0), ("lost", 0), ("handled again", 0), ("kills", 0), ("s", 1))
