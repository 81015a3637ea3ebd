"""Single flight: one load, whatever its callers do to each other and whatever the loader does to them."""

import asyncio
import contextlib
import copy
import gc
import logging

import numpy as np
import pytest

from alacena.engine import (
    CacheClosedError,
    EncodeError,
    LoadCancelledError,
    Policy,
)
from tests.unit.engine.scene import TENANT, Source, play, settle


class Odd(BaseException):
    """What a loader should not raise, and may."""


@pytest.mark.parametrize("server", [False, True])
def test_a_cold_key_is_loaded_once_for_all_callers(server):
    async def scenario(stage):
        source = Source(takes_s=0.5)
        loads = [cache.load("note", "n", TENANT, source.load) for cache in stage.caches for _ in range(100)]
        assert set(await asyncio.gather(*loads)) == {"v1"}
        assert source.asked == 1

    play(scenario, server=server, processes=4 if server else 1)


@pytest.mark.parametrize("server", [False, True])
def test_a_caller_who_is_cancelled_fails_nobody_else(server):
    async def scenario(stage):
        source = Source(takes_s=1.0)
        loads = [asyncio.create_task(stage.cache.load("note", "n", TENANT, source.load)) for _ in range(10)]
        await asyncio.sleep(0.5)
        for load in loads[:9]:
            load.cancel()
        assert await loads[9] == "v1"
        assert (source.asked, source.cancelled) == (1, 0)
        outcomes = await asyncio.gather(*loads[:9], return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {asyncio.CancelledError}

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("after_s", [0.0, 0.0002, 0.0005, 0.001, 0.5])
def test_the_last_caller_who_leaves_cancels_the_load_and_the_lease_goes_with_it(server, after_s):
    async def scenario(stage):
        source = Source(takes_s=1e6)
        loads = [asyncio.create_task(stage.cache.load("note", "n", TENANT, source.load)) for _ in range(3)]
        await asyncio.sleep(after_s)
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.sleep(0.1)
        assert source.under_way == 0
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)
        began = stage.now()
        assert await stage.caches[-1].load("note", "n", TENANT, Source("v2").load) == "v2"
        assert stage.now() - began < 0.1

    play(scenario, server=server, processes=2 if server else 1, seeds=range(10))


def test_a_lease_that_comes_too_late_is_given_back():
    async def scenario(stage):
        source = Source(takes_s=0.5)
        link = stage.sim.network.links_of("p0")[0]
        link.down.stall()
        load = asyncio.create_task(stage.cache.load("note", "n", TENANT, source.load))
        await asyncio.sleep(0.2)
        link.down.release()
        assert await load == "v1"
        await asyncio.sleep(0.1)
        assert stage.left_behind()["leases"] == 0
        assert await stage.cache.get("note", "n", TENANT) is None

    play(scenario, server=True)


def test_a_server_that_does_not_answer_costs_a_read_its_budget_and_not_more():
    async def scenario(stage):
        stage.sim.network.links_of("p0")[0].down.stall()
        for number in range(12):
            began = stage.now()
            assert await stage.cache.load("note", f"n{number}", TENANT, Source().load) == "v1"
            assert stage.now() - began < 0.12
            assert await stage.cache.load_many("note", [f"m{number}"], TENANT, lambda ids: dict.fromkeys(ids, 1))
            assert stage.now() - began < 0.25

    play(scenario, server=True, redis_budget_s=0.05)


