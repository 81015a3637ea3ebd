"""Many at once: one call of the loader, every id once, here and across processes."""

import asyncio
import gc

import numpy as np
import pytest

from alacena.engine import Cache, InvalidKeyError, Keyring, LoadTimeoutError, Policy, Scope, Settings
from alacena.engine.base.events import LookupFinished
from alacena.engine.reading.batch_alignment import align
from tests.unit.engine.scene import TENANT, Source, play, settle
from tests.waiting import until


class Shop:
    """A source of many values at once, which remembers what it was asked for."""

    def __init__(self, *, takes_s=0.0, lacks=(), error=None):
        self.calls = []
        self.takes_s = takes_s
        self.lacks = set(lacks)
        self.error = error

    @property
    def asked(self):
        return sorted(i for call in self.calls for i in call)

    async def load(self, ids):
        self.calls.append(list(ids))
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return {i: f"value of {i}" for i in ids if i not in self.lacks}


def values(*ids):
    return {i: f"value of {i}" for i in ids}


@pytest.mark.parametrize("server", [False, True])
def test_one_call_brings_all_that_is_missing_and_each_id_once(server):
    async def scenario(stage):
        shop = Shop()
        await stage.cache.set("note", "b", "set before", TENANT)
        found = await stage.cache.load_many("note", ["a", "b", "a", "c", "c"], TENANT, shop.load)
        assert found == {**values("a", "c"), "b": "set before"}
        assert shop.calls == [["a", "c"]]
        await asyncio.sleep(0.1)
        assert await stage.cache.get_many("note", ["c", "a", "x"], TENANT) == values("a", "c")
        assert await stage.cache.load_many("note", [], TENANT, shop.load) == {}
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_batches_at_the_same_moment_in_one_process_share_what_overlaps(server):
    async def scenario(stage):
        shop = Shop(takes_s=0.5)
        wanted = [["a", "b", "c"], ["b", "c", "d"], ["a", "d", "e"]]
        found = await asyncio.gather(*(stage.cache.load_many("note", ids, TENANT, shop.load) for ids in wanted))
        assert found == [values(*ids) for ids in wanted]
        assert shop.asked == ["a", "b", "c", "d", "e"]

    play(scenario, server=server, seeds=range(8))


def test_overlapping_batches_of_several_processes_load_each_id_once():
    async def scenario(stage):
        shop = Shop(takes_s=0.5)
        ids = [f"n{i}" for i in range(40)]
        wanted = [ids[0:20], ids[10:30], ids[20:40], ids[5:35]]

        async def work(cache, mine):
            await asyncio.sleep(stage.sim.chance.random() * 0.4)
            return await cache.load_many("note", mine, TENANT, shop.load)

        found = await asyncio.gather(*(work(c, mine) for c, mine in zip(stage.caches, wanted, strict=True)))
        assert found == [values(*mine) for mine in wanted]
        assert shop.asked == sorted(ids)
        await asyncio.sleep(0.2)
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, server=True, processes=4, seeds=range(10))


def test_batches_and_single_loads_share_across_processes():
    async def scenario(stage):
        shop, single = Shop(takes_s=0.3), Source("value of b", takes_s=0.3)
        here, there = stage.caches
        batch = asyncio.create_task(here.load_many("note", ["a", "b"], TENANT, shop.load))
        await asyncio.sleep(0.1)
        loads = [c.load("note", i, TENANT, single.load) for c in (here, there) for i in ("a", "b")]
        assert await asyncio.gather(*loads) == ["value of a", "value of b"] * 2
        assert await batch == values("a", "b")
        assert (len(shop.asked), single.asked) == (2, 0)
        other = asyncio.create_task(there.load("note", "c", TENANT, single.load))
        await asyncio.sleep(0.1)
        assert await here.load_many("note", ["c", "d"], TENANT, shop.load) == {"c": "value of b", "d": "value of d"}
        assert await other == "value of b"
        assert shop.asked == ["a", "b", "d"]

    play(scenario, server=True, processes=2, seeds=range(5))


def test_what_a_dying_process_was_loading_is_loaded_by_who_waits_and_by_nobody_twice():
    async def scenario(stage):
        dying, *living = stage.caches
        doomed, shop = Shop(takes_s=1e6), Shop(takes_s=0.5)
        lost = asyncio.create_task(dying.load_many("note", ["x", "y"], TENANT, doomed.load))
        slow = Shop(takes_s=9.0)
        long = asyncio.create_task(living[0].load_many("note", ["slow"], TENANT, slow.load))
        await asyncio.sleep(0.1)
        stage.processes[0].pause()
        dying._parts.remote.renew = lambda _: None
        batches = [asyncio.create_task(c.load_many("note", ["x", "slow", "y"], TENANT, shop.load)) for c in living[1:]]
        found = await asyncio.gather(*batches)
        assert found == [values("x", "slow", "y")] * 2
        assert shop.asked == ["x", "y"]
        assert slow.asked == ["slow"]
        await long
        stage.processes[0].resume()
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)

    play(scenario, server=True, processes=4, lease_s=2.0)


