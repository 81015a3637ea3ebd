"""What is changed at a caller's word: sent together, made up for, never half."""

import asyncio

import pytest

from alacena.engine import BackendUnavailableError, Cache
from alacena.engine.base.events import BackendFailed, Invalidated
from tests.unit.engine.scene import TENANT, Source, play


def spied(cache):
    """What is sent to the remote tier, call by call."""
    tier, sent = cache._parts.remote, []
    original = tier.invalidate

    async def invalidate(generations, keys):
        sent.append((list(generations), [key.entry for key in keys]))
        return await original(generations, keys)

    cache._parts.writer._remote = type("Spy", (), {"invalidate": staticmethod(invalidate), "hold": tier.hold})
    return sent


async def test_what_is_invalidated_in_one_turn_leaves_together_each_name_once():
    async with Cache() as cache:
        for number in range(20):
            await cache.set("chunk", f"c{number}", number, TENANT, document_ids=["d"])
        sent = spied(cache)
        work = [cache.invalidate(TENANT, "chunk", f"c{number % 20}") for number in range(1000)]
        work += [cache.invalidate(TENANT, document_ids=["d"]) for _ in range(1000)]
        counts = await asyncio.gather(*work)
        assert all(count > 0 for count in counts)
        assert len(sent) == 1
        generations, entries = sent[0]
        assert len(generations) == len(set(generations)) == 21
        assert len(entries) == len(set(entries)) == 20
        assert await cache.get_many("chunk", [f"c{n}" for n in range(20)], TENANT) == {}
        await cache.invalidate(TENANT)
        assert len(sent) == 2


@pytest.mark.parametrize("reading", [False, True])
async def test_the_entries_of_a_batch_do_not_use_up_each_others_deadlines(reading):
    """5,000 at once are encoded and written for longer than one may take: the last ones were refused as late."""
    async with Cache() as cache:
        tier, under_way, most = cache._parts.remote, 0, 0

        async def store_many(keys, *rest):
            nonlocal under_way, most
            under_way += len(keys)
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= len(keys)
            return await type(tier).store_many(tier, keys, *rest)

        tier.store_many = store_many
        values = {f"c{number}": number for number in range(5000)}
        if reading:
            async with cache.reading(TENANT, data_types=["chunk"]) as read:
                assert await read.set_many("chunk", values) == 5000
        else:
            assert await cache.set_many("chunk", values, TENANT) == 5000
        assert 100 < most <= 400
        assert await cache.get("chunk", "c4999", TENANT) == 4999


def test_a_caller_who_leaves_does_not_stop_a_removal_that_others_wait_for():
    async def scenario(stage):
        await stage.cache.set("note", "n", 1, TENANT)
        removals = [asyncio.create_task(stage.cache.invalidate(TENANT, "note", "n")) for _ in range(3)]
        await asyncio.sleep(0)
        removals[0].cancel()
        outcomes = await asyncio.gather(*removals, return_exceptions=True)
        assert all(isinstance(o, asyncio.CancelledError) or o > 0 for o in outcomes)
        assert outcomes[1] > 0
        assert await stage.caches[1].get("note", "n", TENANT) is None

    play(scenario, server=True, processes=2, seeds=range(8))


def test_a_removal_that_was_begun_is_made_though_its_only_caller_left():
    async def scenario(stage):
        await stage.cache.set("note", "n", 1, TENANT)
        removal = asyncio.create_task(stage.cache.invalidate(TENANT, "note", "n"))
        while not stage.cache._parts.flights.tasks:
            await asyncio.sleep(0)
        removal.cancel()
        await asyncio.gather(removal, return_exceptions=True)
        await asyncio.sleep(0.1)
        assert await stage.caches[1].get("note", "n", TENANT) is None

    play(scenario, server=True, processes=2, seeds=range(8))


