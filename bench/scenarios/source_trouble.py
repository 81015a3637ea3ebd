"""The source is down, slow or flapping: what do readers of expired entries get, how long do they wait, what does it see?

All entries are filled while the source is well, and have just expired when the trouble begins. Reads arrive at instants
drawn from a seed, whether or not those before them were answered; so do the turns of a flapping source. When the trouble
is over, they go on for a while: how long does it take until every entry has given a fresh value again? A value is fresh
for its time to live after the source gave it; what is older is stale, and what is raised, or not answered in time, is an
error.

FusionCache is for another language and cannot take part: what it documents for the same cases stands in a table of its
own, beside what ours does, which `tests/unit/engine/test_fail_safe.py` holds it to.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from proving.figures.statistics import percentile
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.rivals import STALE, invited, settings_of
from proving.rivals.rival import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proving.figures.tables import Bar
    from proving.rivals.rival import Rival
    from proving.stand.effort import Effort
    from proving.stand.server import Server

    Health = Callable[[float], float | None]

_KEYS = 20
_TTL_S = 0.3
_STALE_S = 60.0
_WELL_S = 0.005
_SLOW_S = 0.25
_TURN_S = 0.15
_AFTER_S = 0.8
_READS_A_SECOND = 300
_LIMIT_S = 2.0
_MARGIN_S = 0.02
_SEED = 5
_OURS = "alacena, fail-safe"
_COLUMNS = (
    Column("fresh", 0),
    Column("stale", 0),
    Column("errors", 0, "low"),
    Column("calls of the source", 0, "low"),
    Column("p50, ms", 1, "low"),
    Column("p99, ms", 1, "low"),
    Column("well again after, ms", 0, "low"),
)


class SourceError(Exception):
    """The source is down."""


class Read(NamedTuple):
    """One read: of what, when it arrived, how long it took, how old the value was, or ``None`` for an error."""

    key: str
    at_s: float
    took_s: float
    age_s: float | None

    @property
    def is_fresh(self) -> bool:
        """Whether the source gave the value at most a time to live ago."""
        return self.age_s is not None and self.age_s <= _TTL_S + _MARGIN_S


class Fate(NamedTuple):
    """How the reads of one contender went: those during the trouble, and those after it."""

    during: list[Read]
    after: list[Read]
    calls: int

    @property
    def errors(self) -> int:
        """Reads that were not answered."""
        return sum(read.age_s is None for read in self.during)

    @property
    def p99_s(self) -> float:
        """Of a read during the trouble."""
        return percentile([read.took_s for read in self.during], 0.99)

    @property
    def mended_s(self) -> float:
        """From the end of the trouble until every entry had given a fresh value once."""
        began = self.after[0].at_s
        first: dict[str, float] = {}
        for read in self.after:
            if read.is_fresh:
                first.setdefault(read.key, read.at_s + read.took_s - began)
        return max(first.get(read.key, _AFTER_S) for read in self.after)

    @property
    def cells(self) -> tuple[float, ...]:
        """As a row."""
        fresh = sum(read.is_fresh for read in self.during)
        return (
            fresh,
            len(self.during) - fresh - self.errors,
            self.errors,
            self.calls,
            percentile([read.took_s for read in self.during], 0.5) * 1e3,
            self.p99_s * 1e3,
            self.mended_s * 1e3,
        )


class Source:
    """Says how long ago its values were made, and how it is.

    Attributes:
        health: How long it takes at an instant, in seconds; ``None``: it fails.
        calls: How often it was asked.
    """

    def __init__(self) -> None:
        self.health: Health = _well
        self.calls = 0

    async def load(self, key: str) -> Any:
        """Answer, late or not at all."""
        self.calls += 1
        takes_s = self.health(time.perf_counter())
        await asyncio.sleep(_WELL_S if takes_s is None else takes_s)
        if takes_s is None:
            raise SourceError(key)
        return {"key": key, "made_at": time.perf_counter()}


async def measure(_: Server, effort: Effort) -> Result:
    """Ask everybody under each trouble."""
    trouble_s = effort.of(2.0, 0.5)
    field = invited(STALE)
    logging.disable(logging.ERROR)
    tables, ours = [], []
    try:
        for title, health in _TROUBLES.items():
            fates = {name: await _fate(name, health, trouble_s) for name in field.present}
            ours.append(fates[_OURS])
            rows = tuple(
                Row(name, fate.cells, "ours" if name.startswith("alacena") else "peer") for name, fate in fates.items()
            )
            tables.append(Table(title, _COLUMNS, rows, charted=5))
    finally:
        logging.disable(logging.NOTSET)
    notes = (
        f"{_KEYS} entries that live {_TTL_S:g} s; {_READS_A_SECOND} reads a second for {trouble_s:g} s; seed {_SEED}; a "
        f"read is given up after {_LIMIT_S:g} s; all entries are read once more within some 160 ms",
        settings_of(field.present),
        *field.note,
    )
    tables[-1] = Table(tables[-1].title, _COLUMNS, tables[-1].rows, notes, charted=5)
    return Result((*tables, _documented()), tuple(_bars(ours, trouble_s)))


def _bars(ours: list[Fate], trouble_s: float) -> Iterator[Bar]:
    down, slow, _ = ours
    yield judged("fail-safe: errors that reached a reader in three troubles", sum(fate.errors for fate in ours), bar=0)
    attempts = _KEYS * (1 + trouble_s / (0.9 * _TTL_S))
    yield judged("fail-safe, source down: calls of the source", down.calls, bar=attempts)
    waits = slow.p99_s / _SLOW_S
    yield judged("fail-safe, source slow: p99 of a read, in times of what the source takes", waits, bar=0.5, goal=0.2)


async def _fate(name: str, health: Health, trouble_s: float) -> Fate:
    source = Source()
    rival = invited(STALE, (name,)).present[name]
    await rival.open(Place(source.load, entries=1_000, ttl_s=_TTL_S, stale_s=_STALE_S))
    await asyncio.gather(*(rival.get_or_load(f"k{number}") for number in range(_KEYS)))
    await asyncio.sleep(_TTL_S + 2 * _MARGIN_S)
    source.calls = 0
    began = time.perf_counter()
    source.health = lambda now: health(now - began)
    during = asyncio.create_task(_arrivals(rival, trouble_s, _SEED))
    await asyncio.sleep(trouble_s)
    calls, source.health = source.calls, _well
    after = await _arrivals(rival, _AFTER_S, _SEED + 1)
    reads = await during
    await rival.settle()
    await rival.close()
    return Fate(reads, after, calls)


async def _arrivals(rival: Rival, for_s: float, seed: int) -> list[Read]:
    """Reads that come when the seed says, whoever still waits."""
    chance = random.Random(seed)
    began = time.perf_counter()
    at_s, reads = 0.0, []
    while (at_s := at_s + chance.expovariate(_READS_A_SECOND)) < for_s:
        await asyncio.sleep(max(0.0, began + at_s - time.perf_counter()))
        reads.append(asyncio.create_task(_read(rival, f"k{chance.randrange(_KEYS)}")))
    return list(await asyncio.gather(*reads))


async def _read(rival: Rival, key: str) -> Read:
    began = time.perf_counter()
    age_s: float | None = None
    try:
        value = await asyncio.wait_for(rival.get_or_load(key), _LIMIT_S)
        age_s = time.perf_counter() - value["made_at"]
    except (SourceError, TimeoutError):
        pass
    return Read(key, began, time.perf_counter() - began, age_s)


def _well(_: float) -> float | None:
    return _WELL_S


def _down(_: float) -> float | None:
    return None


def _slow(_: float) -> float | None:
    return _SLOW_S


def _flapping(since_s: float) -> float | None:
    """Down first, then well or down for a turn, by lot."""
    turn = int(since_s / _TURN_S)
    return None if turn == 0 or random.Random(_SEED + turn).random() < 0.5 else _WELL_S


_TROUBLES: dict[str, Health] = {
    "The source is down": _down,
    f"The source takes {_SLOW_S * 1e3:.0f} ms": _slow,
    f"The source is down or well, by lot, for {_TURN_S * 1e3:.0f} ms at a time": _flapping,
}


def _documented() -> Table:
    """What FusionCache documents, and ours: facts, not figures."""
    columns = (Column("FusionCache, as documented"), Column("its default"), Column("ours"), Column("default"))
    rows = tuple(Row(name, cells) for name, cells in _DOCUMENTED.items())
    note = "FusionCache: docs/FailSafe.md, Timeouts.md, EagerRefresh.md, ConditionalRefresh.md, Options.md of its repository"
    return Table("The same cases, as documented", columns, rows, (note,))


_DOCUMENTED = {
    "down, an expired value is there": (
        "the expired value (fail-safe)", "off",
        "the expired value (stale_if_error_s)", "off",
    ),
    "down, nothing is there": (
        "the exception, or a default given with the call", "the exception",
        "the exception", "the exception",
    ),
    "how long it may stand in": (
        "FailSafeMaxDuration, from when it was stored", "1 day",
        "stale_if_error_s, from when it expired", "0",
    ),
    "between two attempts": (
        "FailSafeThrottleDuration", "30 s",
        "retry_after_s, a tenth less at most", "5 s",
    ),
    "slow, an expired value is there": (
        "FactorySoftTimeout: it is served, the factory goes on and updates the cache", "none",
        "soft_timeout_s: it is served, the load goes on and updates the cache", "none",
    ),
    "slow, nothing is there": (
        "FactoryHardTimeout: an exception, the factory goes on", "none",
        "hard_timeout_s: an exception, the load is cancelled", "none",
    ),
    "before it expires": (
        "EagerRefreshThreshold: from that part of its life on, the first read renews it behind", "off",
        "early_refresh_beta: reads renew it behind, by lot, ever more likely", "off",
    ),
    "jitter": (
        "JitterMaxDuration is added", "0",
        "a part is taken off (jitter_ratio)", "10 %",
    ),
    "not modified": (
        "ETag, LastModified and the expired value are handed in; NotModified()", "–",
        "the expired value is handed in; UNCHANGED", "–",
    ),
}  # fmt: skip
