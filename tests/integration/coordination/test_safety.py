"""Servers that would lose what is entrusted to them are refused; scripts survive a server that forgot them."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.api.cache import Cache
from alacena.engine.base.errors import UnsafeServerError
from alacena.engine.base.settings import Settings
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.redis_server import Flavour, RedisServer


@pytest.mark.parametrize(("flavour", "policy"), [("valkey", "allkeys-lru"), ("redis", "volatile-ttl")])
async def test_a_server_that_evicts_is_refused_before_anything_is_entrusted_to_it(
    flavour: Flavour, policy: str, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis(flavour, maxmemory_bytes=50_000_000, maxmemory_policy=policy)
    async with Cache(Settings(redis_url=server.url)) as cache:
        before = server.call("DBSIZE")
        verbs: list[Any] = [
            cache.lists.rpush("l", 1, tenant_id="t"),
            cache.lists.lpop("l", tenant_id="t"),
            cache.sets.add("s", 1, tenant_id="t"),
            cache.flags.set_nx("f", 1, tenant_id="t"),
            cache.counters.increment("c", tenant_id="t"),
            cache.limits.token_bucket("b", tenant_id="t", rate_per_s=1, burst=1),
            cache.budgets("b", tenant_id="t", limit=1).reserve(1),
            cache.queues("q", tenant_id="t").push(1),
            cache.locks.try_acquire("l", tenant_id="t"),
            cache.ledger.record("t", 1, model="m"),
        ]
        for verb in verbs:
            with pytest.raises(UnsafeServerError, match=policy):
                await verb
        assert server.call("DBSIZE") == before
        assert cache.guarantee()["coordination"] == f"refused: maxmemory-policy is {policy}"


async def test_a_server_that_evicts_nothing_is_accepted(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(maxmemory_bytes=50_000_000, maxmemory_policy="noeviction")
    async with Cache(Settings(redis_url=server.url)) as cache:
        assert await cache.counters.increment("c", tenant_id="t") == 1


async def test_a_forgotten_script_is_loaded_and_run_once(file_server: RedisServer) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache:
        assert await cache.counters.increment("c", tenant_id="t") == 1
        file_server.call("SCRIPT", "FLUSH", "SYNC")
        assert await cache.counters.increment("c", tenant_id="t") == 2


def _calls(server: RedisServer) -> int:
    """How many scripts were run."""
    found = re.search(r"cmdstat_evalsha:calls=(\d+)", server.call("INFO", "commandstats"))
    return 0 if found is None else int(found[1])


async def test_a_user_without_rights_on_channels_is_served_by_looking_again(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alacena.coordination.coordination_context._LOOK_AGAIN_S", 0.2)
    server = start_redis(users=["app on >pw ~alacena:* resetchannels +@all"])
    settings = Settings(redis_url=f"unix://app:pw@{server.socket_path}", redis_timeout_s=0.3)
    async with Cache(settings) as cache:
        queue = cache.queues("q", tenant_id="t")
        waiting = asyncio.create_task(queue.reserve(wait_s=60))
        await until(lambda: _calls(server) >= 2, "it looks again")
        await queue.push("v", id="once")
        [item] = await waiting
        await item.ack()
        async with cache.locks.acquire("l", tenant_id="t"), asyncio.timeout(60):
            next_one = asyncio.create_task(cache.locks.take("l", tenant_id="t", wait_s=60))
            before = _calls(server)
            await until(lambda: _calls(server) >= before + 2, "it looks again")
        await (await next_one).release()
        await cache.ledger.record("t", 5, model="m")
        assert (await queue.stats()).acked == 1
