"""Stampedes: how often the source is asked, whatever the order of events."""

from __future__ import annotations

import asyncio

import pytest

from alacena.engine import Policy
from tests.unit.engine.scene import TENANT, Source, play


@pytest.mark.parametrize(("server", "processes"), [(False, 1), (True, 4)])
def test_a_cold_key_is_loaded_once_whenever_its_callers_come(server, processes):
    async def scenario(stage):
        source = Source(takes_s=0.5)

        async def call(cache):
            await asyncio.sleep(stage.sim.chance.random())
            return await cache.load("note", "n", TENANT, source.load)

        calls = [call(cache) for cache in stage.caches for _ in range(100)]
        assert set(await asyncio.gather(*calls)) == {"v1"}
        assert source.asked == 1

    play(scenario, server=server, processes=processes, seeds=range(10))


@pytest.mark.parametrize(("server", "processes"), [(False, 1), (True, 3)])
def test_a_key_that_expires_is_loaded_once_an_expiry(server, processes):
    async def scenario(stage):
        source = Source(takes_s=0.2)
        until = 10.0

        async def read(cache):
            while stage.now() < until:
                assert await cache.load("note", "n", TENANT, source.load) == "v1"
                await asyncio.sleep(stage.sim.chance.expovariate(1 / 0.05))

        await asyncio.gather(*(read(cache) for cache in stage.caches for _ in range(10)))
        assert 8 <= source.asked <= 10
        assert source.most_under_way == 1

    play(scenario, policy=Policy(ttl=1.0), server=server, processes=processes, seeds=range(5))


@pytest.mark.parametrize(("server", "processes"), [(False, 1), (True, 3)])
def test_an_invalidation_costs_one_more_load_and_late_callers_get_the_new_value(server, processes):
    async def scenario(stage):
        source = Source(0, takes_s=0.2)
        versions = []

        async def read(cache):
            while stage.now() < 6:
                called_at, version = stage.now(), source.value
                got = await cache.load("note", "n", TENANT, source.load)
                versions.append((called_at, version, got))
                await asyncio.sleep(stage.sim.chance.expovariate(1 / 0.02))

        async def edit():
            for version in range(1, 6):
                await asyncio.sleep(1)
                source.value = version
                await stage.cache.invalidate(TENANT, "note", "n")

        readers = [read(cache) for cache in stage.caches for _ in range(5)]
        await asyncio.gather(*readers, edit())
        assert source.asked <= 6 + 5
        bound_s = 1.0 if server else 0.0
        for called_at, _, got in versions:
            newest_acknowledged = int(called_at - bound_s - 0.05)
            assert got >= min(newest_acknowledged, 5), (called_at, got)

    play(scenario, policy=Policy(ttl=100), server=server, processes=processes, seeds=range(5))


def test_a_dead_source_is_asked_once_at_a_time_and_stale_serves_the_rest():
    async def scenario(stage):
        source = Source("old")
        await stage.cache.load("note", "n", TENANT, source.load)
        await asyncio.sleep(1.1)
        source.value, source.takes_s, source.asked = ConnectionError("down"), 0.3, 0

        async def read(cache):
            for _ in range(20):
                assert await cache.load("note", "n", TENANT, source.load) == "old"
                await asyncio.sleep(stage.sim.chance.expovariate(1 / 0.05))

        began = stage.now()
        await asyncio.gather(*(read(cache) for cache in stage.caches for _ in range(10)))
        assert source.most_under_way == 1
        assert source.asked <= (stage.now() - began) / 0.3 + 2

    play(scenario, policy=Policy(ttl=1.0, stale_if_error_s=3600), server=True, processes=3)


def test_a_flapping_source_costs_what_its_failures_cost_and_no_more():
    async def scenario(stage):
        good, answered, stale = 0, 0, 0

        async def flap(_):
            nonlocal good
            await asyncio.sleep(0.05)
            if int(stage.now()) % 2:
                raise ConnectionError("down")
            good += 1
            return good

        async def read():
            nonlocal answered, stale
            while stage.now() < 20:
                found = await stage.cache.lookup("note", "n", TENANT, flap)
                answered += 1
                stale += found.source == "stale"
                await asyncio.sleep(0.02)

        await stage.cache.load("note", "n", TENANT, flap)
        await asyncio.gather(*(read() for _ in range(10)))
        assert answered > 1000
        assert stale > 100

    play(scenario, policy=Policy(ttl=0.3, stale_if_error_s=60, soft_timeout_s=0.02), seeds=(1,))
