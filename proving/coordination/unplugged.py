"""Redis loses what it had not synced, as when its machine loses power: which confirmed calls are gone, and how old?"""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import BackendError
from alacena.sources.ledger import PostgresAuthority
from proving.coordination.crew import until
from proving.coordination.ledger import DSN_OPTIONS, prepare, tokens_of
from proving.coordination.syncs import Syncs, compiler
from proving.figures.tables import Column, Result, Row, Table, judged, unjudged
from proving.servers.postgres import Postgres
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.coordination.ledger import Mode
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

SYNC_S = 1.0
"""What ``appendfsync everysec`` promises, but for the time that a sync takes."""
SLACK_S = 0.25
_FLAGS = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
_COLUMNS = (
    "says that it may lose", "confirmed", "lost", "tokens lost", "oldest lost, ms before", "crashes with a loss", "crashes",
)  # fmt: skip
_SAYS = {"fast": "about 1 s", "safe": "nothing", "durable": "nothing"}


@dataclass(frozen=True, slots=True)
class Load:
    """Who calls.

    Attributes:
        name: As it is shown.
        callers: How many of each mode.
        pause_s: Of each, after a call.
    """

    name: str
    callers: dict[str, int]
    pause_s: float


LOADS = (
    Load("busy", {"fast": 8, "safe": 300, "durable": 20}, 0.002),
    Load("quiet", {"fast": 1, "safe": 3, "durable": 1}, 0.15),
)


@dataclass(slots=True)
class Course:
    """What the callers of one mode were told.

    Attributes:
        confirmed: When, by the number of the call; since the last crash.
        calls: How many were confirmed in all.
        lost: How long before its crash each lost one was confirmed, and its tokens.
        crashes: How many crashes lost any.
    """

    confirmed: dict[int, float] = field(default_factory=dict)
    calls: int = 0
    lost: list[tuple[float, int]] = field(default_factory=list)
    crashes: int = 0

    def crashed(self, at: float, said: dict[int, float], kept: set[int]) -> None:
        """Compare what was said with what is there."""
        lost = [(at - when, tokens_of(number)) for number, when in said.items() if number not in kept]
        self.calls += len(said)
        self.lost += lost
        self.crashes += bool(lost)


async def measure(effort: Effort, seed: int) -> Result:
    """All modes at once through the same crashes, with much to do and with little."""
    if compiler() is None:
        return Result((), (unjudged("confirmed calls lost when unplugged", "≤ 0", "–", "no C compiler here"),))
    crashes = effort.of(8, 2)
    chance = random.Random(seed)
    seen = {load.name: await unplug(load, crashes, chance) for load in LOADS}
    rows = tuple(
        Row(f"{mode}, {name}", _cells(mode, course, crashes), "ours")
        for name, courses in seen.items()
        for mode, course in courses.items()
    )
    loads = "; ".join(f"{load.name}: {', '.join(f'{n} {mode}' for mode, n in load.callers.items())}" for load in LOADS)
    notes = (
        (
            "the server (everysec) is killed, and all of its file that no fsync had covered is cut off before it starts "
            f"again. Callers at once, {loads}"
        ),
        "lost: confirmed calls that Redis (durable: Postgres) does not know afterwards. No caller repeats, no relay helps",
    )
    table = Table("Redis unplugged", tuple(Column(name, 0) for name in _COLUMNS), rows, notes)

    def lost(mode: str) -> list[tuple[float, int]]:
        return [each for courses in seen.values() for each in courses[mode].lost]

    return Result(
        (table,),
        (
            judged(
                "fast: oldest call lost", max((age for age, _ in lost("fast")), default=0.0),
                bar=SYNC_S + SLACK_S, goal=SYNC_S, unit=" s",
            ),
            judged("safe: confirmed calls lost", len(lost("safe")), bar=0),
            judged("durable: confirmed calls lost", len(lost("durable")), bar=0),
        ),
    )  # fmt: skip


