"""The same key again: with other figures, after Redis has forgotten it, and after its receipt expired or was evicted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from alacena.engine.base.errors import IdempotencyConflictError
from alacena.ledger.ledger import Ledger
from alacena.sources.ledger import PostgresAuthority
from proving.coordination.crew import until
from proving.coordination.ledger import prepare
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.postgres import Postgres
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from proving.stand.effort import Effort

TENANT = "acme"
REMEMBER_S = 0.2


async def measure(effort: Effort, seed: int) -> Result:
    """Each question over many keys."""
    del seed
    count = effort.of(2_000, 300)
    with RedisServer("valkey") as redis, Postgres() as postgres:
        prepare(postgres)
        authority = await PostgresAuthority.connect(postgres.dsn, max_size=4)
        async with Cache(Settings(redis_url=redis.url), authority=authority) as cache:
            rows = await ask(cache, authority, redis, postgres, count)
        await authority.close()
    note = f"{count} keys a question; expiry: receipts that Redis remembers for {REMEMBER_S:g} s instead of seven days"
    table = Table("Keys", (Column("seen", 0), Column("of", 0)), tuple(rows), (note,))
    bars = (
        judged("conflicts not raised or not noted", 3 * count - sum(_seen(row) for row in rows[:3]), bar=0),
        judged("keys that Postgres counted twice", _seen(rows[4]) + _seen(rows[5]), bar=0),
    )
    return Result((table,), bars)


def _seen(row: Row) -> int:
    return int(str(row.cells[0]))


async def ask(
    cache: Cache, authority: PostgresAuthority, redis: RedisServer, postgres: Postgres, count: int
) -> list[Row]:
    ledger, rows = cache.ledger, []

    async def refused(**figures: Any) -> int:
        """How many of the keys are refused with these figures."""

        async def one(number: int) -> bool:
            try:
                await ledger.record(TENANT, model="m", idempotency_key=f"k{number}", **figures)
            except IdempotencyConflictError:
                return True
            return False

        return sum([await one(number) for number in range(count)])

    assert await refused(tokens=5) == 0
    rows.append(Row("refused: other tokens under a known key", (await refused(tokens=6), count), "ours"))
    await until(lambda: _carried(cache), 30)
    redis.reset()
    durable = await refused(tokens=6, mode="durable")
    rows.append(Row("refused by Postgres, Redis emptied: durable", (durable, count), "ours"))
    redis.reset()
    assert await refused(tokens=7) == 0
    await until(lambda: _carried(cache), 30)
    sql = "SELECT count(DISTINCT idempotency_key) FROM alacena_token_conflicts WHERE record ->> 'tokens' = '7'"
    rows.append(Row("noted by Postgres, Redis emptied: fast", (int(postgres.execute(sql)), count), "ours"))
    total = int(postgres.execute("SELECT sum(tokens) FROM alacena_token_daily"))
    rows.append(Row("tokens counted for these keys / 5", (total // 5, count), "ours"))
    rows.append(await _expiry(cache, authority, postgres, count))
    rows.append(await _eviction(cache, redis, postgres, count))
    return rows


async def _expiry(cache: Cache, authority: PostgresAuthority, postgres: Postgres, count: int) -> Row:
    """Record, outlive the receipts, record again."""
    ledger = Ledger(cache.ledger._port, authority=authority, remember_s=REMEMBER_S)
    for _ in range(2):
        for number in range(count):
            await ledger.record(TENANT, 1, model="expiry", idempotency_key=f"e{number}")
        await asyncio.sleep(REMEMBER_S + 0.05)
    await until(lambda: _carried(cache), 30)
    counted = int(postgres.execute("SELECT sum(tokens) FROM alacena_token_daily WHERE model = 'expiry'"))
    return Row("counted twice in Postgres after the receipt expired", (counted - count, count), "ours")


async def _eviction(cache: Cache, redis: RedisServer, postgres: Postgres, count: int) -> Row:
    """Record, have the server evict every receipt for want of memory, record again."""
    keys = [f"v{number}" for number in range(count)]

    async def record() -> None:
        for key in keys:
            await cache.ledger.record(TENANT, 1, model="eviction", idempotency_key=key)

    def receipts() -> int:
        return sum(
            int(redis.call("EXISTS", cache.ledger._key(TENANT, "receipt", key))) for key in keys[:: len(keys) // 30]
        )

    await record()
    # What Postgres does not have yet may be evicted too: that is why the ledger refuses such a server.
    await until(lambda: _carried(cache), 30)
    redis.call("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    try:
        redis.call("CONFIG", "SET", "maxmemory", 1)
        # It evicts what has an expiry, which is the receipts, and then refuses to write.
        await until(lambda: receipts() == 0, 30)
    finally:
        redis.call("CONFIG", "SET", "maxmemory", 0)
        redis.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    # The ledger refuses a server that evicts, until the heartbeat has seen that it does not any more.
    await until(lambda: cache.guarantee()["eviction_policy"] == "noeviction", 30)
    await record()
    await until(lambda: _carried(cache), 30)
    counted = int(postgres.execute("SELECT sum(tokens) FROM alacena_token_daily WHERE model = 'eviction'"))
    return Row("counted twice in Postgres after the receipt was evicted", (counted - count, count), "ours")


async def _carried(cache: Cache) -> bool:
    return await cache.ledger.backlog(TENANT) == 0
