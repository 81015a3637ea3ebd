"""What belongs to another history of the server, as after a promotion, stands in nobody's way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from proving.servers.redis_server import RedisServer

LEASE = "alacena:l:{acme.0}:document:d1"
AGES_MS = 60_000


def settings_of(server: RedisServer, **more: Any) -> Settings:
    return Settings(redis_url=server.url, redis_budget_s=5.0, **more)


async def source() -> int:
    return 7


async def until_stored(cache: Cache) -> None:
    async def stored() -> bool:
        return await cache.get("document", "d1", "acme", use_memory=False) == 7

    await until(stored)


async def test_a_lease_of_another_history_is_taken_over(redis_server: RedisServer) -> None:
    redis_server.call("SET", LEASE, b"t" * 16 + b"elsewhen", "PX", AGES_MS)
    async with Cache(settings_of(redis_server)) as cache, asyncio.timeout(DEADLINE_S):
        assert await cache.load("document", "d1", "acme", source) == 7
        await until_stored(cache)


async def test_a_lease_of_this_history_is_waited_for(redis_server: RedisServer) -> None:
    settings = settings_of(redis_server, lease_wait_s=0.3, lease_poll_s=0.1)
    async with Cache(settings) as holder, Cache(settings) as cache:
        goes_on = asyncio.Event()

        async def slow(_: object) -> int:
            await goes_on.wait()
            return 8

        load = asyncio.create_task(holder.load("document", "d1", "acme", slow))
        await until(lambda: redis_server.call("EXISTS", LEASE))
        # It waits, loads for itself, and stores nothing: the lease is not its own.
        assert await cache.load("document", "d1", "acme", source) == 7
        assert await cache.get("document", "d1", "acme", use_memory=False) is None
        goes_on.set()
        assert await load == 8


async def test_an_entry_of_another_history_is_a_miss(redis_server: RedisServer) -> None:
    async with Cache(settings_of(redis_server)) as cache:
        await cache.set("document", "d1", 7, "acme")
        assert await cache.get("document", "d1", "acme", use_memory=False) == 7
        redis_server.call("REPLICAOF", "127.0.0.1", 1)
        redis_server.call("REPLICAOF", "NO", "ONE")
        await until(lambda: cache.guarantee()["memory"])
        assert redis_server.call("EXISTS", "alacena:e:{acme.0}:document:d1") == 1

        async def gone() -> bool:
            return await cache.get("document", "d1", "acme", use_memory=False) != 7

        await until(gone)
        assert await cache.load("document", "d1", "acme", source) == 7
