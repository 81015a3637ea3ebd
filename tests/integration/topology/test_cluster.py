"""The cache in a cluster: memory is served there too, and follows its slots."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import Cache, Settings
from alacena.engine.remote.redis.endpoint import Address
from alacena.engine.remote.redis.large_writes import PIECE_BYTES
from alacena.engine.remote.redis.slot_map import SLOTS, Range, SlotMap, slot_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from proving.servers.topology import RedisCluster

TENANTS = [f"t{number}" for number in range(12)]


def url_of(cluster: RedisCluster) -> str:
    return "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in cluster.addresses)


def entry_of(tenant: str) -> str:
    return f"alacena:e:{{{tenant}.0}}:document:d1"


def lost(reader: Cache, tenant: str) -> bool:
    return bool(reader.peek((tenant, "document", "d1")) != 1)


@pytest.fixture
async def open_caches(redis_cluster: RedisCluster) -> AsyncIterator[Callable[..., Awaitable[Cache]]]:
    async with AsyncExitStack() as stack:

        async def opened(**settings: Any) -> Cache:
            return await stack.enter_async_context(
                Cache(Settings(redis_url=url_of(redis_cluster), redis_budget_s=5.0, **settings))
            )

        yield opened


async def test_memory_serves_what_every_server_of_the_cluster_holds(open_caches: Any) -> None:
    writer, reader = await open_caches(), await open_caches()
    for tenant in TENANTS:
        await writer.set("document", "d1", f"of {tenant}", tenant)

    assert reader.guarantee()["memory"], reader.guarantee()["why"]
    for tenant in TENANTS:
        assert (await reader.lookup("document", "d1", tenant)).tier == "redis"
        found = await reader.lookup("document", "d1", tenant)
        assert (found.value, found.tier) == (f"of {tenant}", "memory")


async def test_a_change_at_any_server_reaches_memory_elsewhere(open_caches: Any) -> None:
    writer, reader = await open_caches(), await open_caches()
    for tenant in TENANTS:
        await writer.set("document", "d1", 1, tenant)
        await reader.get("document", "d1", tenant)
        assert reader.peek((tenant, "document", "d1")) == 1

    for tenant in TENANTS:
        await writer.invalidate(tenant, "document", "d1")
        await until(partial(lost, reader, tenant), "the push")


async def test_a_value_in_pieces_is_put_together_at_the_server_that_has_its_slot(open_caches: Any) -> None:
    writer, reader = await open_caches(), await open_caches()
    for tenant in TENANTS:
        value = tenant * PIECE_BYTES
        assert await writer.set("document", "d1", value, tenant)
        assert await reader.get("document", "d1", tenant) == value


async def test_a_slot_that_moves_takes_nothing_stale_along(start_cluster: Callable[..., RedisCluster]) -> None:
    with_slots = start_cluster(nodes=2)
    async with (
        Cache(Settings(redis_url=url_of(with_slots), redis_budget_s=5.0)) as one,
        Cache(Settings(redis_url=url_of(with_slots), redis_budget_s=5.0)) as two,
    ):
        tenant = next(name for name in TENANTS if with_slots.node_of(entry_of(name)) is with_slots.primaries[0])
        await one.set("document", "d1", 1, tenant)
        assert await two.get("document", "d1", tenant) == 1
        source, target = with_slots.primaries
        slot = slot_of(entry_of(tenant))
        for name in source.call("CLUSTER", "GETKEYSINSLOT", slot, 1000):
            source.call("DEL", name)
        with_slots.move_slot(slot, source, target)

        # What was known of the tenant went with the slot: a value that was in hand before is not stored under it.
        await until(lambda: one.set("document", "d1", 2, tenant))

        async def arrived() -> bool:
            return await two.get("document", "d1", tenant) == 2

        await until(arrived)
        await until(lambda: two.guarantee()["memory"], "memory with the new owner")
        await two.get("document", "d1", tenant)
        assert two.peek((tenant, "document", "d1")) == 2


async def test_the_promise_counts_the_servers_of_now_and_not_those_that_are_gone(
    start_cluster: Callable[..., RedisCluster],
) -> None:
    cluster = start_cluster(nodes=3, replicas=1)
    async with Cache(Settings(redis_url=url_of(cluster), redis_budget_s=5.0)) as cache:
        await until(lambda: cache.guarantee()["memory"], "memory")
        cluster.primaries[0].crash()
        await until(lambda: not cache.guarantee()["memory"], "the loss to be noticed")
        await until(lambda: cache.guarantee()["memory"], "full service after the failover")
        for tenant in TENANTS:
            await cache.set("document", "d1", 1, tenant)
            assert cache.peek((tenant, "document", "d1")) == 1


def test_every_slot_has_a_tag_and_a_server_without_slots_has_none() -> None:
    first, second, stranger = Address(port=1), Address(port=2), Address(port=3)
    slots = SlotMap()
    slots.adopt([Range(0, 0, first), Range(1, SLOTS - 1, second)])

    assert slot_of(f"canary:{{{slots.tag_at(first)}}}") == 0
    assert slot_of(f"canary:{{{slots.tag_at(second)}}}") != 0
    assert slots.tag_at(stranger) is None


def test_the_owners_are_those_of_the_map_of_now() -> None:
    first, second, third = Address(port=1), Address(port=2), Address(port=3)
    slots = SlotMap()
    assert slots.owners() == set()
    slots.adopt([Range(0, 0, first), Range(1, SLOTS - 1, second)])
    assert slots.owners() == {first, second}
    assert slots.move(0, third) == {0}
    assert slots.owners() == {third, second}
    assert slots.adopt([Range(0, SLOTS - 1, Address(port=2))]) == {0}
    assert slots.owners() == {second}