@pytest.mark.parametrize("server", [False, True])
def test_what_the_source_lacks_is_left_out_and_the_rest_is_kept(server):
    async def scenario(stage):
        shop = Shop(lacks=["b"])
        assert await stage.cache.load_many("note", ["a", "b"], TENANT, shop.load) == values("a")
        await asyncio.sleep(0.1)
        assert await stage.cache.load_many("note", ["a", "b"], TENANT, shop.load) == values("a")
        assert shop.calls == [["a", "b"], ["b"]]

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_that_the_source_lacks_something_is_remembered_where_the_policy_says_so(server):
    async def scenario(stage):
        shop = Shop(lacks=["b"])
        for _ in range(2):
            assert await stage.cache.load_many("note", ["a", "b"], TENANT, shop.load) == values("a")
            await asyncio.sleep(0.1)
        assert shop.calls == [["a", "b"]]
        await asyncio.sleep(11)
        await stage.cache.load_many("note", ["a", "b"], TENANT, shop.load)
        assert shop.calls == [["a", "b"], ["b"]]

    play(scenario, server=server, policy=Policy(negative_ttl_s=10))


@pytest.mark.parametrize("server", [False, True])
def test_a_caller_who_is_cancelled_leaves_a_load_that_is_finished_and_stored(server):
    async def scenario(stage):
        shop = Shop(takes_s=0.5)
        batch = asyncio.create_task(stage.cache.load_many("note", ["a", "b"], TENANT, shop.load))
        await asyncio.sleep(0.2)
        joined = asyncio.create_task(stage.cache.load("note", "a", TENANT, Source().load))
        await asyncio.sleep(0)
        batch.cancel()
        assert await joined == "value of a"
        with pytest.raises(asyncio.CancelledError):
            await batch
        await asyncio.sleep(0.1)
        assert await stage.cache.get_many("note", ["a", "b"], TENANT) == values("a", "b")

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_a_failing_loader_fails_those_who_asked_it_and_what_others_brought_is_kept(server):
    async def scenario(stage):
        slow, failing = Shop(takes_s=0.5), Shop(takes_s=0.1, error=ConnectionError("down"))
        first = asyncio.create_task(stage.cache.load_many("note", ["a"], TENANT, slow.load))
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectionError):
            await stage.caches[-1].load_many("note", ["a", "b"], TENANT, failing.load)
        assert await first == values("a")
        await asyncio.sleep(0.1)
        shop = Shop()
        assert await stage.cache.load_many("note", ["a", "b"], TENANT, shop.load) == values("a", "b")
        assert shop.asked == ["b"]

    play(scenario, server=server, processes=2 if server else 1)


def test_what_was_paid_for_before_a_failure_is_kept():
    async def scenario(stage):
        here, there = stage.caches
        theirs = asyncio.create_task(there.load_many("note", ["b"], TENANT, Shop(takes_s=1, error=OSError()).load))
        await asyncio.sleep(0.1)
        calls = []

        async def load(ids):
            calls.append(ids)
            if len(calls) > 1:
                raise ConnectionError("no money left")
            return values(*ids)

        with pytest.raises(ConnectionError):
            await here.load_many("note", ["a", "b"], TENANT, load)
        assert calls == [["a"], ["b"]]
        await asyncio.gather(theirs, return_exceptions=True)
        assert await there.get("note", "a", TENANT) == "value of a"

    play(scenario, server=True, processes=2)


def test_a_failure_after_its_caller_left_is_not_reported_as_never_retrieved():
    reports = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        async with Cache() as cache:
            gate = asyncio.Event()

            async def load(ids):
                await gate.wait()
                raise ConnectionError("down")

            batch = asyncio.create_task(cache.load_many("note", ["a"], TENANT, load))
            joined = asyncio.create_task(cache.load_many("note", ["a", "b"], TENANT, load))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            batch.cancel()
            joined.cancel()
            await asyncio.gather(batch, joined, return_exceptions=True)
            gate.set()
            while cache._parts.flights.tasks:
                await asyncio.sleep(0)
        del batch, joined
        gc.collect()

    asyncio.run(main())
    assert reports == []


