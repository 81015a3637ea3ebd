"""Callers are cancelled at random moments while they share loads: who else suffers, and what is left behind?

Waves of callers for a few cold keys; half of them are cancelled after a number of turns of the loop drawn from a seed.
Nobody else may hear of it: a caller who was not cancelled and gets an exception was failed by another's cancellation.
"""

from __future__ import annotations

import asyncio
import gc
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import MEMORY, Field, invited, settings_of
from proving.rivals.rival import Place

if TYPE_CHECKING:
    from proving.rivals.rival import Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

_NAMES = ("alacena", "cashews", "cachebox", "theine", "aiocache")
_CALLERS = 200
_KEYS = 20
_SEED = 11
_TURNS = 16
_COLUMNS = (
    Column("cancelled", 0),
    Column("failed by another's", 0, "low"),
    Column("% of the others", 1, "low"),
    Column("errors nobody caught", 0, "low"),
    Column("tasks left", 0, "low"),
    Column("flights left", 0, "low"),
    Column("leases left", 0, "low"),
)


class Storm(NamedTuple):
    """What a storm left."""

    cancelled: int
    failed: int
    others: int
    stray: int
    tasks: int
    flights: int | None
    leases: int | None


async def measure(server: Server, effort: Effort) -> Result:
    """Run the storm through everybody."""
    cancels = effort.of(30_000, 1_500)
    field = invited(MEMORY, _NAMES)
    storms = {}
    for name, rival in field.present.items():
        server.flush()
        storms[name] = await _storm(server, name, rival, cancels)
    return Result((_table(storms, field),), _bars(storms["alacena"]))


def _table(storms: dict[str, Storm], field: Field) -> Table:
    rows = []
    for name, storm in storms.items():
        share = 100 * storm.failed / storm.others
        cells = (storm.cancelled, storm.failed, share, storm.stray, storm.tasks, storm.flights, storm.leases)
        rows.append(Row(name, cells, "ours" if name == "alacena" else "peer"))
    about = f"waves of {_CALLERS} callers for {_KEYS} cold keys; seed {_SEED}; aiocache shares no loads"
    return Table("A storm of cancellations", _COLUMNS, tuple(rows), (settings_of(field.present), about, *field.note))


def _bars(ours: Storm) -> tuple[Any, ...]:
    left = ours.tasks + (ours.flights or 0) + (ours.leases or 0)
    return (
        judged("cancellation storm: tasks, flights and leases left", left, bar=0),
        judged("cancellation storm: callers failed by another's", ours.failed, bar=0),
    )


async def _storm(server: Server, name: str, rival: Rival, cancels: int) -> Storm:
    chance = random.Random(_SEED)

    async def source(key: str) -> Any:
        for _ in range(4 + number_of(key) % 16):
            await asyncio.sleep(0)
        return f"value of {key}"

    ours = name == "alacena"
    await rival.open(Place(source, server.path if ours else "", entries=2_000))
    await rival.get_or_load("warm")
    before = len(asyncio.all_tasks())
    stray: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: stray.append(context))
    cancelled = failed = wave = 0
    while cancelled < cancels:
        wave += 1
        hit, others = await _wave(rival, wave, chance)
        cancelled, failed = cancelled + hit, failed + others
    await rival.settle()
    gc.collect()
    await asyncio.sleep(0)
    asyncio.get_running_loop().set_exception_handler(None)
    tasks = await _left(before)
    flights, leases = (await _flights(), len(server.ask("KEYS", "alacena:l:*"))) if ours else (None, None)
    await rival.close()
    return Storm(cancelled, failed, wave * _CALLERS - cancelled, len(stray), tasks, flights, leases)


def number_of(key: str) -> int:
    """A number from a key, the same in every process."""
    return sum(key.encode()) * 2_654_435_761 >> 7


async def _wave(rival: Rival, wave: int, chance: random.Random) -> tuple[int, int]:
    """One wave: how many were cancelled, and how many others failed all the same."""
    tasks = [asyncio.ensure_future(rival.get_or_load(f"w{wave}.{n % _KEYS}")) for n in range(_CALLERS)]
    doomed = {task: chance.randrange(1, _TURNS) for task in chance.sample(tasks, _CALLERS // 2)}
    cancelled = set()
    for turn in range(_TURNS):
        await asyncio.sleep(0)
        for task, when in doomed.items():
            if when == turn and task.cancel():
                cancelled.add(task)
    await asyncio.wait(tasks)
    failed = sum(task not in cancelled and (task.cancelled() or task.exception() is not None) for task in tasks)
    return len(cancelled), failed


async def _left(before: int) -> int:
    """Tasks that are there beyond those from before, once what is under way had time to end."""
    for _ in range(200):
        left = len(asyncio.all_tasks()) - before
        if left <= 0:
            return 0
        await asyncio.sleep(0.01)
    return left


async def _flights() -> int:
    from alacena.common import runtime

    return int((await runtime.opened()).stats()["flights"])
