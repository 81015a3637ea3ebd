"""A holder that can renew no more is told before the server could give its lock away: by how much?"""

from __future__ import annotations

import asyncio
import random
import tempfile
from typing import TYPE_CHECKING

from alacena.engine import Cache, Settings
from alacena.testing.proxy import FaultProxy
from bench.figures.statistics import percentile, spread
from bench.figures.tables import Column, Result, Row, Table, judged
from bench.reliability.roaming import Wrong
from tests.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from alacena.engine.coordination.lock import Lock
    from bench.figures.tables import Cell
    from bench.stand.effort import Effort

SHORT_S, LONG_S = 3.0, 10.0
CLOCKS = (
    ("right", 0.0, 0.0),
    ("10 min ahead", 600.0, 0.0),
    ("10 min behind", -600.0, 0.0),
    ("5 s a 1,000 s too slow", 0.0, -0.005),
    ("5 s a 1,000 s too fast", 0.0, 0.005),
)
_QUICK = (0, 2)
_COLUMNS = (
    Column("margin, ms", 1), Column("least, ms", 1, "high"), Column("told too late", 0), Column("locks", 0),
)  # fmt: skip


async def measure(effort: Effort, seed: int) -> Result:
    """Each clock of the holder with a short lease, and a long one."""
    rows, late = [], 0
    locks = effort.of(100, 25)
    plans = [(SHORT_S, *clock) for clock in CLOCKS] + [(LONG_S, *CLOCKS[0])]
    with RedisServer("valkey") as server:
        for ttl_s, name, off_s, drift_ratio in [plans[number] for number in _QUICK] if effort.quick else plans:
            server.reset()
            left_ms = await cut_off(server, Wrong(off_s, drift_ratio), ttl_s, locks, random.Random(seed))
            rows.append(Row(f"lease of {ttl_s:g} s, clock {name}", _cells(left_ms), "ours"))
            late += sum(left < 0 for left in left_ms)
    notes = (
        "margin: what is left of the lease on the server when the holder's block is cancelled, in ms; its link was held",
    )
    table = Table("Told in time", _COLUMNS, tuple(rows), notes)
    return Result((table,), (judged("holders told when the server could have given their lock away", late, bar=0),))


def _cells(left_ms: list[float]) -> tuple[Cell, ...]:
    return (spread(left_ms), percentile(left_ms, 0.0), sum(left < 0 for left in left_ms), len(left_ms))


async def cut_off(
    server: RedisServer, environment: Wrong, ttl_s: float, count: int, chance: random.Random
) -> list[float]:
    """Hold locks, have the link held, and ask the server what is left of each when its holder is told; below 0: gone."""
    with tempfile.TemporaryDirectory(prefix="alacena-") as home:
        async with (
            FaultProxy(str(server.socket_path), listen=f"{home}/s") as proxy,
            Cache(Settings(redis_url=f"unix://{home}/s"), environment=environment) as cache,
        ):

            async def hold(number: int) -> float:
                await asyncio.sleep(ttl_s / 3 * chance.random())
                lock: Lock = await cache.locks.take(f"l{number}", tenant_id="acme", ttl_s=ttl_s)
                held.append(lock)
                await lock.lost.wait()
                return float(server.call("PTTL", cache.locks._keys(f"l{number}", "acme")[0]))

            held: list[Lock] = []
            holders = [asyncio.ensure_future(hold(number)) for number in range(count)]
            await asyncio.sleep(ttl_s / 3 + ttl_s * chance.random())
            proxy.up.hold()
            return await asyncio.gather(*holders)
