"""A hundred contenders for one lock, its holder killed: how long to the next holder, at what cost, two at once?"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proving.coordination.crew import Crew, until
from proving.coordination.peers import ABSENT
from proving.coordination.peers.locks import PEERS
from proving.figures.statistics import percentile, spread
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proving.coordination.crew import Journal
    from proving.coordination.peers.locks import LockPeer
    from proving.figures.tables import Bar, Cell
    from proving.stand.effort import Effort

PROCESSES = 5
EACH = 20
TTL_S = 1.0
WORK_S = 0.002
LONG_S = 60.0


async def contend(journal: Journal, url: str, peer: str, place: int) -> None:
    """Twenty tasks that take the lock again and again."""
    by_name = {each.name: each for each in PEERS}
    async with by_name[peer].connect(url, TTL_S) as take:

        async def loop(task: int) -> None:
            while True:
                try:
                    async with take() as fence:
                        began = time.monotonic()
                        await asyncio.sleep(WORK_S)
                        journal.note(f"{began:.6f} {time.monotonic():.6f} {place}.{task} {fence}")
                except Exception as error:
                    journal.note(f"error {type(error).__name__}")
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(loop(task) for task in range(EACH)))


async def hold(journal: Journal, url: str, peer: str, place: int) -> None:
    """Take the lock once and keep it until killed."""
    by_name = {each.name: each for each in PEERS}
    async with by_name[peer].connect(url, TTL_S) as take, take():
        journal.note(f"held {time.monotonic():.6f}")
        await asyncio.Event().wait()


@dataclass(slots=True)
class Seen:
    """What a library has shown."""

    waits_s: list[float]
    overlaps: int
    blocks: int
    commands: float
    unfair: float
    errors: int
    idle: float


async def measure(effort: Effort, seed: int) -> Result:
    """Each library by itself, on an emptied server."""
    rows: list[Row] = []
    bars: tuple[Bar, ...] = ()
    with RedisServer("valkey") as server:
        for peer in PEERS[: effort.of(len(PEERS), 2)]:
            if peer.absent:
                rows.append(Row(peer.name, (ABSENT, *(None,) * 7), "peer"))
                continue
            server.reset()
            seen = await watch(peer, server, effort.of(12, 2), effort.of(4.0, 0.6), random.Random(seed))
            rows.append(Row(peer.name, _cells(seen), peer.role))
            if peer.role == "ours":
                bars = (
                    judged("two in the block at once", seen.overlaps, bar=0),
                    judged("worst time to the next holder", max(seen.waits_s), bar=TTL_S + 0.5, unit=" s"),
                    judged("commands for one turn of a waiter", seen.commands, bar=8.0),
                )
    notes = (
        (
            f"{PROCESSES} processes with {EACH} contenders each, blocks of {WORK_S * 1000:g} ms, leases of {TTL_S:g} s; then a "
            "process that holds the lock is killed among them, and the time to the next block is taken; a holder that renews "
            "leaves at least two thirds of its lease behind, one that does not the rest of it"
        ),
        (
            "commands: sent by the contenders, over the blocks, without kills; by a waiter in a second while one holds it; "
            "most/mean: blocks of the luckiest contender over the mean, 1 is fair"
        ),
    )
    columns = tuple(Column(name, digits) for name, digits in _COLUMNS)
    return Result((Table("A hundred contenders", columns, tuple(rows), notes),), bars)


_COLUMNS = (
    ("next holder, s", 2), ("worst, s", 2), ("two at once", 0), ("blocks/s", 0), ("commands a block", 1),
    ("a waiter and second", 2),     ("most/mean", 1), ("errors", 0),
)  # fmt: skip


def _cells(seen: Seen) -> tuple[Cell, ...]:
    waits = seen.waits_s
    return (
        spread(waits) if waits else None, percentile(waits, 1.0) if waits else None, seen.overlaps, seen.blocks,
        seen.commands, seen.idle, seen.unfair, seen.errors,
    )  # fmt: skip


async def watch(peer: LockPeer, server: RedisServer, kills: int, calm_s: float, chance: random.Random) -> Seen:
    with Crew(contend, PROCESSES, url=server.url, peer=peer.name) as crew:
        await until(lambda: len({line.split(" ")[2].split(".")[0] for line in _blocks(crew)}) == PROCESSES, 20)
        await asyncio.sleep(0.5)
        before, commands = len(_blocks(crew)), _sent(server, peer.sends)
        began = time.monotonic()
        await asyncio.sleep(calm_s)
        commands = _sent(server, peer.sends) - commands
        blocks = len(_blocks(crew)) - before
        per_second = blocks / (time.monotonic() - began)
        idle: list[tuple[float, int]] = []
        waits = [await _kill_a_holder(peer, server, crew, chance, idle) for _ in range(kills)]
        found = sorted(tuple(map(float, line.split(" ")[:2])) for line in _blocks(crew))
        turns: dict[str, int] = {}
        for line in _blocks(crew):
            who = line.split(" ")[2]
            turns[who] = turns.get(who, 0) + 1
        errors = sum(line.startswith("error") for line in crew.lines())
    overlaps = sum(after[0] < before[1] for before, after in itertools.pairwise(found))
    mean = sum(turns.values()) / (PROCESSES * EACH)
    return Seen(
        [wait for wait in waits if wait is not None], overlaps, round(per_second), commands / max(blocks, 1),
        max(turns.values()) / mean, errors,
        sum(sent for _, sent in idle) / max(sum(held for held, _ in idle), 0.001) / (PROCESSES * EACH),
    )  # fmt: skip


async def _kill_a_holder(
    peer: LockPeer, server: RedisServer, crew: Crew, chance: random.Random, idle: list[tuple[float, int]]
) -> float | None:
    """Seconds from the death of a process that held the lock to the next block of another.

    ``idle`` gets for how long it held the lock, and how many commands the waiters sent meanwhile.
    """
    with Crew(hold, 1, url=server.url, peer=peer.name) as holder:
        if not await until(lambda: bool(holder.lines()), 30):
            return None
        began, commands = time.monotonic(), _sent(server, peer.sends)
        await asyncio.sleep(TTL_S * chance.random())
        killed = time.monotonic()
        idle.append((killed - began, _sent(server, peer.sends) - commands))
        holder.members[0].kill()
        holder.members[0].join()
        await until(lambda: any(float(line.split(" ")[0]) > killed for line in _blocks(crew)), 30)
        later = [began for line in _blocks(crew) if (began := float(line.split(" ")[0])) > killed]
        return min(later) - killed if later else None


def _blocks(crew: Crew) -> list[str]:
    return [line for line in crew.lines() if not line.startswith("error")]


def _sent(server: RedisServer, names: Sequence[str]) -> int:
    """How often commands were executed that clients send and scripts do not call."""
    stats = server.call("INFO", "commandstats").splitlines()
    calls = {line.split(":")[0]: int(line.split("calls=")[1].split(",")[0]) for line in stats if "calls=" in line}
    return sum(calls.get(f"cmdstat_{name}", 0) for name in names)
