"""Many processes ask for one cold key at once: how often is the source asked, what do the waiting processes send?

And once more with the loading process killed while it loads: who takes over, when, and does anybody get an error?
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.figures.statistics import percentile
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import REDIS, invited, settings_of
from proving.rivals.rival import Place
from proving.stand.relay import Relay
from proving.stand.workers import Worker

if TYPE_CHECKING:
    from proving.stand.effort import Effort
    from proving.stand.server import Server
    from proving.stand.workers import Talk

_NAMES = ("alacena", "redis-py", "cashews", "aiocache", "dogpile")
_LOAD_S = 0.5
_KILL_AFTER_S = 0.1
_GIVE_UP_S = 12.0
_PATIENCE_S = 3 * _GIVE_UP_S
"""Whoever has said nothing by then hangs: all its callers are errors, and it is ended."""
_HEARTBEATS = "heartbeats keep a connection's word current, whether or not somebody waits: they are counted apart"
_COLUMNS = (
    Column("loads", 0, "low"),
    Column("commands a process", 1, "low"),
    Column("heartbeats a process", 1),
    Column("p50 wait, s", 2, "low"),
    Column("p99 wait, s", 2, "low"),
    Column("longest, s", 2, "low"),
    Column("errors", 0, "low"),
)


class Rush(NamedTuple):
    """How one cold key went."""

    loads: int
    commands: float
    heartbeats: float
    waits_s: list[float]
    errors: int

    @property
    def cells(self) -> tuple[float, ...]:
        """As a row."""
        waits_s = self.waits_s or [math.inf]
        return (
            self.loads, self.commands, self.heartbeats,
            percentile(waits_s, 0.5), percentile(waits_s, 0.99), max(waits_s), self.errors,
        )  # fmt: skip


async def measure(server: Server, effort: Effort) -> Result:
    """Ask everybody, one after the other."""
    processes, callers = effort.of((8, 500), (4, 200))
    field = invited(REDIS, effort.of(_NAMES, ("alacena", "cashews", "aiocache")))
    calm: dict[str, Rush] = {}
    killed: dict[str, Rush] = {}
    for name in field.present:
        server.flush()
        # Others wait until they give up if their loader is killed: no quick run has the time for that.
        kill = name == "alacena" or not effort.quick
        calm[name], *more = await _rushes(server, name, processes, callers, kill=kill)
        if more:
            killed[name] = more[0]
    about = (settings_of(field.present), f"the source takes {_LOAD_S} s", _HEARTBEATS, *field.note)
    sizes = f"{processes} processes × {callers} callers"
    return Result(
        (
            Table(f"One cold key, {sizes}", _COLUMNS, _rows(calm), about, charted=1),
            Table(
                f"One cold key, {sizes}, the loading process killed",
                _COLUMNS,
                _rows(killed),
                (
                    f"killed {_KILL_AFTER_S} s into its load, its callers are not counted; our lease lasts 5 s",
                    f"a caller who waits {_GIVE_UP_S:g} s counts as an error",
                ),
            ),
        ),
        (
            judged("one cold key, all processes: loads", calm["alacena"].loads, bar=1),
            judged("one cold key, commands a process", calm["alacena"].commands, goal=5),
            judged("one cold key, loader killed: commands a process", killed["alacena"].commands, goal=5),
            judged("one cold key, loader killed: loads that were finished", killed["alacena"].loads - 1, bar=1),
            judged("one cold key, loader killed: errors", killed["alacena"].errors, bar=0),
        ),
    )


def _rows(found: dict[str, Rush]) -> tuple[Row, ...]:
    return tuple(Row(name, rush.cells, "ours" if name == "alacena" else "peer") for name, rush in found.items())


async def _rushes(server: Server, name: str, processes: int, callers: int, *, kill: bool) -> list[Rush]:
    with Relay(server.path) as relay:
        start = [
            Worker.start("bench.scenarios.stampede:process", rival=name, path=relay.path, callers=callers)
            for _ in range(processes)
        ]
        workers = await asyncio.gather(*start)
        try:
            await asyncio.gather(*(worker.hear() for worker in workers))
            await _rush(relay, workers, callers, "warm")
            rushes = [await _rush(relay, workers, callers, "calm")]
            if kill:
                rushes.append(await _rush(relay, workers, callers, "killed", kill=True))
            return rushes
        finally:
            for worker in workers:
                worker.kill()
            await asyncio.gather(*(worker.ended() for worker in workers))


async def _rush(relay: Relay, workers: list[Worker], callers: int, key: str, *, kill: bool = False) -> Rush:
    victim: list[Worker] = []

    async def follow(worker: Worker) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while (said := await worker.hear()) is not None:
                    if "waits_s" in said:
                        return dict(said)
                    if kill and not victim:
                        victim.append(worker)
                        await asyncio.sleep(_KILL_AFTER_S)
                        worker.kill()
        except TimeoutError:
            worker.kill()
            return {"loads": 0, "errors": callers, "waits_s": []}
        return None

    relay.reset()
    for worker in workers:
        worker.tell(key)
    reports = await asyncio.gather(*(follow(worker) for worker in workers))
    said = [report for report in reports if report is not None]
    return Rush(
        loads=sum(report["loads"] for report in said) + len(victim),
        commands=relay.asked / len(workers),
        heartbeats=relay.heartbeats / len(workers),
        waits_s=[wait for report in said for wait in report["waits_s"]],
        errors=sum(report["errors"] for report in said),
    )


async def process(talk: Talk, rival: str, path: str, callers: int) -> None:
    """One of the processes: at each word, all its callers ask for that key."""
    loads = 0

    async def load(key: str) -> Any:
        nonlocal loads
        loads += 1
        talk.say({"loading": key})
        await asyncio.sleep(_LOAD_S)
        return {"key": key}

    contender = invited(REDIS, (rival,)).present[rival]
    await contender.open(Place(load, path))
    talk.say({"ready": True})
    while key := await talk.hear():
        loads, errors = 0, 0
        waits_s: list[float] = []

        async def caller(key: str) -> None:
            nonlocal errors
            began = time.perf_counter()
            try:
                await asyncio.wait_for(contender.get_or_load(key), _GIVE_UP_S)
            except (Exception, asyncio.CancelledError):  # some peers cancel everybody when one caller gives up
                errors += 1
            else:
                waits_s.append(time.perf_counter() - began)

        await asyncio.gather(*(caller(key) for _ in range(callers)))
        talk.say({"loads": loads, "errors": errors, "waits_s": waits_s})
    await contender.close()