def test_a_bad_value_does_not_take_the_others_with_it(caplog):
    async def scenario(stage):
        bad = object()

        async def load(ids):
            return {"a": 1, "b": bad, "c": [1]}

        assert await stage.cache.load_many("note", ["a", "b", "c"], TENANT, load) == {"a": 1, "b": bad, "c": [1]}
        await asyncio.sleep(0.1)
        assert await stage.cache.get_many("note", ["a", "b", "c"], TENANT) == {"a": 1, "c": [1]}

    play(scenario)
    play(scenario, server=True)
    assert "note/b is served but cannot be cached" in caplog.text


@pytest.mark.parametrize(
    "answer", [None, "ab", b"ab", 7, [1], [1, 2, 3], iter([1])], ids=lambda value: type(value).__name__
)
def test_an_answer_whose_values_cannot_be_told_apart_is_refused(answer):
    with pytest.raises(ValueError, match="return a mapping by id, or one value for each id"):
        align(["a", "b"], answer)


def test_answers_are_brought_into_the_order_of_the_ids():
    assert align(["a", "b"], {"b": 2, "a": 1, "c": 3}) == [1, 2]
    assert align(["a", "b"], {"b": 2}) == [None, 2]
    assert align(["a", "b"], (1, None)) == [1, None]
    assert [row.tolist() for row in align(["a", "b"], np.array([[1, 2], [3, 4]]))] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("call", ["get_many", "load_many"])
async def test_one_string_is_not_taken_for_a_list_of_ids(call):
    async with Cache() as cache:
        arguments = [Shop().load] if call == "load_many" else []
        with pytest.raises(InvalidKeyError, match="a list of ids, not the one id 'abc'"):
            await getattr(cache, call)("note", "abc", TENANT, *arguments)


async def test_nothing_is_stored_where_one_of_many_cannot_be():
    async with Cache() as cache:
        for bad in (None, object()):
            with pytest.raises((ValueError, TypeError)):
                await cache.set_many("note", {"a": 1, "b": bad}, TENANT)
            assert await cache.get("note", "a", TENANT) is None


def test_a_batch_takes_one_place_and_the_hard_timeout_ends_it():
    async def scenario(stage):
        shop = Shop(takes_s=1.0)
        await stage.cache.load_many("note", ["a", "b", "c"], TENANT, shop.load)
        with pytest.raises(LoadTimeoutError):
            await stage.cache.load_many("note", ["x", "y"], TENANT, Shop(takes_s=1e6).load)
        assert await stage.cache.load_many("note", ["x", "y"], TENANT, Shop().load) == values("x", "y")

    play(scenario, policy=Policy(hard_timeout_s=2), max_loads_per_tenant=1)
    play(scenario, policy=Policy(hard_timeout_s=2), server=True)


@pytest.mark.parametrize("server", [False, True])
def test_what_is_invalidated_during_a_batch_is_served_and_not_stored(server):
    async def scenario(stage):
        shop = Shop(takes_s=0.5)
        batch = asyncio.create_task(stage.cache.load_many("note", ["a", "b"], TENANT, shop.load, document_ids=["d"]))
        await asyncio.sleep(0.2)
        await stage.caches[-1].delete("note", "a", TENANT)
        assert await batch == values("a", "b")
        await asyncio.sleep(0.1)
        assert await stage.cache.get_many("note", ["a", "b"], TENANT) == values("b")
        await stage.cache.invalidate(TENANT, document_ids=["d"])
        assert await stage.cache.get_many("note", ["a", "b"], TENANT) == {}

    play(scenario, server=server, processes=2 if server else 1)


def test_a_batch_is_told_of_entry_by_entry():
    async def scenario(stage):
        await stage.cache.load_many("note", ["a", "b"], TENANT, Shop(lacks=["b"]).load)
        await settle()
        await stage.cache.get_many("note", ["a", "b"], TENANT)
        told = [(e.resource_id, e.source, e.tier) for e in stage.seen.of(LookupFinished)]
        assert told == [("a", "loader", None), ("b", "none", None), ("a", "cache", "memory"), ("b", "none", None)]
        stats = stage.cache.stats()
        assert (stats["misses"], stats["loads"], stats["fills"]) == (3, 1, 1)

    play(scenario, seeds=(1,))


