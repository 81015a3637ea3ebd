"""Items a second through each library's queue on the same server: sent, and worked off by two processes."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from proving.coordination.crew import Crew
from proving.coordination.peers import ABSENT
from proving.coordination.peers.queues import AT_ONCE, PEERS
from proving.figures.statistics import ratio, spread
from proving.figures.tables import Column, Result, Row, Table, judged, unjudged
from proving.servers.redis_server import RedisServer
from proving.stand.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.coordination.crew import Journal
    from proving.coordination.peers.queues import QueuePeer
    from proving.figures.tables import Bar
    from proving.stand.effort import Effort

WORKERS = 2
LINE = 8
PATIENCE_S = 10.0
_SLOW = ("alacena, batches", "dramatiq")
"""Not in the quick run."""


class Sample(NamedTuple):
    """One round of one library.

    Attributes:
        sent: Items a second.
        worked: Items a second.
        missing: Items that did not come.
    """

    sent: float
    worked: float
    missing: int


async def measure(effort: Effort, seed: int) -> Result:
    """Rounds in turn; in each, workers of their own, which begin when all items have been sent."""
    del seed
    count = effort.of(6_000, 500)
    peers = [peer for peer in PEERS if not peer.absent and (not effort.quick or peer.name not in _SLOW)]
    with RedisServer("valkey") as server:

        def contender(peer: QueuePeer) -> Callable[[], Awaitable[Sample]]:
            async def once() -> Sample:
                server.reset()
                return await _one(peer, server.url, count)

            return once

        found = await interleaved({peer.name: contender(peer) for peer in peers}, effort.of(5, 1))
    ours = [sample.worked for sample in found[PEERS[0].name]]
    rows = []
    for peer in PEERS:
        samples = found.get(peer.name)
        if samples is None:
            rows.append(Row(peer.name, (None, None, None, ABSENT if peer.absent else None), "peer"))
            continue
        worked = [sample.worked for sample in samples]
        sent, missing = spread([sample.sent for sample in samples]), sum(sample.missing for sample in samples)
        rows.append(Row(peer.name, (ratio(ours, worked), spread(worked), sent, missing), peer.role))
    columns = (
        Column("Worker is so many times as fast", 2),
        Column("worked off/s", 0, "high"),
        Column("sent/s", 0, "high"),
        Column("did not come", 0),
    )
    notes = (
        f"{count} items whose handler notes their number; {WORKERS} processes, {AT_ONCE} handlers at a time in each",
        "sent the fastest way that each documents: ours 500 a command, arq and taskiq a hundred calls at a time",
    )
    return Result((Table("Queue speed", columns, tuple(rows), notes, charted=1),), _bars(found))


async def gated(journal: Journal, peer: str, url: str, gate: str, place: int) -> None:
    """Work as a peer does, once there is a file named ``gate``."""
    by_name = {each.name: each for each in PEERS}
    while not os.path.exists(gate):  # noqa: PTH110 - nothing else runs yet
        await asyncio.sleep(0.002)
    await by_name[peer].work(journal, url=url, pause_s=0.0, place=place)


async def _one(peer: QueuePeer, url: str, count: int) -> Sample:
    with tempfile.TemporaryDirectory(prefix="alacena-") as home:
        gate = f"{home}/gate"
        with Crew(gated, WORKERS, peer=peer.name, url=url, gate=gate) as crew:
            began = time.perf_counter()
            await peer.send(url, range(count))
            sent_s = time.perf_counter() - began
            began = time.perf_counter()
            Path(gate).touch()
            last, noted = began, 0
            while (now := crew.noted_bytes()) < count * LINE and time.perf_counter() - last < PATIENCE_S:
                if now > noted:
                    noted, last = now, time.perf_counter()
                await asyncio.sleep(0.002)
            ended = time.perf_counter() if now >= count * LINE else last
            return Sample(count / sent_s, now / LINE / (ended - began), count - now // LINE)


def _bars(found: dict[str, list[Sample]]) -> tuple[Bar, ...]:
    ours = [sample.worked for sample in found["alacena, Worker"]]
    bars = []
    for name in ("arq", "taskiq, Stream", "taskiq, ListQueue"):
        question = f"worked off, over {name}"
        if name not in found:
            bars.append(unjudged(question, "≥ 1", "–", ABSENT))
            continue
        times = ratio(ours, [sample.worked for sample in found[name]]).median
        bars.append(judged(question, times, bar=1.0, higher=True, unit="×"))
    return tuple(bars)