def test_an_open_breaker_costs_nothing_and_is_no_failure():
    async def scenario(stage):
        stage.sim.network.links_of("p0")[0].down.stall()
        await asyncio.gather(*(stage.cache.get("note", f"n{i}", TENANT) for i in range(10)))
        failures = stage.cache.stats()["backend_failures"]
        began = stage.now()
        for number in range(20):
            await stage.cache.load("note", f"m{number}", TENANT, Source().load)
            await stage.cache.get_many("note", ["a", "b"], TENANT)
        assert stage.now() == began
        assert stage.cache.stats()["backend_failures"] == failures

    play(scenario, server=True)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize(
    "error",
    [ValueError("v"), KeyError("k"), StopIteration(), StopAsyncIteration(), GeneratorExit(), Odd("o"), TimeoutError()],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("many", [False, True])
def test_whatever_a_loader_raises_reaches_every_caller_and_nobody_hangs(server, error, many):
    async def scenario(stage):
        async def load(_):
            await asyncio.sleep(0.1)
            raise error

        def one():
            if many:
                return stage.cache.load_many("note", ["n"], TENANT, load)
            return stage.cache.load("note", "n", TENANT, load)

        expected = RuntimeError if isinstance(error, StopIteration) else type(error)
        tasks = [asyncio.create_task(one()) for _ in range(5)]
        await asyncio.wait(tasks, timeout=5)
        assert [type(task.exception()) for task in tasks] == [expected] * 5
        await asyncio.sleep(0.1)
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)
        assert await stage.cache.load("note", "n", TENANT, Source().load) == "v1"

    play(scenario, server=server, seeds=(1,))


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("server", [False, True])
def test_a_loader_that_is_cancelled_from_inside_does_not_make_its_callers_look_cancelled(many, server):
    async def scenario(stage):
        async def load(_):
            inner = asyncio.create_task(asyncio.sleep(9))
            await asyncio.sleep(0)
            inner.cancel()
            await inner

        def one():
            if many:
                return stage.cache.load_many("note", ["n"], TENANT, load)
            return stage.cache.load("note", "n", TENANT, load)

        tasks = [asyncio.create_task(one()) for _ in range(3)]
        await asyncio.wait(tasks)
        assert not any(task.cancelled() for task in tasks)
        assert [type(task.exception()) for task in tasks] == [LoadCancelledError] * 3
        await asyncio.sleep(0.1)
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, server=server)


def test_an_order_to_stop_reaches_the_loop_and_leaves_nobody_waiting():
    loop = asyncio.new_event_loop()
    from alacena.engine import Cache

    async def load():
        await asyncio.sleep(0)
        raise SystemExit(3)

    cache = Cache()
    loop.run_until_complete(cache.open())
    caller = loop.create_task(cache.load("note", "n", TENANT, load))
    with pytest.raises(SystemExit):
        loop.run_until_complete(caller)
    with pytest.raises(LoadCancelledError):
        loop.run_until_complete(caller)
    loop.run_until_complete(cache.close())
    loop.close()


@pytest.mark.parametrize("server", [False, True])
def test_a_loader_that_finds_nothing_is_asked_again(server):
    async def scenario(stage):
        source = Source(None)
        for _ in range(3):
            assert await stage.cache.load("note", "n", TENANT, source.load) is None
        assert source.asked == 3

    play(scenario, server=server)


MUTABLE = [{"a": [1]}, [1, [2]], {1, 2}, bytearray(b"x"), ([1], 2), {"deep": ({"er": [1]},)}]


def ruin(value):
    """Change a value wherever it can be changed."""
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        ruin(part)
    match value:
        case dict():
            value["poison"] = True
        case list():
            value.append("poison")
        case set():
            value.add("poison")
        case bytearray():
            value.extend(b"poison")


async def got_by_get(cache, value):
    await cache.set("note", "n", value, TENANT)
    ruin(value)
    return [await cache.get("note", "n", TENANT) for _ in range(2)]


async def got_by_load(cache, value):
    return [await cache.load("note", "n", TENANT, lambda: value) for _ in range(2)]


async def got_by_get_many(cache, value):
    await cache.set_many("note", {"n": value}, TENANT)
    ruin(value)
    return [(await cache.get_many("note", ["n"], TENANT))["n"] for _ in range(2)]


async def got_by_load_many(cache, value):
    return [(await cache.load_many("note", ["n"], TENANT, lambda ids: {"n": value}))["n"] for _ in range(2)]


async def got_by_load_many_together(cache, value):
    async def load(ids):
        await asyncio.sleep(0.1)
        return {"n": value}

    together = await asyncio.gather(*(cache.load_many("note", ["n"], TENANT, load) for _ in range(3)))
    return [found["n"] for found in together]


async def got_by_load_together(cache, value):
    source = Source(value, takes_s=0.1)
    return await asyncio.gather(*(cache.load("note", "n", TENANT, source.load) for _ in range(3)))