def test_what_redis_did_not_confirm_is_zero_for_all_gone_here_and_made_up_for():
    async def scenario(stage):
        here, there = stage.caches
        await here.set("note", "n", "old", TENANT)
        assert await there.get("note", "n", TENANT) == "old"
        stage.sim.network.links_of("p0")[0].reset()
        await asyncio.sleep(0.001)
        counts = await asyncio.gather(*(here.invalidate(TENANT, "note", "n") for _ in range(5)))
        if 0 in counts:
            assert counts == [0] * 5
            assert len(stage.seen.of(BackendFailed)) >= 5
            assert stage.seen.of(Invalidated) == []
        assert here.peek((TENANT, "note", "n")) != "old"
        await asyncio.sleep(3)
        assert await there.get("note", "n", TENANT) is None
        assert await here.get("note", "n", TENANT) is None
        assert here.guarantee()["removals_owed"] == 0

    play(scenario, server=True, processes=2, seeds=range(5))


def test_what_is_ended_again_and_again_during_an_outage_is_owed_once():
    async def scenario(stage):
        here, there = stage.caches
        await here.set("note", "n", "old", TENANT, tags=["t"])
        assert await there.get("note", "n", TENANT) == "old"
        stage.sim.network.fail(("redis", 6379))
        for link in stage.sim.network.links_of("p0"):
            link.reset()
        for _ in range(20):
            assert await here.invalidate(TENANT, "note", "n", tags=["t"]) == 0
            await asyncio.sleep(1)
        assert here.guarantee()["removals_owed"] <= 4
        stage.sim.network.restore(("redis", 6379))
        await asyncio.sleep(5)
        assert here.guarantee()["removals_owed"] == 0
        assert await there.get("note", "n", TENANT) is None

    play(scenario, server=True, processes=2, seeds=range(3))


def test_a_debt_too_large_for_one_answer_is_paid_in_parts():
    async def scenario(stage):
        here, there = stage.caches
        await there.set("note", "n1999", "old", TENANT, tags=["t1999"])
        stage.sim.network.fail(("redis", 6379))
        for link in stage.sim.network.links_of("p0"):
            link.reset()
        await asyncio.sleep(1)
        for number in range(2_000):
            await here.invalidate(TENANT, tags=[f"t{number}"])
        assert here.guarantee()["removals_owed"] == 2_001  # the tags, and what ends with any of them
        stage.sim.network.restore(("redis", 6379))
        await asyncio.sleep(5)
        assert here.guarantee()["removals_owed"] == 0
        assert await there.get("note", "n1999", TENANT) is None

    play(scenario, server=True, processes=2, seeds=(1,))


def test_everybody_is_told_of_his_own_invalidation():
    async def scenario(stage):
        await asyncio.gather(
            stage.cache.invalidate(TENANT, "note"),
            stage.cache.invalidate("rival", tags=["red"]),
            stage.cache.invalidate(TENANT, "note", "n"),
        )
        told = [(e.tenant_id, e.data_type) for e in stage.seen.of(Invalidated)]
        assert sorted(told, key=str) == sorted([(TENANT, "note"), ("rival", None), (TENANT, "note")], key=str)

    play(scenario, seeds=(1,))


def test_an_error_that_is_no_backends_passes_to_all_who_wait():
    async def scenario(stage):
        async def broken(generations, keys):
            raise ZeroDivisionError

        stage.cache._parts.writer._remote = type("Broken", (), {"invalidate": staticmethod(broken)})
        outcomes = await asyncio.gather(
            *(stage.cache.invalidate(TENANT, "note") for _ in range(3)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3

    play(scenario, seeds=(1,))


def test_a_set_that_redis_did_not_take_is_false_and_a_fill_too():
    async def scenario(stage):
        async def away(entries, *_):
            return [BackendUnavailableError("away")] * len(entries)

        async def away_alone(*_):
            raise BackendUnavailableError("away")

        tier = stage.cache._parts.remote
        tier.store, tier.store_many, tier.fill_many = away_alone, away, away
        assert await stage.cache.set("note", "n", 1, TENANT) is False
        assert await stage.cache.set_many("note", {"a": 1, "b": 2}, TENANT) == 0
        assert await stage.cache.load("note", "n", TENANT, Source().load) == "v1"
        await asyncio.sleep(0.1)
        assert stage.cache.stats()["refused_fills"] == {"backend": 1}
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, server=True, seeds=(1,))
