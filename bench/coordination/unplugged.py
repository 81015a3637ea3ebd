"""Redis loses what it had not synced, as when its machine loses power: which confirmed calls are gone, and how old?"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hiredis

from alacena.engine import Cache, Settings
from alacena.engine.errors import BackendError
from alacena.sources.ledger import PostgresAuthority
from bench.coordination.crew import until
from bench.coordination.ledger import DSN_OPTIONS, prepare, tokens_of
from bench.figures.tables import Column, Result, Row, Table, judged
from tests.servers.postgres import Postgres
from tests.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

    from bench.coordination.ledger import Mode
    from bench.figures.tables import Cell
    from bench.stand.effort import Effort

MARK_EVERY_S = 0.005
CALLERS = {"fast": 8, "safe": 300, "durable": 20}
PAUSE_S = 0.002
SYNC_S = 1.0
"""What ``appendfsync everysec`` promises, but for the time that a sync takes."""
SLACK_S = 0.25
_FLAGS = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
_COLUMNS = (
    "says that it may lose", "confirmed", "lost", "tokens lost", "oldest lost, ms before", "crashes with a loss", "crashes",
)  # fmt: skip
_SAYS = {"fast": "about 1 s", "safe": "nothing", "durable": "nothing"}


class Marks:
    """Writes a mark each few milliseconds and asks with each when it is synced.

    A server says so to everybody whom a sync covers at the same moment. What stands before the first mark that was not
    confirmed is therefore all that was surely on disk, and at most one mark's distance more.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._course = os.urandom(8).hex()
        self._asked: list[asyncio.Task[bool]] = []
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self) -> None:
        """Mark until cancelled, or until the server has gone."""
        for number in itertools.count():
            try:
                wires = self._idle.pop() if self._idle else await asyncio.open_unix_connection(self._path)
            except OSError:
                return
            self._asked.append(asyncio.create_task(self._ask(number, *wires)))
            await asyncio.sleep(MARK_EVERY_S)

    async def _ask(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether a mark was confirmed before the server went."""
        parser, replies = hiredis.Reader(), list[Any]()
        writer.write(hiredis.pack_command(("SET", "mark", self._mark(number))) + hiredis.pack_command(("WAITAOF", 1, 0, 0)))
        while len(replies) < 2:
            try:
                data = await reader.read(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                writer.close()
                return False
            parser.feed(data)
            while (reply := parser.gets()) is not False:
                replies.append(reply)
        self._idle.append((reader, writer))
        return bool(replies[1][0] >= 1)

    async def first_unsynced(self) -> bytes:
        """The first mark that was not confirmed. The server must have gone."""
        confirmed = await asyncio.gather(*self._asked)
        for _, writer in self._idle:
            writer.close()
        return self._mark(confirmed.index(False) if False in confirmed else len(confirmed))

    def _mark(self, number: int) -> bytes:
        return f"{self._course}-{number:012}".encode()


def forget_what_was_not_synced(folder: Path, mark: bytes) -> int:
    """Cut a server's file off before a mark; how many bytes that were."""
    file = sorted((folder / "appendonlydir").glob("*.incr.aof"))[-1]
    data = file.read_bytes()
    place = data.rfind(mark)
    if place < 0:
        return 0
    start = data.rfind(b"*3\r\n$3\r\nSET\r\n", 0, place)
    with file.open("r+b") as opened:
        opened.truncate(start)
    return len(data) - start


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
    """All modes at once, through the same crashes."""
    crashes = effort.of(12, 3)
    courses = await unplug(crashes, random.Random(seed))
    rows = tuple(Row(mode, _cells(mode, course, crashes), "ours") for mode, course in courses.items())
    notes = (
        (
            "the server (everysec) is killed, and all of its file that no sync had covered is cut off before it starts again: "
            f"from the first mark that it had not confirmed as synced, one is written each {MARK_EVERY_S * 1000:g} ms"
        ),
        "lost: confirmed calls that Redis (durable: Postgres) does not know afterwards. No caller repeats, no relay helps",
    )
    table = Table("Redis unplugged", tuple(Column(name, 0) for name in _COLUMNS), rows, notes)
    oldest_s = max((age for age, _ in courses["fast"].lost), default=0.0)
    return Result(
        (table,),
        (
            judged("fast: oldest call lost", oldest_s, bar=SYNC_S + SLACK_S, goal=SYNC_S, unit=" s"),
            judged("safe: confirmed calls lost", len(courses["safe"].lost), bar=0),
            judged("durable: confirmed calls lost", len(courses["durable"].lost), bar=0),
        ),
    )


def _cells(mode: str, course: Course, crashes: int) -> tuple[Cell, ...]:
    oldest_ms = 1000 * max(age for age, _ in course.lost) if course.lost else None
    tokens = sum(tokens for _, tokens in course.lost)
    return (_SAYS[mode], course.calls, len(course.lost), tokens, oldest_ms, course.crashes, crashes)


async def unplug(crashes: int, chance: random.Random) -> dict[str, Course]:
    """Call in every mode while the server is unplugged again and again."""
    courses = {mode: Course() for mode in CALLERS}
    with RedisServer("valkey", extra=_FLAGS) as redis, Postgres() as postgres:
        prepare(postgres)
        authority = await PostgresAuthority.connect(postgres.dsn, **DSN_OPTIONS)
        settings = Settings(redis_url=redis.url)
        async with Cache(settings) as plain, Cache(settings, authority=authority) as with_postgres:
            caches = {"fast": plain, "safe": plain, "durable": with_postgres}
            numbers = itertools.count()
            callers = [
                asyncio.create_task(_call(caches[mode], mode, numbers, courses[mode]))  # type: ignore[arg-type]
                for mode, count in CALLERS.items()
                for _ in range(count)
            ]
            for _ in range(crashes):
                await _unplug_once(redis, postgres, plain, courses, 1.5 + 1.5 * chance.random())
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        await authority.close()
    return courses


async def _call(cache: Cache, mode: Mode, numbers: itertools.count[int], course: Course) -> None:
    for number in numbers:
        try:
            await cache.ledger.record(mode, tokens_of(number), model="m", idempotency_key=f"c{number}", mode=mode)
        except BackendError:
            await asyncio.sleep(0.05)  # The caller was told: whether it counts is not asked.
        else:
            course.confirmed[number] = time.monotonic()
        await asyncio.sleep(PAUSE_S)


async def _unplug_once(
    redis: RedisServer, postgres: Postgres, cache: Cache, courses: dict[str, Course], after_s: float
) -> None:
    marks = Marks(str(redis.socket_path))
    marking = asyncio.create_task(marks.run())
    await asyncio.sleep(after_s)
    redis.crash()
    at = time.monotonic()
    await asyncio.sleep(0)
    marking.cancel()
    mark = await marks.first_unsynced()
    said = {mode: course.confirmed for mode, course in courses.items()}
    for course in courses.values():
        course.confirmed = {}
    forget_what_was_not_synced(redis.directory, mark)
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