async def got_by_a_batch_that_others_joined(cache, value):
    source = Source(value, takes_s=0.1)

    async def load(ids):
        return {"n": await source.load(None)}

    batch = asyncio.create_task(cache.load_many("note", ["n"], TENANT, load))
    await asyncio.sleep(0.05)
    joined = await asyncio.gather(*(cache.load("note", "n", TENANT, source.load) for _ in range(2)))
    assert source.asked == 1
    return [(await batch)["n"], *joined]


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("value", MUTABLE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "get_it",
    [
        got_by_get,
        got_by_load,
        got_by_get_many,
        got_by_load_many,
        got_by_load_many_together,
        got_by_load_together,
        got_by_a_batch_that_others_joined,
    ],
    ids=lambda function: function.__name__,
)
def test_nobody_can_poison_the_cache_by_editing_what_it_returned(server, value, get_it):
    async def scenario(stage):
        original = copy.deepcopy(value)
        got = await get_it(stage.cache, copy.deepcopy(value))
        ruin(got[0])
        assert got[1:] == [original] * (len(got) - 1)
        await asyncio.sleep(0.1)
        for memory in (True, False):
            found = await stage.cache.get("note", "n", TENANT, use_memory=memory)
            assert (type(found), found) == (type(original), original)
            ruin(found)
        assert stage.cache.peek((TENANT, "note", "n")) == original

    play(scenario, server=server, seeds=(1, 2))


def test_those_who_wait_for_another_process_get_values_of_their_own():
    async def scenario(stage):
        source = Source({"a": [1]}, takes_s=0.5)
        first = asyncio.create_task(stage.cache.load("note", "n", TENANT, source.load))
        await asyncio.sleep(0.1)

        async def load_many(ids):
            return {i: await source.load(None) for i in ids}

        here = stage.caches[1]
        rest = [asyncio.create_task(here.load("note", "n", TENANT, source.load)) for _ in range(3)]
        await settle()
        rest.append(asyncio.create_task(here.load_many("note", ["n"], TENANT, load_many)))
        got = [await first, *await asyncio.gather(*rest[:3]), (await rest[3])["n"]]
        assert source.asked == 1
        for value in got:
            assert value == {"a": [1]}
            ruin(value)
        assert await here.get("note", "n", TENANT) == {"a": [1]}

    play(scenario, server=True, processes=2)


@pytest.mark.parametrize("server", [False, True])
def test_an_array_is_handed_out_read_only_and_its_maker_cannot_change_it(server):
    async def scenario(stage):
        mine = np.arange(6, dtype=np.float32).reshape(2, 3)
        expected = mine.copy()
        await stage.cache.set("note", "n", mine, TENANT)
        mine[...] = -1
        loaded = await stage.cache.load("note", "m", TENANT, expected.copy)
        loaded[...] = -1
        await asyncio.sleep(0.1)
        for resource in ("n", "m"):
            for memory in (True, False):
                found = await stage.cache.get("note", resource, TENANT, use_memory=memory)
                assert np.array_equal(found, expected)
                assert not found.flags.writeable
                with pytest.raises(ValueError, match="read-only"):
                    found[0, 0] = 7
                with pytest.raises(ValueError, match="WRITEABLE"):
                    found.setflags(write=True)

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_where_the_policy_shares_all_get_the_same_object(server):
    async def scenario(stage):
        await stage.cache.set("note", "n", {"a": 1}, TENANT)
        first = await stage.cache.get("note", "n", TENANT)
        assert await stage.cache.get("note", "n", TENANT) is first
        assert stage.cache.peek((TENANT, "note", "n")) is first

    play(scenario, server=server, policy=Policy(shared=True))


class Unknown:
    """Nothing that a codec has heard of."""


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_a_value_that_cannot_be_stored_is_served_to_all_and_told_of(server, many, caplog):
    caplog.set_level(logging.WARNING, logger="alacena")

    async def scenario(stage):
        value = {"rows": [Unknown()]}
        source = Source(value, takes_s=0.1)

        async def load_many(ids):
            return {i: await source.load(None) for i in ids}

        def one():
            if many:
                return stage.cache.load_many("note", ["n"], TENANT, load_many)
            return stage.cache.load("note", "n", TENANT, source.load)

        found = await asyncio.gather(one(), one())
        rows = [(f["n"] if many else f)["rows"] for f in found]
        assert [type(row[0]) for row in rows] == [Unknown, Unknown]
        assert rows[0][0] is not rows[1][0]
        assert source.asked == 1
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "n", TENANT) is None
        assert stage.cache.stats()["refused_fills"] == {"value": 1}
        assert [e.reason for e in stage.seen.events if hasattr(e, "reason")][-1] == "value"
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, server=server)
    assert "$.rows[0]" in caplog.text


