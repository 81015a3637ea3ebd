"""Round trips by verb, counted between client and server, and the commands in them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from proving.coordination.lost_replies import T
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer
from proving.stand.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.stand.effort import Effort

    Verb = Callable[[], Awaitable[Any]]

QUIET_S = 3_600.0
"""So seldom that no heartbeat falls into a measurement."""


async def measure(effort: Effort, seed: int) -> Result:
    """Each verb a few times; the last one counts, when scripts are loaded and tenants announced."""
    del effort, seed
    rows = []
    with RedisServer("valkey", extra=("--appendonly", "yes")) as server, Relay(str(server.socket_path)) as relay:
        settings = Settings(redis_url=relay.url, staleness_bound_s=QUIET_S, redis_timeout_s=10.0)
        async with Cache(settings) as cache:
            for name, promised, verb in _verbs(cache):
                for _ in range(3):
                    await asyncio.sleep(0.01)
                    relay.reset()
                    await verb()
                rows.append((name, relay.round_trips, promised, relay.asked, relay.sent_bytes, relay.received_bytes))
    table = Table(
        "Round trips",
        (
            Column("round trips", 0),
            Column("promised", 0),
            Column("commands", 0),
            Column("bytes sent", 0),
            Column("bytes back", 0),
        ),
        tuple(Row(name, tuple(cells), "ours") for name, *cells in rows),
        ("one call at a time, seen from between client and server; values of one number",),
    )
    more = sum(trips > promised for _, trips, promised, *_ in rows)
    return Result((table,), (judged("verbs with more round trips than they promise", more, bar=0),))


def _verbs(cache: Cache) -> list[tuple[str, int, Verb]]:
    queue, budget = cache.queues("q", **T), cache.budgets("b", limit=10**9, **T)
    every = cache.queues.any("q")

    async def push_ten() -> None:
        await queue.push_many(range(10))

    async def take_and_ack() -> None:
        await queue.ack(await queue.reserve(1))

    async def take_extend_nack() -> None:
        [item] = await queue.reserve(1)
        await item.extend(60)
        await item.nack()

    async def take_any_and_ack() -> None:
        [item] = await every.reserve(1)
        await item.ack()

    async def reserve_and_commit() -> None:
        await (await budget.reserve(5)).commit(3)

    async def lock_and_release() -> None:
        async with cache.locks.acquire("l", **T):
            pass

    async def record(mode: Any) -> None:
        await cache.ledger.record(T["tenant_id"], 5, model="m", mode=mode)

    return [
        ("lists.rpush, 3 values", 1, lambda: cache.lists.rpush("l", 1, 2, 3, **T)),
        ("lists.lpop", 1, lambda: cache.lists.lpop("l", **T)),
        ("lists.lrange", 1, lambda: cache.lists.lrange("l", **T)),
        ("sets.add with ttl_s", 1, lambda: cache.sets.add("s", 1, ttl_s=9, **T)),
        ("flags.set_nx with ttl_s", 1, lambda: cache.flags.set_nx("f", 1, ttl_s=9, **T)),
        (
            "counters.increment with ttl_s and id",
            1,
            lambda: cache.counters.increment("c", ttl_s=9, idempotency_id="i", **T),
        ),
        ("limits.sliding_window", 1, lambda: cache.limits.sliding_window("w", limit=99, window_s=60, **T)),
        ("limits.token_bucket", 1, lambda: cache.limits.token_bucket("w", rate_per_s=99, burst=99, **T)),
        ("budget.reserve + commit", 2, reserve_and_commit),
        ("queue.push_many, 10 items", 1, push_ten),
        ("queue.reserve + ack", 2, take_and_ack),
        ("queue.reserve + extend + nack", 4, take_extend_nack),
        ("queues.any().reserve + ack", 3, take_any_and_ack),
        ("queue.stats", 1, queue.stats),
        ("locks.acquire + release, free", 2, lock_and_release),
        ("ledger.record, fast", 1, lambda: record("fast")),
        ("ledger.record, safe", 3, lambda: record("safe")),
        ("ledger.totals", 1, lambda: cache.ledger.totals(T["tenant_id"])),
    ]
