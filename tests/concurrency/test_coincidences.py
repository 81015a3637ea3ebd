"""Callers who begin, end, time out and are cancelled in the same instants, in any order: every load ends, nothing is left.

All times are multiples of one tick, so that what happens by chance once in a million storms happens here in each: a
timeout, a cancellation and an answer in one step of the loop. The seed permutes what is ready in a step.

``TESTS_COINCIDENCE_SEEDS=2000`` looks at so many schedules of each kind, from ``TESTS_COINCIDENCE_FIRST`` on.
"""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from alacena.engine import CircularLoadError, LoadTimeoutError, LockTimeoutError, Policy
from tests.unit.engine.scene import TENANT, play

SEEDS = int(os.environ.get("TESTS_COINCIDENCE_SEEDS", "15"))
FIRST = int(os.environ.get("TESTS_COINCIDENCE_FIRST", "1"))
DEAR = 5
"""How many schedules without a server cost as much as one with."""
TICK_S = 0.01
CALLERS = 60
KEYS = [f"n{number}" for number in range(4)]
LONGEST_S = 20.0
"""No load takes longer: a caller that waits longer waits for a load that is not there."""
POLICIES = {
    "plain": Policy(ttl=0.05),
    "stale": Policy(ttl=0.02, stale_while_revalidate_s=0.1, stale_if_error_s=0.5, soft_timeout_s=0.01),
    "backoff": Policy(ttl=0.02, stale_if_error_s=0.5, retry_after_s=0.03, hard_timeout_s=0.04),
    "hard": Policy(ttl=0.03, hard_timeout_s=0.03, negative_ttl_s=0.02),
}
EXPECTED = (ConnectionError, LoadTimeoutError, CircularLoadError)


