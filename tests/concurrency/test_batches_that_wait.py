"""Batches of which a part is loaded elsewhere: no part waits for another that waits for it, and none leaves a lease."""

import asyncio
import logging

import pytest

from alacena.engine import Policy
from tests.unit.engine.scene import TENANT, Source, play, settle

LONG_S = 60
"""Virtual seconds: whatever is still waiting then waits for ever."""
SEEDS = range(1, 21)


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


async def fail_in_the_end(work, error):
    async with asyncio.timeout(LONG_S):
        with pytest.raises(error):
            await work


async def hold_elsewhere(stage, resource_id, value, *, takes_s):
    """A load of an entry in the other process, which has the lease by now."""
    source = Source(value, takes_s=takes_s)
    task = asyncio.create_task(stage.caches[1].load("note", resource_id, TENANT, source.load))
    while not source.asked:
        await asyncio.sleep(0.01)
    return task


def test_a_part_that_fails_is_told_to_the_part_that_waits_for_it():
    async def scenario(stage):
        cache = stage.cache
        elsewhere = await hold_elsewhere(stage, "theirs", ConnectionError("elsewhere"), takes_s=2)

        async def load_many(ids):
            if ids == ["theirs"]:
                raise ConnectionError("here")
            await asyncio.sleep(1)
            return [await cache.load("note", "theirs", TENANT, Source().load)]

        await fail_in_the_end(cache.load_many("note", ["mine", "theirs"], TENANT, load_many), ConnectionError)
        await fail_in_the_end(elsewhere, ConnectionError)

    play(scenario, server=True, processes=2)


@pytest.mark.parametrize("brings", [True, False], ids=["the other process brings it", "it has to be loaded here"])
def test_a_part_that_is_called_late_may_ask_for_another_part(brings):
    async def scenario(stage):
        cache = stage.cache
        elsewhere = [
            await hold_elsewhere(stage, "first", ConnectionError("elsewhere"), takes_s=2),
            await hold_elsewhere(stage, "last", "theirs" if brings else ConnectionError("elsewhere"), takes_s=4),
        ]
        calls = []

        async def load_many(ids):
            calls.append(ids)
            if ids == ["first"]:
                return [await cache.load("note", "last", TENANT, Source("nobody's").load)]
            return ["here"] * len(ids)

        async with asyncio.timeout(LONG_S):
            loaded = await cache.load_many("note", ["first", "last"], TENANT, load_many)
        # If the other process fails, the batch and the load inside it both ask for the lease, and either may get it.
        mine = "here" if ["last"] in calls else "nobody's"
        last = "theirs" if brings else mine
        assert loaded == {"first": last, "last": last}
        assert calls in ([["first"]], [["first"], *([] if brings else [["last"]])])
        await asyncio.wait(elsewhere)
        for task in elsewhere:
            task.exception()

    play(scenario, server=True, processes=2)


def test_what_becomes_free_at_the_same_time_is_loaded_with_few_calls():
    async def scenario(stage):
        here, there = stage.caches
        names = [f"n{number}" for number in range(20)]
        calls = []

        async def fail(_):
            await asyncio.sleep(2)
            raise ConnectionError("elsewhere")

        async def load_many(ids):
            calls.append(ids)
            return {i: i for i in ids}

        elsewhere = asyncio.create_task(there.load_many("note", names, TENANT, fail))
        await asyncio.sleep(1)
        async with asyncio.timeout(LONG_S):
            assert await here.load_many("note", names, TENANT, load_many) == {i: i for i in names}
        assert len(calls) < len(names) / 2, calls
        await fail_in_the_end(elsewhere, ConnectionError)

    play(scenario, server=True, processes=2)


async def hold_unlisted(cache, resource_id, load):
    """A load that has the lease of an entry in this process, and that nobody may join: a refresh that took it over."""
    first = asyncio.create_task(cache.load("note", resource_id, TENANT, Source("old", takes_s=100).load))
    await settle(200)
    refresh = asyncio.create_task(cache.refresh("note", resource_id, TENANT, load))
    await settle(200)
    first.cancel()
    await settle(200)
    assert len(cache._parts.flights) == 0
    return refresh


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("is_late", [False, True], ids=["a lease comes", "a value comes"])
def test_a_batch_that_fails_in_the_step_in_which_something_comes_leaves_no_lease(is_late, turns):
    async def scenario(stage):
        cache = stage.cache

        async def fail(_):
            await asyncio.sleep(0.5 if is_late else 1.0)
            raise ConnectionError("the one before")

        async def load_many(ids):
            if ids == ["theirs"]:
                await asyncio.sleep(0.5 if is_late else 10.0)
                return ["late"]
            await asyncio.sleep(1.0)
            await settle(turns)
            raise ConnectionError("mine")

        before = await hold_unlisted(cache, "theirs", fail)
        await fail_in_the_end(cache.load_many("note", ["mine", "theirs"], TENANT, load_many), ConnectionError)
        await fail_in_the_end(before, ConnectionError)
        await settle(200)
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, seeds=SEEDS)


def test_a_claim_that_ends_in_the_step_in_which_its_value_comes_says_so():
    async def scenario(stage):
        async with stage.cache.claim("note", "n1", TENANT) as claim:
            await asyncio.sleep(1)
            assert await claim.store("v1") in {True, False}

    play(scenario, policy=Policy(ttl=60, hard_timeout_s=1), seeds=SEEDS)


def test_a_load_that_another_waits_for_only_later_waits_for_a_lease_no_longer_than_one_from_the_start():
    async def scenario(stage):
        cache = stage.cache

        async def ask_for_outer(_):
            await asyncio.sleep(1)
            return await cache.load("note", "outer", TENANT, Source().load)

        async def ask_for_inner(_):
            return await cache.load("note", "inner", TENANT, Source().load)

        holder = await hold_unlisted(cache, "inner", ask_for_outer)
        waiting = asyncio.create_task(cache.load("note", "inner", TENANT, Source("v1").load))
        await settle(200)
        async with asyncio.timeout(10):
            assert await cache.load("note", "outer", TENANT, ask_for_inner) == "v1"
        await asyncio.wait((holder, waiting))
        assert (holder.result(), waiting.result()) == ("v1", "v1")

    play(scenario, lease_s=5.0, lease_wait_s=30.0)
