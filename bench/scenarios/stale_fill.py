"""Read the source, invalidate, store late: how often is the old value still served after the invalidation was answered?

The plainest race there is. For each seed, a reader finds the key cold and asks the source; the source's value changes
and the key is deleted, as each contender's users do it; the reader's answer from the source arrives when the seed says.
Then somebody reads the key. Instants are drawn from the seed, so all contenders meet the same schedules; none of them
is told that it is one.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import REDIS, TRACKED, invited, settings_of
from proving.rivals.rival import Drops, Place

if TYPE_CHECKING:
    from proving.rivals.rival import Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

_NAMES = ("alacena", "redis-py", "coredis", "valkey-glide", "cashews", "aiocache", "dogpile")
_AT_ONCE = 20
_LONGEST_S = 0.02
_COLUMNS = (
    Column("stale stores", 0, "low"),
    Column("late answers", 0),
    Column("schedules", 0),
    Column("% of late answers", 1, "low"),
)


class Schedule(NamedTuple):
    """When what happens, in seconds from the reader's start."""

    read_at_s: float
    changed_at_s: float
    answered_at_s: float


def schedule(seed: int) -> Schedule:
    """The schedule of a seed: the source is read before it answers, the change falls anywhere."""
    chance = random.Random(seed)
    read_at_s, answered_at_s = sorted((chance.uniform(0, _LONGEST_S), chance.uniform(0, _LONGEST_S)))
    return Schedule(read_at_s, chance.uniform(0, _LONGEST_S), answered_at_s)


async def measure(server: Server, effort: Effort) -> Result:
    """Run every schedule against everybody."""
    schedules = [schedule(seed) for seed in range(effort.of(1_000, 200))]
    field = invited({**REDIS, **TRACKED}, (*_NAMES, *TRACKED))
    rows = []
    for name, rival in field.present.items():
        server.flush()
        stale, late = await _stale(server, rival, schedules)
        cells = (stale, late, len(schedules), 100 * stale / max(late, 1))
        rows.append(Row(name, cells, "ours" if name == "alacena" else "peer"))
    notes = (settings_of(field.present), f"seeds 0 to {len(schedules) - 1}", *field.note)
    ours = next(row for row in rows if row.name == "alacena")
    return Result(
        (Table("Old values stored after the invalidation", _COLUMNS, tuple(rows), notes, charted=3),),
        (judged("read the source, invalidate, store late: stale stores", float(str(ours.cells[0])), bar=0),),
    )


class _Source:
    """Versions by key, and the schedule on which each is read and answered.

    Attributes:
        late: How often an answer arrived after the version had changed.
    """

    def __init__(self) -> None:
        self.late = 0
        self.versions: dict[str, int] = {}
        self.schedules: dict[str, Schedule] = {}

    async def load(self, key: str) -> Any:
        """Look at the version at one instant, answer at another."""
        one = self.schedules[key]
        await asyncio.sleep(one.read_at_s)
        version = self.versions[key]
        await asyncio.sleep(one.answered_at_s - one.read_at_s)
        self.late += version != self.versions[key]
        return {"version": version}


async def _stale(server: Server, rival: Rival, schedules: list[Schedule]) -> tuple[int, int]:
    assert isinstance(rival, Drops)
    source = _Source()
    await rival.open(Place(source.load, server.path))
    stale = 0
    for start in range(0, len(schedules), _AT_ONCE):
        batch = {f"k{start + number}": one for number, one in enumerate(schedules[start : start + _AT_ONCE])}
        stale += sum(await asyncio.gather(*(_race(rival, source, key, one) for key, one in batch.items())))
    await rival.close()
    return stale, source.late


async def _race(rival: Drops, source: _Source, key: str, one: Schedule) -> bool:
    """Whether the old version is served after the invalidation was answered and everything has calmed down."""
    source.versions[key], source.schedules[key] = 1, one

    async def change() -> None:
        await asyncio.sleep(one.changed_at_s)
        source.versions[key] = 2
        await rival.delete(key)

    await asyncio.gather(rival.get_or_load(key), change())
    await rival.settle()
    found = await rival.get(key)
    return found is not None and found["version"] < 2
