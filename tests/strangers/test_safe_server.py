"""Coordination is entrusted to a server that evicts nothing, and to no other: whatever it said before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena.engine import BackendUnavailableError, Cache, Settings, UnsafeServerError
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.redis_server import RedisServer


async def count(cache: Cache) -> bool:
    """Whether a verb of coordination is admitted."""
    try:
        await cache.counters.increment("c", tenant_id="acme")
    except UnsafeServerError as error:
        said = str(error)
    else:
        return True
    assert "maxmemory-policy" in said
    assert "noeviction" in said
    return False


async def until_admitted(cache: Cache, *, admitted: bool) -> None:
    async def reached() -> bool:
        return await count(cache) is admitted

    await until(reached)


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "volatile-random", "allkeys-lru"])
async def test_every_policy_that_evicts_is_refused(start_redis: Callable[..., RedisServer], policy: str) -> None:
    """taskforcesh/bullmq 2215: locks and receipts have an expiry, so `volatile-*` evicts them."""
    server = start_redis(maxmemory_bytes=50_000_000, maxmemory_policy=policy)
    async with Cache(Settings(redis_url=server.url)) as cache:
        assert not await count(cache)
        assert cache.guarantee()["coordination"] == f"refused: maxmemory-policy is {policy}"
        assert cache.guarantee()["eviction_policy"] == policy


async def test_a_policy_that_changes_is_noticed_and_one_that_is_set_right_heals(
    start_redis: Callable[..., RedisServer],
) -> None:
    """National-Tutoring-Observatory/sandpiper 734: somebody changes the parameter group of a live server."""
    server = start_redis(maxmemory_bytes=50_000_000)
    async with Cache(Settings(redis_url=server.url)) as cache:
        assert await count(cache)
        server.call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        await until_admitted(cache, admitted=False)
        server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await until_admitted(cache, admitted=True)


async def test_a_server_that_was_away_at_the_first_call_is_looked_at_when_it_is_there(
    start_redis: Callable[..., RedisServer],
) -> None:
    """taskforcesh/bullmq 2215: the service starts while its server restarts."""
    server = start_redis(maxmemory_bytes=50_000_000, maxmemory_policy="allkeys-lru")
    server.crash()
    async with Cache(Settings(redis_url=server.url, redis_connect_timeout_s=0.2)) as cache:
        with pytest.raises(BackendUnavailableError):
            await cache.counters.increment("c", tenant_id="acme")
        server.start()
        await until(lambda: cache.guarantee()["connected"])
        assert not await count(cache)


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_server_that_hides_its_policy_is_trusted_only_at_the_operators_word(
    start_redis: Callable[..., RedisServer], trusted: bool
) -> None:
    """The usual hardening takes INFO away with `-@dangerous`."""
    server = start_redis(users=["app on >pw ~* &* +@all -info"])
    url = f"unix://app:pw@{server.socket_path}"
    async with Cache(Settings(redis_url=url, trust_eviction_policy=trusted)) as cache:
        assert await count(cache) is trusted
        assert "INFO" in cache.guarantee()["missing_rights"]


async def test_the_operators_word_does_not_outweigh_the_servers(start_redis: Callable[..., RedisServer]) -> None:
    """A server that says that it evicts is refused, whoever vouches for it."""
    server = start_redis(maxmemory_bytes=50_000_000, maxmemory_policy="volatile-lru")
    async with Cache(Settings(redis_url=server.url, trust_eviction_policy=True)) as cache:
        assert not await count(cache)


def test_the_operators_word_can_come_from_the_environment() -> None:
    assert Settings.from_env({"ALACENA_TRUST_EVICTION_POLICY": "true"}).trust_eviction_policy is True
    assert Settings.from_env({"ALACENA_TRUST_EVICTION_POLICY": "false"}).trust_eviction_policy is False