@pytest.mark.parametrize("server", [False, True])
def test_a_load_is_not_joined_after_what_it_read_was_invalidated_though_redis_was_away(server):
    async def scenario(stage):
        if stage.server is not None:
            stage.sim.network.links_of("p0")[0].reset()
            stage.server.process.pause()
            await asyncio.sleep(0.3)
        early_source = Source("old", takes_s=3.0)
        early = asyncio.create_task(stage.cache.load("note", "n", TENANT, early_source.load))
        await asyncio.sleep(1.5)
        await stage.cache.invalidate(TENANT, "note")
        late = asyncio.create_task(stage.cache.load("note", "n", TENANT, Source("new").load))
        assert await late == "new"
        assert await early == "old"
        if stage.server is not None:
            stage.server.process.resume()

    play(scenario, server=server)


def test_who_is_cut_off_does_not_join_a_load_for_longer_than_the_bound():
    async def scenario(stage):
        stage.sim.network.links_of("p0")[0].reset()
        stage.server.process.pause()
        await asyncio.sleep(0.3)
        early = asyncio.create_task(stage.cache.load("note", "n", TENANT, Source("old", takes_s=5.0).load))
        await asyncio.sleep(0.2)
        soon = asyncio.create_task(stage.cache.load("note", "n", TENANT, Source("not asked").load))
        await asyncio.sleep(2.5)
        late = stage.cache.load("note", "n", TENANT, Source("new").load)
        assert await late == "new"
        assert await soon == await early == "old"
        stage.server.process.resume()

    play(scenario, server=True, staleness_bound_s=1.0)


def test_a_read_that_skips_memory_joins_nothing_that_was_read_before_it_called():
    async def scenario(stage):
        early = asyncio.create_task(stage.cache.load("note", "n", TENANT, Source("old", takes_s=1.0).load))
        await asyncio.sleep(0.5)
        exact = asyncio.create_task(stage.cache.lookup("note", "n", TENANT, Source("new").load, use_memory=False))
        assert await early == "old"
        assert (await exact).source == "cache"

    play(scenario, server=True)


def test_concurrent_reads_of_what_memory_will_not_keep_all_find_it():
    async def scenario(stage):
        await stage.cache.set("note", "n", "x" * 50_000, TENANT)
        found = await asyncio.gather(*(stage.cache.get("note", "n", TENANT) for _ in range(10)))
        assert all(found)

    play(scenario, server=True, memory_max_bytes=100_000)


def test_concurrent_reads_while_memory_is_off_all_find_it():
    async def scenario(stage):
        await stage.cache.set("note", "n", "here", TENANT)
        stage.cache._parts.memory.serving_until = float("-inf")
        assert await asyncio.gather(*(stage.cache.get("note", "n", TENANT) for _ in range(10))) == ["here"] * 10

    play(scenario, server=True)


def test_a_reader_who_leaves_does_not_take_the_answer_with_him():
    async def scenario(stage):
        await stage.caches[0].set("note", "n", "here", TENANT)
        reads = [asyncio.create_task(stage.caches[1].get("note", "n", TENANT)) for _ in range(5)]
        await settle(1)
        reads[stage.sim.chance.randrange(5)].cancel()
        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        assert sum(outcome == "here" for outcome in outcomes) == 4

    play(scenario, server=True, processes=2, seeds=range(10))


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("many", [False, True])
def test_a_failure_that_nobody_waits_for_is_not_reported_as_never_retrieved(server, many):
    unhandled = []

    async def scenario(stage):
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        source = Source(ConnectionError("down"), takes_s=0.5)

        async def load_many(ids):
            return {i: await source.load(None) for i in ids}

        def one():
            if many:
                return stage.cache.load_many("note", ["n", "m"], TENANT, load_many)
            return stage.cache.load("note", "n", TENANT, source.load)

        callers = [asyncio.create_task(one()) for _ in range(3)]
        await asyncio.sleep(0.2)
        callers[0].cancel()
        callers[1].cancel()
        await asyncio.gather(*callers[:2], return_exceptions=True)
        if many:
            callers[2].cancel()
        await asyncio.gather(callers[2], return_exceptions=True)
        await asyncio.sleep(1)
        assert source.asked >= 1
        del callers
        gc.collect()

    play(scenario, server=server)
    gc.collect()
    assert unhandled == []


