"""Locks in virtual time: renewal, loss, death."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from alacena.coordination.coordination_context import CoordinationContext
from alacena.coordination.locks import Locks
from alacena.engine.base.errors import BackendUnavailableError, LockLostError
from alacena.engine.remote.local.local_backend import LocalBackend
from tests.integration.coordination.stand import PlainKeys
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.remote.backend import Argument, Reply, Script


class UnreachableStore(LocalBackend):
    """A store whose network can be cut.

    Attributes:
        away: True while nothing gets through.
        slow_s: How long a script takes to be answered.
    """

    away = False
    slow_s = 0.0

    async def script(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument], *, timeout_s: float | None = None
    ) -> Reply:
        if self.away:
            await asyncio.sleep(self.slow_s)
            raise BackendUnavailableError("the network is cut")
        reply = await super().script(script, keys, args)
        await asyncio.sleep(self.slow_s)
        return reply


def _locks(environment: VirtualEnvironment) -> tuple[Locks, UnreachableStore]:
    store = UnreachableStore(environment)
    return Locks(CoordinationContext(store, PlainKeys(), environment)), store


def test_a_lock_is_renewed_for_as_long_as_its_block_runs() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        locks, _ = _locks(environment)
        async with locks.acquire("l", tenant_id="t", ttl_s=10) as lock:
            await asyncio.sleep(1_000)
            lock.check()
            assert lock.remaining_s > 6

    run_virtual(test)


@pytest.mark.parametrize("slow_s", [0.0, 0.5, 3.0])
def test_the_block_is_cancelled_before_the_server_could_give_the_lock_away(slow_s: float) -> None:
    async def test(environment: VirtualEnvironment) -> float:
        locks, store = _locks(environment)
        store.slow_s = slow_s
        with pytest.raises(LockLostError):  # noqa: PT012 - the block is the point
            async with locks.acquire("l", tenant_id="t", ttl_s=30) as lock:
                await asyncio.sleep(100)
                store.away = True
                await asyncio.sleep(100)
        ended = environment.now()
        assert lock.lost.is_set()
        with pytest.raises(LockLostError):
            lock.check()
        store.away = False
        store.slow_s = 0
        async with locks.acquire("l", tenant_id="t", wait_s=100):
            return environment.now() - ended

    margin = run_virtual(test)
    assert margin >= 0.3 - 0.01
    assert margin < 6


def test_a_short_outage_does_not_cost_the_lock() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        locks, store = _locks(environment)
        async with locks.acquire("l", tenant_id="t", ttl_s=30) as lock:
            for _ in range(10):
                store.away = True
                await asyncio.sleep(15)
                store.away = False
                await asyncio.sleep(15)
            lock.check()

    run_virtual(test)


def test_a_block_that_swallows_its_cancellation_still_ends_with_the_loss() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        locks, store = _locks(environment)
        with pytest.raises(LockLostError):  # noqa: PT012 - the block is the point
            async with locks.acquire("l", tenant_id="t", ttl_s=1):
                store.away = True
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    store.away = False
        await asyncio.sleep(1)

    run_virtual(test)


def test_the_callers_own_cancellation_is_not_mistaken_for_a_loss() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        locks, _ = _locks(environment)

        async def block() -> None:
            async with locks.acquire("l", tenant_id="t", ttl_s=1):
                await asyncio.sleep(100)

        task = asyncio.create_task(block())
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await locks.close()
        async with locks.acquire("l", tenant_id="t", wait_s=0):
            pass

    run_virtual(test)


def test_a_holder_that_dies_is_followed_within_its_lease_and_a_dead_waiter_is_passed() -> None:
    async def test(environment: VirtualEnvironment) -> tuple[float, float]:
        locks, store = _locks(environment)
        began = environment.now()
        await locks.try_acquire("l", tenant_id="t", ttl_s=10, token="dead holder")
        async with locks.acquire("l", tenant_id="t"):
            first = environment.now() - began
            keys = [f"alacena:lock:{{t.0}}:l:{part}" for part in ("line", "alive")]
            await store.call("ZADD", keys[0], 1, "dead waiter")
            await store.call("ZADD", keys[1], (environment.wall() + 15) * 1000, "dead waiter")
            follower = asyncio.create_task(locks.take("l", tenant_id="t"))
            await asyncio.sleep(0.1)
            released = environment.now()
        lock = await follower
        passed = environment.now() - released
        await lock.release()
        return first, passed

    first, passed = run_virtual(test)
    assert 10 <= first <= 10.02
    assert passed <= 11


def test_the_next_in_line_watches_the_lease_of_each_holder() -> None:
    """Every holder dies; each follower must come when the lease ends, not at its next heartbeat."""

    async def test(environment: VirtualEnvironment) -> list[float]:
        locks, _ = _locks(environment)
        taken = []

        async def take_and_die() -> None:
            lock = await locks.take("l", tenant_id="t", ttl_s=2)
            taken.append(environment.now())
            lock._renewal.cancel()

        await asyncio.gather(*(take_and_die() for _ in range(20)))
        return [later - sooner for sooner, later in itertools.pairwise(taken)]

    gaps = run_virtual(test)
    assert len(gaps) == 19
    assert all(2 <= gap <= 2.02 for gap in gaps), gaps
