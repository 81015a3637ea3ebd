"""Items a second through each library's queue on the same server: sent, and worked off by two processes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.coordination.crew import Crew, until
from bench.coordination.peers import ABSENT
from bench.coordination.peers.queues import AT_ONCE, PEERS
from bench.figures.statistics import ratio, spread
from bench.figures.tables import Column, Result, Row, Table, judged, unjudged
from bench.stand.rounds import interleaved
from tests.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.coordination.peers.queues import QueuePeer
    from bench.figures.tables import Bar
    from bench.stand.effort import Effort

WORKERS = 2
WARM = 50
LINE = 8
PATIENCE_S = 60.0
_SLOW = ("alacena, batches", "dramatiq")
"""Not in the quick run."""

Sample = tuple[float, float]


async def measure(effort: Effort, seed: int) -> Result:
    """Rounds in turn; in each, workers of their own, warmed up and stopped while the items are sent."""
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
    ours = [worked for _, worked in found[PEERS[0].name]]
    rows = []
    for peer in PEERS:
        samples = found.get(peer.name)
        if samples is None:
            rows.append(Row(peer.name, (None, None, ABSENT if peer.absent else "–"), "peer"))
            continue
        worked = [each for _, each in samples]
        rows.append(
            Row(peer.name, (ratio(ours, worked), spread(worked), spread([each for each, _ in samples])), peer.role)
        )
    columns = (
        Column("Worker is so many times as fast", 2),
        Column("worked off/s", 0, "high"),
        Column("sent/s", 0, "high"),
    )
    notes = (
        f"{count} items whose handler notes their number; {WORKERS} processes, {AT_ONCE} handlers at a time in each",
        "sent the fastest way that each documents: ours 500 a command, arq and taskiq a hundred calls at a time",
    )
    return Result((Table("Queue speed", columns, tuple(rows), notes, charted=1),), _bars(found))


async def _one(peer: QueuePeer, url: str, count: int) -> Sample:
    with Crew(peer.work, WORKERS, url=url, pause_s=0.0) as crew:
        await peer.send(url, range(WARM))
        await _noted(crew, WARM)
        for place in range(WORKERS):
            crew.pause(place)
        began = time.perf_counter()
        await peer.send(url, range(count))
        sent_s = time.perf_counter() - began
        began = time.perf_counter()
        for place in range(WORKERS):
            crew.resume(place)
        await _noted(crew, WARM + count)
        return count / sent_s, count / (time.perf_counter() - began)


async def _noted(crew: Crew, count: int) -> None:
    if not await until(lambda: crew.noted_bytes() >= count * LINE, PATIENCE_S, every_s=0.002):
        raise TimeoutError(f"{crew.noted_bytes() // LINE} of {count} items were handled in {PATIENCE_S:g} s")


def _bars(found: dict[str, list[Sample]]) -> tuple[Bar, ...]:
    ours = [worked for _, worked in found["alacena, Worker"]]
    bars = []
    for name in ("arq", "taskiq, Stream", "taskiq, ListQueue"):
        question = f"worked off, over {name}"
        if name not in found:
            bars.append(unjudged(question, "≥ 1", "–", ABSENT))
            continue
        times = ratio(ours, [worked for _, worked in found[name]]).median
        bars.append(judged(question, times, bar=1.0, higher=True, unit="×"))
    return tuple(bars)