def _cells(mode: str, course: Course, crashes: int) -> tuple[Cell, ...]:
    oldest_ms = 1000 * max(age for age, _ in course.lost) if course.lost else None
    tokens = sum(tokens for _, tokens in course.lost)
    return (_SAYS[mode], course.calls, len(course.lost), tokens, oldest_ms, course.crashes, crashes)


async def unplug(load: Load, crashes: int, chance: random.Random) -> dict[str, Course]:
    """Call in every mode while the server is unplugged again and again."""
    courses = {mode: Course() for mode in load.callers}
    redis = RedisServer("valkey", extra=_FLAGS)
    with tempfile.TemporaryDirectory(prefix="alacena-") as home, Postgres() as postgres:
        syncs = Syncs(Path(home))
        prepare(postgres)
        with syncs.watched():
            redis.start()
        try:
            await _unplug(redis, postgres, syncs, courses, load, crashes, chance)
        finally:
            redis.stop()
    return courses


async def _unplug(
    redis: RedisServer, postgres: Postgres, syncs: Syncs, courses: dict[str, Course], load: Load, crashes: int,
    chance: random.Random,
) -> None:  # fmt: skip
    authority = await PostgresAuthority.connect(postgres.dsn, **DSN_OPTIONS)
    settings = Settings(redis_url=redis.url)
    async with Cache(settings) as plain, Cache(settings, authority=authority) as with_postgres:
        caches = {"fast": plain, "safe": plain, "durable": with_postgres}
        numbers = itertools.count()
        callers = [
            asyncio.create_task(_call(caches[mode], mode, numbers, courses[mode], load.pause_s))  # type: ignore[arg-type]
            for mode, count in load.callers.items()
            for _ in range(count)
        ]
        for _ in range(crashes):
            await _unplug_once(redis, postgres, syncs, plain, courses, 1.5 + 1.5 * chance.random())
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    await authority.close()


async def _call(cache: Cache, mode: Mode, numbers: itertools.count[int], course: Course, pause_s: float) -> None:
    for number in numbers:
        try:
            await cache.ledger.record(mode, tokens_of(number), model="m", idempotency_key=f"c{number}", mode=mode)
        except BackendError:
            await asyncio.sleep(0.05)  # The caller was told: whether it counts is not asked.
        else:
            course.confirmed[number] = time.monotonic()
        await asyncio.sleep(pause_s)


async def _unplug_once(
    redis: RedisServer, postgres: Postgres, syncs: Syncs, cache: Cache, courses: dict[str, Course], after_s: float
) -> None:
    await asyncio.sleep(after_s)
    redis.crash()
    at = time.monotonic()
    await asyncio.sleep(0.05)  # What it had said before is still read.
    said = {mode: course.confirmed for mode, course in courses.items()}
    for course in courses.values():
        course.confirmed = {}
    syncs.forget_the_rest(max((redis.directory / "appendonlydir").glob("*.incr.aof")))
    with syncs.watched():
        redis.start()
    await until(lambda: _answers(cache), 20)
    for mode, course in courses.items():
        kept = _in_postgres(postgres) if mode == "durable" else await _in_redis(cache, mode, said[mode])
        course.crashed(at, said[mode], kept)


async def _in_redis(cache: Cache, tenant: str, numbers: dict[int, float]) -> set[int]:
    """Those of the calls whose receipt is there."""
    kept: set[int] = set()
    pages = list(numbers)
    ledger = cache.ledger
    for start in range(0, len(pages), 500):
        page = pages[start : start + 500]
        receipts = await ledger._port.call("MGET", *(ledger._key(tenant, "receipt", f"c{number}") for number in page))
        kept |= {number for number, receipt in zip(page, receipts, strict=True) if receipt is not None}
    return kept


def _in_postgres(postgres: Postgres) -> set[int]:
    keys = postgres.execute("SELECT idempotency_key FROM alacena_token_usage WHERE tenant_id = 'durable'").split()
    return {int(key[1:]) for key in keys}


async def _answers(cache: Cache) -> bool:
    try:
        await cache.counters.get("ping", tenant_id="acme")
    except BackendError:
        return False
    return True
