"""Locks on both stores."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from alacena.coordination.lock import bell_prefix
from alacena.coordination.lock_acquisition import ACQUIRE
from alacena.coordination.locks import Locks
from alacena.engine.api.cache import Cache
from alacena.engine.base.errors import LockLostError, LockTimeoutError
from alacena.engine.base.settings import Settings
from proving.servers.topology import PROMPT_REPLICATION
from tests.waiting import DEADLINE_S, for_ever, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.coordination.coordination_context import CoordinationContext
    from proving.servers.redis_server import RedisServer
    from tests.integration.coordination.stand import LossyStore


async def _in_line(port: CoordinationContext, count: int) -> None:
    async def reached() -> bool:
        return bool(await port.store.call("ZCARD", port.key("lock", "t", "l", "line")) >= count)

    await until(reached)


async def test_one_holder_at_a_time_and_fences_that_grow(port: CoordinationContext) -> None:
    locks = Locks(port)
    inside = 0
    fences = []

    async def contend() -> None:
        nonlocal inside
        async with locks.acquire("l", tenant_id="t") as lock:
            inside += 1
            assert inside == 1
            fences.append(lock.fence)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(contend() for _ in range(30)))
    assert len(fences) == 30
    assert fences == sorted(set(fences))


async def test_waiters_are_served_in_the_order_in_which_they_came(port: CoordinationContext) -> None:
    locks = Locks(port)
    served: list[int] = []

    async def contend(number: int) -> None:
        async with locks.acquire("l", tenant_id="t"):
            served.append(number)

    async with locks.acquire("l", tenant_id="t"):
        waiters = []
        for number in range(8):
            waiters.append(asyncio.create_task(contend(number)))
            await _in_line(port, number + 1)
    await asyncio.gather(*waiters)
    assert served == list(range(8))


async def test_a_waiter_sends_a_constant_number_of_commands(port: CoordinationContext, store: LossyStore) -> None:
    locks = Locks(port)

    async def contend() -> None:
        async with locks.acquire("l", tenant_id="t"):
            await asyncio.sleep(0)

    waiters = 50
    async with locks.acquire("l", tenant_id="t"):
        tasks = [asyncio.create_task(contend()) for _ in range(waiters)]
        await _in_line(port, waiters)
        store.sent = [name for name in store.sent if name != "ZCARD"]
    await asyncio.gather(*tasks)
    counts = Counter(store.sent)
    assert counts["lock_release"] == waiters + 1
    assert counts["lock_acquire"] <= 1 + 4 * waiters
    assert counts["SUBSCRIBE"] == waiters


async def test_an_uncontended_lock_costs_one_round_trip_to_take_and_one_to_give(
    port: CoordinationContext, store: LossyStore
) -> None:
    async with Locks(port).acquire("l", tenant_id="t"):
        pass
    assert store.sent == ["lock_acquire", "lock_release"]


async def test_a_lock_that_is_held_is_not_had_in_time(port: CoordinationContext) -> None:
    locks = Locks(port)
    async with locks.acquire("l", tenant_id="t"):
        for wait_s in (0, 0.03):
            with pytest.raises(LockTimeoutError):
                async with locks.acquire("l", tenant_id="t", wait_s=wait_s):
                    pytest.fail("two holders")
        async with locks.acquire("l", tenant_id="other", wait_s=0):
            pass
    await locks.close()
    async with locks.acquire("l", tenant_id="t", wait_s=0):
        pass


async def test_a_stranger_cannot_release_or_renew(port: CoordinationContext) -> None:
    locks = Locks(port)
    assert await locks.try_acquire("l", tenant_id="t", token="mine") is not None
    assert not await locks.release("l", tenant_id="t", token="yours")
    assert not await locks.renew("l", tenant_id="t", token="yours")
    assert await locks.renew("l", tenant_id="t", token="mine", ttl_s=9)
    assert await locks.release("l", tenant_id="t", token="mine")


async def test_lost_replies_neither_lose_nor_double_a_lock(port: CoordinationContext, store: LossyStore) -> None:
    locks = Locks(port)
    store.lose = {"lock_acquire": 2, "lock_release": 2}
    fence = await locks.try_acquire("l", tenant_id="t", token="a")
    assert fence == await locks.try_acquire("l", tenant_id="t", token="a")
    assert await locks.release("l", tenant_id="t", token="a")
    assert await locks.try_acquire("l", tenant_id="t", token="b") > (fence or 0)


async def test_a_fence_that_was_lost_with_the_server_is_still_overtaken(port: CoordinationContext) -> None:
    locks = Locks(port)
    before = await locks.try_acquire("l", tenant_id="t", token="a")
    for part in ("owner", "state"):
        await port.store.call("DEL", port.key("lock", "t", "l", part))
    after = await locks.try_acquire("l", tenant_id="t", token="b")
    assert before is not None
    assert after is not None
    assert after > before


async def test_a_dead_holder_is_followed_when_its_lease_ends(port: CoordinationContext) -> None:
    locks = Locks(port)
    dead = await locks.try_acquire("l", tenant_id="t", ttl_s=0.3, token="dead")
    async with locks.acquire("l", tenant_id="t", wait_s=60) as lock:
        assert lock.fence > (dead or 0)
        assert not await locks.renew("l", tenant_id="t", token="dead")


async def test_a_lock_that_is_stolen_ends_its_block(port: CoordinationContext) -> None:
    locks = Locks(port)
    with pytest.raises(LockLostError):  # noqa: PT012 - the block is the point
        async with locks.acquire("l", tenant_id="t", ttl_s=0.2) as lock:
            await port.store.call("SET", port.key("lock", "t", "l", "owner"), "thief")
            await for_ever()
    assert lock.lost.is_set()
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]


async def test_waiters_that_do_not_listen_any_more_are_passed_over_at_once(port: CoordinationContext) -> None:
    locks = Locks(port)
    keys = [port.key("lock", "t", "l", part) for part in ("owner", "state", "line", "alive")]
    async with locks.acquire("l", tenant_id="t"):
        for number in range(20):
            words = [f"dead-{number}", 30_000, 900_000, 600_000, bell_prefix(keys)]  # none lapses in this test
            assert (await port.run(ACQUIRE, keys, words))[0] == 0
        living = asyncio.create_task(locks.take("l", tenant_id="t"))
        await _in_line(port, 21)
    async with asyncio.timeout(DEADLINE_S):
        lock = await living
    assert await port.store.call("ZCARD", keys[2]) == await port.store.call("ZCARD", keys[3]) == 0
    await lock.release()


async def test_a_cancelled_waiter_leaves_the_line(port: CoordinationContext) -> None:
    locks = Locks(port)
    async with locks.acquire("l", tenant_id="t"):
        waiter = asyncio.create_task(locks.take("l", tenant_id="t"))
        line = port.key("lock", "t", "l", "line")
        await _in_line(port, 1)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

        async def left() -> bool:
            return bool(await port.store.call("ZCARD", line) == 0)

        await until(left)


async def test_a_lock_that_is_held_when_its_cache_is_closed_is_lost(port: CoordinationContext) -> None:
    locks = Locks(port)
    with pytest.raises(LockLostError):  # noqa: PT012 - the block is the point
        async with locks.acquire("l", tenant_id="t", ttl_s=30) as lock:
            await locks.close()
            assert lock.remaining_s == 0
            await for_ever()


HOUR_US = 3_600_000_000


async def _fence(url: str, token: str) -> int:
    """Take the lock, give it back; its fence."""
    async with Cache(Settings(redis_url=url, trust_eviction_policy=True)) as cache:
        fence = await cache.locks.try_acquire("l", tenant_id="t", token=token)
        assert fence is not None
        await cache.locks.release("l", tenant_id="t", token=token)
        return fence


@pytest.mark.parametrize("known", [True, False], ids=["replicated before", "never replicated"])
async def test_after_a_failover_that_lost_fences_the_next_one_is_hours_ahead_of_any_clock(
    known: bool, start_redis: Callable[..., RedisServer]
) -> None:
    primary, replica = (start_redis(tcp=True, extra=PROMPT_REPLICATION) for _ in range(2))
    replica.call("REPLICAOF", "127.0.0.1", primary.port)
    if known:
        await _fence(primary.url, "known to the replica")
    offset = primary.call("ROLE")[1]
    await until(lambda: _in_step(replica, offset))
    replica.call("REPLICAOF", "NO", "ONE")
    lost = [await _fence(primary.url, f"lost {number}") for number in range(3)]
    primary.crash()
    after = [await _fence(replica.url, f"after {number}") for number in range(3)]
    if known:
        assert after[0] - lost[-1] > 12 * HOUR_US
    assert [*lost, *after] == sorted({*lost, *after})
    assert after[-1] - after[0] < HOUR_US


async def _in_step(replica: RedisServer, offset: int) -> bool:
    role = replica.call("ROLE")
    return bool(role[3] == "connected" and role[4] >= offset)


async def test_a_restart_puts_fences_hours_ahead_and_an_unbroken_history_does_not(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(extra=("--appendonly", "yes", "--appendfsync", "always"))
    first, second = [await _fence(server.url, token) for token in "ab"]
    server.restart()
    third = await _fence(server.url, "c")
    assert second - first < HOUR_US
    assert third - second > 12 * HOUR_US


async def test_a_user_who_may_not_see_the_history_has_fences_that_grow(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(users=["app on >pw ~alacena:* &alacena:* +@all -info"])
    seen = [await _fence(f"unix://app:pw@{server.socket_path}", token) for token in "ab"]
    server.call("ACL", "SETUSER", "other", "on", ">pw", "~*", "&*", "+@all")
    seen.append(await _fence(f"unix://other:pw@{server.socket_path}", "c"))
    seen.append(await _fence(f"unix://app:pw@{server.socket_path}", "d"))
    assert seen == sorted(set(seen))
