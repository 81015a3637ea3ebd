"""Locks on both stores."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from alacena.engine.coordination.lock import bell_prefix
from alacena.engine.coordination.locks import ACQUIRE, Locks
from alacena.engine.errors import LockLostError, LockTimeoutError
from tests.integration.coordination.stand import eventually

if TYPE_CHECKING:
    from alacena.engine.coordination.port import Port
    from tests.integration.coordination.stand import LossyStore


async def _in_line(port: Port, count: int) -> None:
    async def reached() -> bool:
        return bool(await port.store.call("ZCARD", port.key("lock", "t", "l", "line")) >= count)

    await eventually(reached)


async def test_one_holder_at_a_time_and_fences_that_grow(port: Port) -> None:
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


async def test_waiters_are_served_in_the_order_in_which_they_came(port: Port) -> None:
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


async def test_a_waiter_sends_a_constant_number_of_commands(port: Port, store: LossyStore) -> None:
    locks = Locks(port)

    async def contend() -> None:
        async with locks.acquire("l", tenant_id="t"):
            await asyncio.sleep(0.002)

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


async def test_an_uncontended_lock_costs_one_round_trip_to_take_and_one_to_give(port: Port, store: LossyStore) -> None:
    async with Locks(port).acquire("l", tenant_id="t"):
        pass
    assert store.sent == ["lock_acquire", "lock_release"]


async def test_a_lock_that_is_held_is_not_had_in_time(port: Port) -> None:
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


async def test_a_stranger_cannot_release_or_renew(port: Port) -> None:
    locks = Locks(port)
    assert await locks.try_acquire("l", tenant_id="t", token="mine") is not None
    assert not await locks.release("l", tenant_id="t", token="yours")
    assert not await locks.renew("l", tenant_id="t", token="yours")
    assert await locks.renew("l", tenant_id="t", token="mine", ttl_s=9)
    assert await locks.release("l", tenant_id="t", token="mine")


async def test_lost_replies_neither_lose_nor_double_a_lock(port: Port, store: LossyStore) -> None:
    locks = Locks(port)
    store.lose = {"lock_acquire": 2, "lock_release": 2}
    fence = await locks.try_acquire("l", tenant_id="t", token="a")
    assert fence == await locks.try_acquire("l", tenant_id="t", token="a")
    assert await locks.release("l", tenant_id="t", token="a")
    assert await locks.try_acquire("l", tenant_id="t", token="b") > (fence or 0)


async def test_a_fence_that_was_lost_with_the_server_is_still_overtaken(port: Port) -> None:
    locks = Locks(port)
    before = await locks.try_acquire("l", tenant_id="t", token="a")
    for part in ("owner", "state"):
        await port.store.call("DEL", port.key("lock", "t", "l", part))
    after = await locks.try_acquire("l", tenant_id="t", token="b")
    assert before is not None
    assert after is not None
    assert after > before


async def test_a_dead_holder_is_followed_when_its_lease_ends(port: Port) -> None:
    locks = Locks(port)
    now = port.environment.now
    began = now()
    await locks.try_acquire("l", tenant_id="t", ttl_s=0.3, token="dead")
    async with locks.acquire("l", tenant_id="t", wait_s=5):
        waited = now() - began
    assert 0.29 <= waited < 4.0


async def test_a_lock_that_is_stolen_ends_its_block(port: Port) -> None:
    locks = Locks(port)
    with pytest.raises(LockLostError):  # noqa: PT012 - the block is the point
        async with locks.acquire("l", tenant_id="t", ttl_s=0.2) as lock:
            await port.store.call("SET", port.key("lock", "t", "l", "owner"), "thief")
            await asyncio.sleep(10)
    assert lock.lost.is_set()
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]


async def test_waiters_that_do_not_listen_any_more_are_passed_over_at_once(port: Port) -> None:
    locks = Locks(port)
    keys = [port.key("lock", "t", "l", part) for part in ("owner", "state", "line", "alive")]
    async with locks.acquire("l", tenant_id="t"):
        for number in range(20):
            words = [f"dead-{number}", 30_000, 15_000, 6_000, bell_prefix(keys)]
            assert (await port.run(ACQUIRE, keys, words))[0] == 0
        living = asyncio.create_task(locks.take("l", tenant_id="t"))
        await _in_line(port, 21)
        began = port.environment.now()
    lock = await living
    assert port.environment.now() - began < 1.0
    assert await port.store.call("ZCARD", keys[2]) == await port.store.call("ZCARD", keys[3]) == 0
    await lock.release()


async def test_a_cancelled_waiter_leaves_the_line(port: Port) -> None:
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

        await eventually(left)


async def test_a_lock_that_is_held_when_its_cache_is_closed_is_lost(port: Port) -> None:
    locks = Locks(port)
    with pytest.raises(LockLostError):  # noqa: PT012 - the block is the point
        async with locks.acquire("l", tenant_id="t", ttl_s=30) as lock:
            await locks.close()
            assert lock.remaining_s == 0
            await asyncio.sleep(10)
