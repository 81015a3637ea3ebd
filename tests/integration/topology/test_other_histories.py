"""What belongs to another history of the server, as after a promotion, stands in nobody's way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.engine import Cache, Settings

if TYPE_CHECKING:
    from tests.servers.redis_server import RedisServer

LEASE = "alacena:l:{acme.0}:document:d1"
DEADLINE_S = 5.0
AGES_MS = 60_000


async def source() -> int:
    return 7


async def until_stored(cache: Cache) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await cache.get("document", "d1", "acme", use_memory=False) != 7:
            await asyncio.sleep(0.01)


async def test_a_lease_of_another_history_is_taken_over(redis_server: RedisServer) -> None:
    redis_server.call("SET", LEASE, b"t" * 16 + b"elsewhen", "PX", AGES_MS)
    async with Cache(Settings(redis_url=redis_server.url)) as cache, asyncio.timeout(DEADLINE_S):
        assert await cache.load("document", "d1", "acme", source) == 7
        await until_stored(cache)


async def test_a_lease_of_this_history_is_waited_for(redis_server: RedisServer) -> None:
    settings = Settings(redis_url=redis_server.url, lease_wait_s=0.3, lease_poll_s=0.1)
    async with Cache(settings) as holder, Cache(settings) as cache:
        goes_on = asyncio.Event()

        async def slow(_: object) -> int:
            await goes_on.wait()
            return 8

        load = asyncio.create_task(holder.load("document", "d1", "acme", slow))
        async with asyncio.timeout(DEADLINE_S):
            while not redis_server.call("EXISTS", LEASE):
                await asyncio.sleep(0.01)
        # It waits, loads for itself, and stores nothing: the lease is not its own.
        assert await cache.load("document", "d1", "acme", source) == 7
        assert await cache.get("document", "d1", "acme", use_memory=False) is None
        goes_on.set()
        assert await load == 8


async def test_an_entry_of_another_history_is_a_miss(redis_server: RedisServer) -> None:
    async with Cache(Settings(redis_url=redis_server.url)) as cache:
        await cache.set("document", "d1", 7, "acme")
        assert await cache.get("document", "d1", "acme", use_memory=False) == 7
        redis_server.call("REPLICAOF", "127.0.0.1", 1)
        redis_server.call("REPLICAOF", "NO", "ONE")
        async with asyncio.timeout(DEADLINE_S):
            while not cache.guarantee()["memory"]:
                await asyncio.sleep(0.01)
        assert redis_server.call("EXISTS", "alacena:e:{acme.0}:document:d1") == 1
        async with asyncio.timeout(DEADLINE_S):
            while await cache.get("document", "d1", "acme", use_memory=False) == 7:
                await asyncio.sleep(0.01)
        assert await cache.load("document", "d1", "acme", source) == 7