async def test_arrays_come_out_of_the_received_bytes_without_a_copy(redis_url):
    batch = np.random.default_rng(1).random((50, 1536), dtype=np.float32)
    ids = [f"e{i}" for i in range(50)]

    async def load(asked):
        return batch

    settings = Settings(redis_url=redis_url, redis_budget_s=5.0)
    async with Cache(settings) as writer, Cache(settings) as reader:
        await writer.load_many("embedding", ids, TENANT, load)
        await until(lambda: not writer._parts.flights.tasks)
        for found in (
            await reader.get_many("embedding", ids, TENANT),
            await reader.get_many("embedding", ids, TENANT),
            await writer.load_many("embedding", ids, TENANT, load),
        ):
            for index, array in enumerate(found[i] for i in ids):
                assert array.dtype == np.float32
                assert np.array_equal(array, batch[index])
                assert not array.flags.writeable
                assert not array.flags.owndata, "the array is a view on the bytes of the entry"
        first, again = [await reader.get_many("embedding", ids[:1], TENANT) for _ in range(2)]
        assert np.shares_memory(first["e0"], again["e0"]), "memory hands out the same buffer"


@pytest.mark.parametrize("server", [False, True])
def test_rows_of_one_array_are_kept_apart_from_it(server):
    async def scenario(stage):
        flat = np.arange(3000, dtype=np.float32)
        flat.setflags(write=False)
        table = flat.reshape(3, 1000)

        async def load(ids):
            return table

        await stage.cache.load_many("note", ["a", "b", "c"], TENANT, load)
        await asyncio.sleep(0.1)
        slots = stage.cache._parts.memory.entries
        assert len(slots) == 3
        assert all(slot.size < 4_400 for slot in slots.values()), [slot.size for slot in slots.values()]

    play(scenario, server=server)


SORTS = {
    "plain": {},
    "tagged": {"tags": ["t"]},
    "of a scope": {"scope": {"agent_id": "a", "collection_id": "c"}},
    "encrypted": {"keyring": Keyring({1: bytes(32)}, 1)},
    "with a key": {"settings": {"integrity_key": "0" * 32}},
}


@pytest.mark.parametrize("sort", SORTS)
async def test_many_are_read_as_each_would_be_whatever_the_sort_of_entry(redis_url, sort):
    how = {"tags": (), "scope": {}, "keyring": None, "settings": {}, **SORTS[sort]}
    scope = Scope(TENANT, **how["scope"])
    values = {f"n{i}": v for i, v in enumerate(["text", 1, [1, 2], {"a": [1]}, "long " * 2_000, (1, 2), b"bytes"])}
    values["array"] = np.arange(1536, dtype=np.float32)

    def opened():
        return Cache(Settings(redis_url=redis_url, redis_budget_s=5.0, **how["settings"]), keyring=how["keyring"])

    async with opened() as writer, opened() as reader:
        await writer.set_many("note", values, scope, tags=how["tags"])
        for use_memory in (False, True, True):
            found = await reader.get_many("note", [*values, "absent"], scope, use_memory=use_memory)
            assert list(found) == list(values)
            for name, value in values.items():
                one = await reader.get("note", name, scope, use_memory=use_memory)
                np.testing.assert_equal(found[name], value)
                np.testing.assert_equal(one, value)
        found["n2"].append(3)
        assert (await reader.get_many("note", ["n2"], scope))["n2"] == [1, 2], "what a reader is given is the reader's"
        stats = reader.stats()
        assert (stats["redis_hits"], stats["misses"]) == (3 * len(values), 3)
        await writer.invalidate(scope, "note")
        assert await reader.get_many("note", values, scope, use_memory=False) == {}


async def test_ids_that_name_one_entry_are_read_and_loaded_once(redis_url):
    shop = Shop()
    async with Cache(Settings(redis_url=redis_url, redis_budget_s=5.0)) as cache:
        for ids in ([1, "1", "2"], [1, "1", "3"]):
            assert list(await cache.load_many("note", ids, TENANT, shop.load)) == ids
            found = await cache.get_many("note", ids, TENANT)
            assert list(found) == ids
            assert found[1] == found["1"] == "value of 1"
        assert shop.asked == ["1", "2", "3"]


@pytest.mark.parametrize("server", [False, True])
def test_an_expired_entry_stands_in_for_a_value_that_cannot_be_handed_out(server):
    """One value of a batch that can be read only once is a failure of its own entry, as it is in a load of one entry."""

    async def scenario(stage):
        await stage.cache.set_many("note", {"a": "old", "b": "old"}, TENANT)
        await asyncio.sleep(2.0)

        async def load(ids):
            return {i: (part for part in "new") if i == "a" else "new" for i in ids}

        assert await stage.cache.load_many("note", ["a", "b"], TENANT, load) == {"a": "old", "b": "new"}
        assert stage.cache.stats()["load_failures"] == 1
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "b", TENANT) == "new"
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, policy=Policy(ttl=1.0, stale_if_error_s=60.0), server=server)
