"""A holder that can renew no more is told before the server could give its lock away: by how much?"""

from __future__ import annotations

import asyncio
import random
import tempfile
from typing import TYPE_CHECKING, NamedTuple

from alacena.engine import Cache, Settings
from alacena.testing.proxy import FaultProxy
from proving.figures.statistics import spread
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.reliability.roaming import Wrong
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from alacena.coordination.lock import Lock
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

TTL_S = 10.0
CLOCKS = (
    ("right", 0.0, 0.0),
    ("10 min ahead", 600.0, 0.0),
    ("10 min behind", -600.0, 0.0),
    ("5 s a 1,000 s too slow", 0.0, -0.005),
    ("5 s a 1,000 s too fast", 0.0, 0.005),
)
_QUICK = (0, 2)
_COLUMNS = (
    Column("margin, ms", 1), Column("least, ms", 1, "high"), Column("told too late", 0), Column("worst delay, ms", 1),
    Column("locks", 0),
)  # fmt: skip


class Told(NamedTuple):
    """When a holder was told.

    Attributes:
        left_ms: Of its lease, on the server; below 0: it was over.
        delay_ms: By how much its process was late by its own clock.
    """

    left_ms: float
    delay_ms: float


async def measure(effort: Effort, seed: int) -> Result:
    """Holders with each clock, at the same time on one server."""
    locks = effort.of(60, 20)
    clocks = [CLOCKS[number] for number in _QUICK] if effort.quick else CLOCKS
    with RedisServer("valkey") as server:
        seen = await asyncio.gather(
            *(cut_off(server, name, Wrong(off_s, ratio), locks, random.Random(seed)) for name, off_s, ratio in clocks)
        )
    rows = tuple(Row(f"clock {name}", _cells(each), "ours") for (name, *_), each in zip(clocks, seen, strict=True))
    late = sum(told.left_ms + told.delay_ms < 0 for each in seen for told in each)
    notes = (
        (
            f"leases of {TTL_S:g} s; margin: what is left of one on the server when its holder is told; its link was held. "
            "delay: by how much later than it meant to the holder's process ran, on a machine that is busy"
        ),
    )
    table = Table("Told in time", _COLUMNS, rows, notes)
    return Result(
        (table,), (judged("holders that meant to be told after the server could give their lock away", late, bar=0),)
    )


def _cells(seen: list[Told]) -> tuple[Cell, ...]:
    left_ms = [told.left_ms for told in seen]
    return (
        spread(left_ms), min(left_ms), sum(left < 0 for left in left_ms), max(told.delay_ms for told in seen), len(seen),
    )  # fmt: skip


async def cut_off(server: RedisServer, who: str, environment: Wrong, count: int, chance: random.Random) -> list[Told]:
    """Hold locks, have the link held, and ask the server what is left of each when its holder is told; below 0: gone."""
    with tempfile.TemporaryDirectory(prefix="alacena-") as home:
        async with (
            FaultProxy(str(server.socket_path), listen=f"{home}/s") as proxy,
            Cache(Settings(redis_url=f"unix://{home}/s"), environment=environment) as cache,
        ):

            async def hold(number: int) -> Told:
                await asyncio.sleep(TTL_S / 3 * chance.random())
                lock: Lock = await cache.locks.take(f"{who} {number}", tenant_id="acme", ttl_s=TTL_S)
                held.append(lock)
                await lock.lost.wait()
                delay_s = environment.now() - lock._deadline
                left_ms = server.call("PTTL", cache.locks._keys(f"{who} {number}", "acme")[0])
                return Told(float(left_ms), 1000 * delay_s)

            held: list[Lock] = []
            holders = [asyncio.ensure_future(hold(number)) for number in range(count)]
            await asyncio.sleep(TTL_S / 3 + TTL_S * chance.random())
            proxy.up.hold()
            return await asyncio.gather(*holders)
