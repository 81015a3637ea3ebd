"""Callers who are cancelled at any moment, in their tens of thousands: nobody else notices, nothing is left.

``TESTS_STORM_CANCELS=100000`` makes the storm as long as the figures are given for.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
from collections import Counter

import pytest

from alacena.engine import Cache, Policy, Settings
from tests.unit.engine.scene import TENANT, play

CANCELS = int(os.environ.get("TESTS_STORM_CANCELS", "8000"))
KEYS = 40
MOST_TURNS = 100_000
"""A load takes a dozen, and nothing here waits for time."""
POLICIES = {
    "plain": Policy(ttl=0.5),
    "stale": Policy(
        ttl=0.05, stale_while_revalidate_s=0.2, stale_if_error_s=1.0, retry_after_s=0.05, soft_timeout_s=0.01
    ),
    "hard": Policy(ttl=0.1, hard_timeout_s=0.05, negative_ttl_s=0.05),
}


class Storm:
    """Callers that read, load and invalidate; most of them are cancelled at a moment that the seed decides.

    Args:
        caches: Whom they call.
        chance: Decides everything.
        cancels: After how many it is over.
        pause: Waits for a moment inside a loader.
        after_a_moment: Calls something a moment later.
    """

    def __init__(self, caches, chance, cancels, pause, after_a_moment):
        self.caches = caches
        self.chance = chance
        self.cancels = cancels
        self.pause = pause
        self.after_a_moment = after_a_moment
        self.outcomes = Counter()

    async def blow(self, between_waves=lambda: None):
        """Callers in waves, until so many were cancelled."""
        while self.outcomes["cancelled"] < self.cancels:
            wave = [self._caller() for _ in range(200)]
            for task, doomed in wave:
                if doomed:
                    self.after_a_moment(task.cancel)
            await asyncio.wait([task for task, _ in wave])
            for task, doomed in wave:
                self.outcomes[outcome(task, doomed=doomed)] += 1
            between_waves()

    def _caller(self):
        cache = self.chance.choice(self.caches)
        data_type = self.chance.choice(list(POLICIES))
        one = f"n{self.chance.randrange(KEYS)}"
        kind = self.chance.random()
        if kind < 0.6:
            work = cache.load(data_type, one, TENANT, self.load)
        elif kind < 0.8:
            ids = [f"n{self.chance.randrange(KEYS)}" for _ in range(5)]
            work = cache.load_many(data_type, ids, TENANT, self.load_many)
        elif kind < 0.9:
            work = cache.get(data_type, one, TENANT, use_memory=self.chance.random() < 0.5)
        elif kind < 0.95:
            work = cache.invalidate(TENANT, data_type, one if kind < 0.94 else None)
        else:
            work = cache.refresh(data_type, one, TENANT, self.load)
        return asyncio.create_task(work), self.chance.random() < 0.95

    async def load(self, context):
        await self.pause()
        if self.chance.random() < 0.05:
            raise ConnectionError("the source's own")
        return [context.resource_id]

    async def load_many(self, ids):
        await self.pause()
        return {i: [i] for i in ids}

    def judge(self):
        """What nobody may have seen, nobody has."""
        assert self.outcomes["cancelled"] >= self.cancels
        assert set(self.outcomes) <= {"cancelled", "answered", "ConnectionError", "LoadTimeoutError"}, self.outcomes
        assert self.outcomes["answered"] > self.cancels / 20, self.outcomes


def outcome(task, *, doomed):
    if task.cancelled():
        return "cancelled" if doomed else "cancelled by somebody else's leaving"
    return "answered" if task.exception() is None else type(task.exception()).__name__


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("limit", [None, 3])
async def test_tens_of_thousands_of_cancellations_leave_nothing_and_fail_nobody_else(environment, limit):
    loop, chance = asyncio.get_running_loop(), random.Random(environment.token(8))
    reports = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    async def pause():
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)

    def after_a_moment(call, turns=None):
        turns = chance.randrange(7) if turns is None else turns
        loop.call_soon(call if turns == 0 else lambda: after_a_moment(call, turns - 1))

    settings = Settings(max_loads_per_tenant=limit)
    async with Cache(settings, environment=environment, policies=POLICIES) as cache:
        storm = Storm([cache], chance, CANCELS if limit is None else CANCELS // 10, pause, after_a_moment)
        await storm.blow(lambda: environment.advance(0.3))
        parts = cache._parts
        turns = 0
        while parts.flights.tasks:
            await asyncio.sleep(0)
            turns += 1
            assert turns < MOST_TURNS, f"they do not end by themselves: {parts.flights.tasks}"
        assert len(parts.flights) == 0
        assert parts.remote._leases == {}
        assert parts.remote._coherence._watchers == {}
        assert parts.reader._tiers._looking == {}
        assert parts.reader._runner._limiter._lines == {}
        assert asyncio.all_tasks(loop) == {asyncio.current_task()}
    gc.collect()
    await asyncio.sleep(0)
    assert reports == []
    storm.judge()


@pytest.mark.parametrize(
    ("server", "processes"), [(False, 1), (True, 3)], ids=["memory only", "three processes on a server"]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_cancellations_in_any_order_of_events_leave_nothing_and_fail_nobody_else(server, processes, seed):
    storms = []

    async def scenario(stage):
        chance, loop = stage.sim.chance, asyncio.get_running_loop()

        async def pause():
            await asyncio.sleep(chance.expovariate(1 / 0.01))

        def after_a_moment(call):
            loop.call_later(chance.expovariate(1 / 0.01), call)

        storm = Storm(stage.caches, chance, 1_500, pause, after_a_moment)
        storms.append(storm)
        await storm.blow()
        await asyncio.sleep(2)
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)
        assert all(cache._parts.remote._coherence._watchers == {} for cache in stage.caches)
        assert all(cache._parts.reader._runner._limiter._lines == {} for cache in stage.caches)

    play(scenario, policies=POLICIES, server=server, processes=processes, seeds=(seed,), max_loads_per_tenant=5)
    storms[0].judge()