def schedules(*, server):
    """The seeds to look at."""
    return range(FIRST, FIRST + (max(1, SEEDS // DEAR) if server else SEEDS))


class Coincidences:
    """Callers of one cache, on a clock that ticks coarsely.

    Args:
        stage: Where they play.
        is_nested: Whether loaders ask for other entries.
        kinds: The data types that they ask for.
    """

    def __init__(self, stage, *, is_nested, kinds):
        self.stage = stage
        self.chance = stage.sim.chance
        self.is_nested = is_nested
        self.kinds = kinds

    async def run(self):
        """All callers, to their end."""
        loop = asyncio.get_running_loop()
        tasks = []
        for _ in range(CALLERS):
            task = asyncio.create_task(self._call(self.chance.choice(self.stage.caches)))
            tasks.append(task)
            if self.chance.random() < 0.5:
                loop.call_later(self.chance.randrange(30) * TICK_S, self._cancel_soon, task, self.chance.randrange(6))
        _, left = await asyncio.wait(tasks, timeout=0.3 + LONGEST_S)
        assert not left, f"{len(left)} callers wait for ever: {left}"
        for task in tasks:
            if not task.cancelled() and not isinstance(task.exception(), EXPECTED):
                task.result()

    def _cancel_soon(self, task, turns):
        """Cancels a caller so many turns of the loop later."""
        if turns:
            asyncio.get_running_loop().call_soon(self._cancel_soon, task, turns - 1)
        else:
            task.cancel()

    async def _call(self, cache):
        await asyncio.sleep(self.chance.randrange(25) * TICK_S)
        kind = self.chance.choice(self.kinds)
        one = self.chance.choice(KEYS)
        draw = self.chance.random()
        if draw < 0.3:
            await cache.load(kind, one, TENANT, self._loader(cache), use_memory=self.chance.random() < 0.9)
        elif draw < 0.6:
            await cache.load_many(kind, self._some(), TENANT, self._batch_loader(cache))
        elif draw < 0.7:
            await cache.refresh(kind, one, TENANT, self._loader(cache))
        elif draw < 0.8:
            await self._claim(cache, kind, one)
        elif draw < 0.85:
            await cache.set(kind, one, ["set"], TENANT, tags=["t0"])
        elif draw < 0.95:
            await cache.invalidate(TENANT, kind, one if draw < 0.91 else None)
        else:
            await cache.invalidate(TENANT, tags=[f"t{self.chance.randrange(2)}"])

    def _some(self):
        return self.chance.sample(KEYS, self.chance.randrange(1, 4))

    async def _claim(self, cache, kind, one):
        async with cache.claim(kind, one, TENANT) as claim:
            if claim.found:
                return
            await self._work(cache)
            if self.chance.random() < 0.6:
                await claim.store(["claimed"])

    def _loader(self, cache):
        async def load(context):
            await self._work(cache)
            context.tags += (f"t{self.chance.randrange(2)}",)
            return None if self.chance.random() < 0.1 else [context.resource_id]

        return load

    def _batch_loader(self, cache):
        async def load_many(ids):
            await self._work(cache)
            return {i: [i] for i in ids}

        return load_many

    async def _work(self, cache):
        """What a source does: it takes some turns, or some ticks, may ask for another entry, and fails at times."""
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        await asyncio.sleep(self.chance.randrange(5) * TICK_S)
        if self.is_nested and self.chance.random() < 0.3:
            kind, one = self.chance.choice(self.kinds), self.chance.choice(KEYS)
            if self.chance.random() < 0.5:
                await cache.load(kind, one, TENANT, self._loader(cache))
            else:
                await cache.load_many(kind, self._some(), TENANT, self._batch_loader(cache))
        if self.chance.random() < 0.1:
            raise ConnectionError("the source's own")


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("limit", [None, 1, 3])
@pytest.mark.parametrize("is_nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("server", [False, True], ids=["memory only", "server"])
def test_every_load_ends_and_leaves_nothing_whatever_falls_into_one_step(server, is_nested, limit):
    async def scenario(stage):
        kinds = stage.sim.chance.choice([["plain"], ["hard"], ["backoff"], ["stale"], list(POLICIES)])
        await Coincidences(stage, is_nested=is_nested, kinds=kinds).run()
        await asyncio.sleep(LONGEST_S)
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)
        for cache in stage.caches:
            assert cache._parts.remote._coherence._watchers == {}
            assert cache._parts.reader._runner._limiter._lines == {}

    play(
        scenario,
        policies=POLICIES,
        server=server,
        processes=2 if server else 1,
        seeds=schedules(server=server),
        max_loads_per_tenant=limit,
        lease_s=0.2,
        lease_wait_s=1000.0,
    )


LIMIT_S = 1.5
"""A waiter that is not woken would look by itself, but only after more than this."""


class Waiters:
    """Callers of one lock and one queue, cancelled in the steps in which they are granted what they wait for."""

    def __init__(self, stage):
        self.stage = stage
        self.chance = stage.sim.chance
        self.inside = 0

    async def run(self, call, count):
        """Callers of one kind; half of them are cancelled."""
        loop = asyncio.get_running_loop()
        tasks = []
        for _ in range(count):
            task = asyncio.create_task(call(self.chance.choice(self.stage.caches)))
            tasks.append(task)
            if self.chance.random() < 0.5:
                loop.call_later(self.chance.randrange(30) * TICK_S, self._cancel_soon, task, self.chance.randrange(6))
        _, left = await asyncio.wait(tasks, timeout=600)
        assert not left, f"{len(left)} callers wait for ever: {left}"
        for task in tasks:
            if not task.cancelled():
                task.result()

    _cancel_soon = Coincidences._cancel_soon

    async def lock(self, cache):
        """Take the lock for a moment; nobody else has it, and it is had as soon as it is free."""
        await asyncio.sleep(self.chance.randrange(20) * TICK_S)
        wait_s = self.chance.choice([None, 0.05, 0.1])
        try:
            async with cache.locks.acquire("l", tenant_id=TENANT, ttl_s=30, wait_s=wait_s):
                self.inside += 1
                try:
                    assert self.inside == 1
                    await asyncio.sleep(self.chance.randrange(3) * TICK_S)
                finally:
                    self.inside -= 1
        except LockTimeoutError:
            assert wait_s is not None

    async def use_queue(self, cache):
        """Put an item in, or take some and give them back or finish them: what was handed out is the test's to settle."""
        await asyncio.sleep(self.chance.randrange(20) * TICK_S)
        queue = cache.queues("q", tenant_id=TENANT)
        if self.chance.random() < 0.4:
            await queue.push("work", delay_s=self.chance.choice([0.0, 0.05]))
            return
        wait_s = self.chance.choice([0.0, 0.05, 0.2])
        items = await queue.reserve(self.chance.randrange(1, 3), visibility_s=300, wait_s=wait_s)
        await asyncio.shield(asyncio.ensure_future(self._settle(queue, items)))

    async def _settle(self, queue, items):
        if self.chance.random() < 0.5:
            assert await queue.ack(items) == []
        else:
            await queue.give_back(items)


@pytest.mark.parametrize("server", [False, True], ids=["memory only", "server"])
def test_a_lock_goes_to_the_next_in_line_whoever_leaves_in_the_step_in_which_it_is_granted(server):
    async def scenario(stage):
        waiters, began = Waiters(stage), stage.now()
        await waiters.run(waiters.lock, 30)
        async with stage.cache.locks.acquire("l", tenant_id=TENANT, wait_s=LIMIT_S):
            assert stage.now() - began < LIMIT_S
        await asyncio.sleep(1)
        for cache in stage.caches:
            assert not cache.locks._background._tasks

    play(scenario, server=server, processes=2 if server else 1, seeds=schedules(server=server))


@pytest.mark.parametrize("server", [False, True], ids=["memory only", "server"])
def test_no_item_stays_with_a_caller_who_left_in_the_step_in_which_it_came(server):
    async def scenario(stage):
        waiters = Waiters(stage)
        await waiters.run(waiters.use_queue, 60)
        await asyncio.sleep(1)
        queue = stage.cache.queues("q", tenant_id=TENANT)
        stats = await queue.stats()
        assert (stats.in_flight, stats.dead) == (0, 0)
        items = await queue.reserve(1000)
        assert (len(items), all(item.attempt == 1 for item in items)) == (stats.pushed - stats.acked, True)

    play(scenario, server=server, processes=2 if server else 1, seeds=schedules(server=server))
