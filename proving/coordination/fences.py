"""Holders stopped past their lease, and resumed: does a table take a write from an owner who is not the last one?"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from alacena.coordination.fences import check_fence, fenced_update_sql
from alacena.engine.base.errors import LockLostError, NotOwnerError
from proving.coordination.clocks import let_scripts_see_wrong_clocks
from proving.coordination.crew import Crew, until
from proving.coordination.ledger import prepare
from proving.coordination.peers import ABSENT
from proving.coordination.peers.locks import PEERS
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.postgres import Postgres
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.coordination.crew import Journal
    from proving.figures.tables import Cell
    from proving.stand.effort import Effort

PROCESSES = 4
TTL_S = 0.3
STOPPED_S = 0.5
EVERY = 3
"""Each process stops itself in every third block."""

SCHEMA = """
DROP TABLE IF EXISTS writes; DROP TABLE IF EXISTS document; DROP SEQUENCE IF EXISTS turns;
CREATE SEQUENCE turns;
CREATE TABLE document (id int PRIMARY KEY, body text, fence bigint NOT NULL DEFAULT 0);
CREATE TABLE writes (seq bigserial PRIMARY KEY, turn bigint NOT NULL);
INSERT INTO document VALUES (1, '', 0);
"""
FENCED = fenced_update_sql("document", ["body"])
UNFENCED = "UPDATE document SET body = $1 WHERE id = $2"

ROWS = (
    ("alacena, fenced row", "alacena", "row"),
    ("alacena, check_fence", "alacena", "table"),
    ("alacena, fence ignored", "alacena", "none"),
    ("redis-py", "redis-py", "none"),
    ("coredis", "coredis", "none"),
    ("aiocache RedLock", "aiocache RedLock", "none"),
)


async def write(
    journal: Journal, url: str, dsn: str, peer: str, check: str, place: int, clocks_off: bool = False
) -> None:
    """Take the lock, note the turn, stand still now and then, write, again and again.

    The write cannot be cancelled, like one that a thread makes or that is already on its way.
    """
    import asyncpg

    if clocks_off:
        let_scripts_see_wrong_clocks()
    by_name = {each.name: each for each in PEERS}
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool, by_name[peer].connect(url, TTL_S) as take:
        for number in range(place, 1_000_000):
            writing: asyncio.Future[None] | None = None
            try:
                async with take() as fence:
                    turn = await pool.fetchval("SELECT nextval('turns')")
                    journal.note(f"turn {turn} {fence or 0}")
                    if number % EVERY == 0:
                        journal.note("stop")
                        os.kill(os.getpid(), 19)
                    writing = asyncio.ensure_future(_write(journal, pool, check, fence or 0, turn))
                    await asyncio.shield(writing)
            except LockLostError:
                journal.note("told")
            except Exception as error:
                journal.note(f"error {type(error).__name__}")
                await asyncio.sleep(0.01)
            if writing is not None:
                await writing


async def _write(journal: Journal, pool: Any, check: str, fence: int, turn: int) -> None:
    try:
        async with pool.acquire() as connection, connection.transaction():
            if check == "table":
                await check_fence(connection, "acme", "document", fence)
            if check == "row":
                done = await connection.execute(FENCED, f"by {turn}", fence, 1)
            else:
                done = await connection.execute(UNFENCED, f"by {turn}", 1)
            if done != "UPDATE 1":
                raise NotOwnerError("a later owner has written")
            await connection.execute("INSERT INTO writes (turn) VALUES ($1)", turn)
    except NotOwnerError:
        journal.note("refused")
    else:
        journal.note("accepted")


async def measure(effort: Effort, seed: int) -> Result:
    """Each way to write by itself."""
    del seed
    stops = effort.of(40, 4)
    absent = {peer.name for peer in PEERS if peer.absent}
    rows: list[Row] = []
    violations = 0
    with RedisServer("valkey") as redis, Postgres() as postgres:
        prepare(postgres)
        for name, peer, check in ROWS if not effort.quick else (ROWS[0], ROWS[2], ROWS[3]):
            if peer in absent:
                rows.append(Row(name, (ABSENT, *(None,) * 5), "peer"))
                continue
            redis.reset()
            postgres.execute(SCHEMA + "TRUNCATE alacena_fences;")
            cells = await write_under(redis.url, postgres, peer, check, stops)
            rows.append(Row(name, cells, "ours" if check != "none" else "floor" if peer == "alacena" else "peer"))
            violations += int(str(cells[0])) if check != "none" else 0
    notes = (
        (
            f"{PROCESSES} processes, leases of {TTL_S:g} s; each stops (SIGSTOP) for {STOPPED_S:g} s between taking the lock "
            f"and writing in every {EVERY}rd block"
        ),
        (
            "out of order: writes that were accepted after one of a later owner; refused: by the fence; told: holders whose "
            "block was cancelled because their lease was over. The write itself cannot be cancelled, like one in a thread"
        ),
    )
    table = Table("Fences", tuple(Column(name, 0) for name in _COLUMNS), tuple(rows), notes)
    return Result((table,), (judged("fenced writes accepted out of order", violations, bar=0),))


_COLUMNS = ("out of order", "accepted", "refused", "told", "stops", "errors")


async def write_under(url: str, postgres: Postgres, peer: str, check: str, stops: int) -> tuple[Cell, ...]:
    with Crew(write, PROCESSES, url=url, dsn=postgres.dsn, peer=peer, check=check) as crew:
        resuming = Resuming(crew)
        await until(lambda: resuming.look() >= stops, 60, every_s=0.01)
        await resuming.ended()
        lines = crew.lines()
    return (out_of_order(postgres), *counted(lines))


class Resuming:
    """Sets those going again that have stopped themselves, after a while."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._stopped: set[int] = set()
        self._resumed: set[asyncio.Task[None]] = set()

    def look(self) -> int:
        """Look for those that stand still; how many there were so far."""
        for place in range(PROCESSES):
            if place not in self._stopped and self._crew.paused(place):
                self._stopped.add(place)
                self._resumed.add(asyncio.ensure_future(self._resume(place)))
        return len(self._resumed)

    async def _resume(self, place: int) -> None:
        await asyncio.sleep(STOPPED_S)
        self._crew.resume(place)
        self._stopped.discard(place)

    async def ended(self) -> None:
        """Wait until the last one goes again, and has written."""
        if self._resumed:
            await asyncio.wait(self._resumed)
        await asyncio.sleep(0.3)


def out_of_order(postgres: Postgres) -> int:
    """How many writes were accepted after one of a later owner."""
    sql = (
        "SELECT count(*) FROM (SELECT turn, max(turn) OVER (ORDER BY seq) AS latest FROM writes) w WHERE turn < latest"
    )
    return int(postgres.execute(sql))


def counted(lines: list[str]) -> tuple[int, ...]:
    """How often each thing was noted, in the order of the columns."""
    kinds = [line.split(" ")[0] for line in lines]
    return tuple(kinds.count(kind) for kind in ("accepted", "refused", "told", "stop", "error"))