@pytest.mark.parametrize("server", [False, True])
def test_refresh_joins_no_load_that_began_before_it_and_wins_over_it(server):
    async def scenario(stage):
        slow = Source("old", takes_s=1.0)
        early = asyncio.create_task(stage.cache.load("note", "n", TENANT, slow.load))
        await asyncio.sleep(0.5)
        began = stage.now()
        assert await stage.caches[-1].refresh("note", "n", TENANT, Source("new").load) == "new"
        assert stage.now() - began < 0.1
        assert await early == "old"
        await asyncio.sleep(0.5)
        for cache in stage.caches:
            assert await cache.get("note", "n", TENANT) == "new"

    play(scenario, server=server, processes=2 if server else 1)
    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_refresh_ends_an_entry_that_the_source_does_not_have_any_more(server):
    async def scenario(stage):
        await stage.cache.set("note", "n", "old", TENANT)
        assert await stage.cache.refresh("note", "n", TENANT, lambda: None) is None
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "n", TENANT) is None

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_what_is_refreshed_keeps_its_tags(server):
    async def scenario(stage):
        await stage.cache.refresh("note", "n", TENANT, Source("new").load, tags=["t"], document_ids=["d"])
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "n", TENANT) == "new"
        await stage.cache.invalidate(TENANT, document_ids="d")
        assert await stage.cache.get("note", "n", TENANT) is None

    play(scenario, server=server)


def test_closing_lets_a_load_finish_and_tells_who_waits_for_one_that_does_not():
    async def scenario(stage):
        soon, never = Source(takes_s=1.0), Source(takes_s=1e6)
        good = asyncio.create_task(stage.cache.load("note", "good", TENANT, soon.load))
        bad = asyncio.create_task(stage.cache.load("note", "bad", TENANT, never.load))
        batch = asyncio.create_task(stage.cache.load_many("note", ["x"], TENANT, never.load))
        await asyncio.sleep(0.1)
        await stage.cache.close()
        assert await good == "v1"
        for waiting in (bad, batch):
            with pytest.raises(CacheClosedError, match="closed while it was being loaded"):
                await waiting

    play(scenario)
    play(scenario, server=True)


def test_a_loader_that_ignores_its_cancellation_does_not_keep_the_cache_open(caplog):
    async def scenario(stage):
        over = asyncio.Event()

        async def deaf(_):
            while not over.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await over.wait()
            return "at last"

        load = asyncio.create_task(stage.cache.load("note", "n", TENANT, deaf))
        await asyncio.sleep(0.1)
        began = stage.now()
        await stage.cache.close()
        assert stage.now() - began < 10
        over.set()
        assert await load == "at last"

    play(scenario, seeds=(1,))
    assert "does not end" in caplog.text


def test_work_that_is_started_while_closing_is_finished_too():
    async def scenario(stage):
        source = Source("renewed", takes_s=0.5)

        async def load(_):
            await asyncio.sleep(0.5)
            stage.cache_flights.own(source.load(None))
            return "v"

        stage.cache_flights = stage.cache._parts.flights
        task = asyncio.create_task(stage.cache.load("note", "n", TENANT, load))
        await asyncio.sleep(0.1)
        await stage.cache.close()
        assert await task == "v"
        assert (source.asked, source.cancelled) == (1, 0)

    play(scenario)


def test_set_refuses_a_bad_value_before_anything_is_sent():
    async def scenario(stage):
        with pytest.raises(EncodeError) as caught:
            await stage.cache.set("note", "n", {"rows": [1, Unknown()]}, TENANT)
        assert caught.value.path == "$.rows[1]"
        assert await stage.cache.get("note", "n", TENANT) is None

    play(scenario)
    play(scenario, server=True)
