"""The life of a cache: opened once, closed for good, on one loop and in one process."""

import asyncio
import os
from dataclasses import dataclass

import pytest

from alacena.engine import (
    MISSING,
    Cache,
    CacheClosedError,
    EncodeError,
    InvalidKeyError,
    MissingTenantError,
    Policy,
    Scope,
    ServerReplyError,
    Settings,
    SettingsError,
    WrongLoopError,
)
from tests.simulator import SimServer
from tests.unit.engine.scene import TENANT, Source, play


async def load(_):
    return "v"


async def load_many(ids):
    return dict.fromkeys(ids, "v")


VERBS = {
    "get": lambda c: c.get("note", "n", TENANT),
    "lookup": lambda c: c.lookup("note", "n", TENANT),
    "load": lambda c: c.load("note", "n", TENANT, load),
    "refresh": lambda c: c.refresh("note", "n", TENANT, load),
    "set": lambda c: c.set("note", "n", 1, TENANT),
    "delete": lambda c: c.delete("note", "n", TENANT),
    "invalidate": lambda c: c.invalidate(TENANT),
    "get_many": lambda c: c.get_many("note", ["n"], TENANT),
    "load_many": lambda c: c.load_many("note", ["n"], TENANT, load_many),
    "set_many": lambda c: c.set_many("note", {"n": 1}, TENANT),
    "ttl": lambda c: c.ttl("note", "n", TENANT),
    "explain": lambda c: c.explain("note", "n", TENANT),
    "write": lambda c: c.write(TENANT, ("note", "n")).__aenter__(),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", ["never opened", "closed"])
async def test_a_cache_that_is_not_open_says_so(verb, state):
    cache = Cache()
    if state == "closed":
        async with cache:
            await cache.set("note", "n", 1, TENANT)
    with pytest.raises(CacheClosedError, match="async with Cache"):
        await VERBS[verb](cache)
    assert cache.peek((TENANT, "note", "n")) is MISSING
    for part in ("locks", "queues", "counters", "url"):
        with pytest.raises(CacheClosedError):
            getattr(cache, part)
    with pytest.raises(CacheClosedError):
        cache.stats()
    with pytest.raises(CacheClosedError):
        cache.guarantee()


@pytest.mark.parametrize("verb", VERBS)
def test_another_loop_is_told_so(verb):
    home = asyncio.new_event_loop()
    cache = home.run_until_complete(Cache().open())

    async def elsewhere():
        with pytest.raises(WrongLoopError, match="another event loop"):
            await VERBS[verb](cache)
        with pytest.raises(WrongLoopError):
            await cache.open()
        with pytest.raises(WrongLoopError):
            await cache.close()

    asyncio.run(elsewhere())
    assert cache.is_open
    home.run_until_complete(cache.close())
    home.close()


@pytest.mark.parametrize(
    "part", ["locks", "queues", "counters", "limits", "budgets", "lists", "sets", "flags", "ledger", "url"]
)
def test_outside_of_any_loop_it_says_where_it_may_be_used(part):
    home = asyncio.new_event_loop()
    cache = home.run_until_complete(Cache().open())
    with pytest.raises(WrongLoopError, match="no event loop runs here"):
        getattr(cache, part)
    home.run_until_complete(cache.close())
    home.close()


def test_a_cache_whose_loop_has_ended_can_be_let_go_and_opened_again():
    async def first():
        await cache.open()
        await cache.set("note", "n", 1, TENANT)

    async def second():
        with pytest.raises(WrongLoopError):
            await cache.get("note", "n", TENANT)
        await cache.close()
        assert not cache.is_open
        async with cache:
            assert await cache.get("note", "n", TENANT) is None

    cache = Cache()
    asyncio.run(first())
    asyncio.run(second())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
async def test_a_forked_child_is_told_so_and_may_open_its_own(redis_url):
    async with Cache(Settings(redis_url=redis_url, redis_budget_s=5.0)) as cache:
        await cache.set("note", "n", "parent's", TENANT)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            outcome = "nothing"
            try:
                asyncio.set_event_loop(None)
                asyncio._set_running_loop(None)
                outcome = asyncio.run(in_the_child(cache, redis_url))
            finally:
                os.write(writer, outcome.encode())
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = await asyncio.to_thread(pipe.read)
        await asyncio.to_thread(os.waitpid, child, 0)
        assert answer == "refused, own: parent's"
        assert await cache.get("note", "n", TENANT, use_memory=False) == "parent's"


async def in_the_child(cache, redis_url):
    try:
        await cache.get("note", "m", TENANT)
    except WrongLoopError:
        refused = "refused"
    await cache.close()
    async with Cache(Settings(redis_url=redis_url, redis_budget_s=5.0)) as own:
        return f"{refused}, own: {await own.get('note', 'n', TENANT)}"


async def test_opening_at_the_same_time_opens_once():
    cache = Cache()
    before = len(asyncio.all_tasks())
    await asyncio.gather(*(cache.open() for _ in range(5)))
    parts = cache._parts
    assert await cache.open() is cache
    assert cache._parts is parts
    await cache.close()
    await cache.close()
    assert len(asyncio.all_tasks()) == before


def test_an_opener_who_leaves_does_not_stop_the_others():
    async def scenario(stage):
        cache = Cache(Settings(redis_url="redis://redis:6379"), environment=stage.processes[0].environment)
        opening = [asyncio.create_task(cache.open()) for _ in range(3)]
        await asyncio.sleep(0)
        opening[0].cancel()
        outcomes = await asyncio.gather(*opening, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, Cache, Cache]
        await cache.set("note", "n", 1, TENANT)
        await cache.close()

    play(scenario, server=True)


def test_closing_while_opening_closes_what_was_opened():
    async def scenario(stage):
        cache = Cache(Settings(redis_url="redis://redis:6379"), environment=stage.processes[0].environment)
        opening = asyncio.create_task(cache.open())
        while cache._opening is None:
            await asyncio.sleep(0)
        await cache.close()
        outcome = (await asyncio.gather(opening, return_exceptions=True))[0]
        assert isinstance(outcome, Cache | CacheClosedError)
        assert not cache.is_open

    play(scenario, server=True, seeds=range(10))


@pytest.mark.parametrize("url", ["redis://:wrong@locked:6379", "redis://redis:6379/99"])
def test_a_server_that_refuses_us_leaves_nothing_running(url):
    async def scenario(stage):
        SimServer(stage.sim, ("locked", 6379), password="right")
        await stage.cache.close()
        before = asyncio.all_tasks()
        cache = Cache(Settings(redis_url=url), environment=stage.processes[0].environment)
        with pytest.raises(ServerReplyError):
            await cache.open()
        assert not cache.is_open
        for _ in range(10):
            await asyncio.sleep(0)
        assert {task.get_name() for task in asyncio.all_tasks() - before} == set()
        with pytest.raises(ServerReplyError):
            await cache.open()

    play(scenario, server=True)


async def test_a_wrong_url_is_a_setting_that_is_wrong():
    with pytest.raises(SettingsError, match="http"):
        await Cache(Settings(redis_url="http://localhost")).open()


TENANTS = [None, "", "  "]
BAD_IDS = ["", " ", None, 1.5, b"x", True]


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "write"])
@pytest.mark.parametrize("tenant", TENANTS, ids=lambda value: type(value).__name__)
async def test_there_is_no_default_tenant(verb, tenant, monkeypatch):
    async with Cache() as cache:
        monkeypatch.setattr(f"{__name__}.TENANT", tenant)
        with pytest.raises(MissingTenantError):
            await VERBS[verb](cache)


@pytest.mark.parametrize("bad", BAD_IDS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("where", ["data_type", "resource_id", "agent_id"])
async def test_a_part_of_a_key_that_is_none_is_named(bad, where):
    parts = {"data_type": "note", "resource_id": "n", "tenant_id": TENANT}
    async with Cache() as cache:
        if where == "agent_id" and bad is None:
            return
        for call in (cache.get, cache.delete, lambda **k: cache.set(value=1, **k)):
            with pytest.raises(InvalidKeyError, match=where):
                await call(**{**parts, where: bad})


STRANGE = ["a:b", "{a}", "a\0b", "🙂", "*", "a b", "x" * 100_000, "~x", "%41", "..", "é"]


@pytest.mark.parametrize("server", [False, True])
def test_strange_ids_are_themselves_and_nobody_elses(server):
    async def scenario(stage):
        for number, strange in enumerate(STRANGE):
            await stage.cache.set("note", strange, number, TENANT)
            await stage.cache.set(strange, "n", number, TENANT)
            await stage.cache.set("note", "n", number, strange[:512])  # the longest that a tenant's id may be
            await stage.cache.set("note", "n", number, TENANT, agent_id=strange)
        for memory in (True, False):
            for number, strange in enumerate(STRANGE):
                get = stage.cache.get
                assert await get("note", strange, TENANT, use_memory=memory) == number
                assert await get(strange, "n", TENANT, use_memory=memory) == number
                assert await get("note", "n", strange[:512], use_memory=memory) == number
                assert await get("note", "n", TENANT, agent_id=strange, use_memory=memory) == number

    play(scenario, server=server, seeds=(1,))


@pytest.mark.parametrize("server", [False, True])
def test_a_lone_string_is_one_tag_and_one_document(server):
    async def scenario(stage):
        cache = stage.cache
        await cache.set("note", "a", 1, TENANT, tags="red", document_ids="d1")
        await cache.set_many("note", {"b": 1}, TENANT, tags="red", document_ids="d1")
        await cache.load("note", "c", TENANT, load, tags="red", document_ids="d1")
        await cache.load_many("note", ["d"], TENANT, load_many, tags="red", document_ids="d1")
        await asyncio.sleep(0.1)
        assert await cache.invalidate(TENANT, tags="r", document_ids="d") > 0
        assert len(await cache.get_many("note", ["a", "b", "c", "d"], TENANT)) == 4
        await cache.invalidate(TENANT, document_ids="d1")
        assert await cache.get_many("note", ["a", "b", "c", "d"], TENANT) == {}
        await cache.set("note", "a", 1, TENANT, tags="red")
        await cache.invalidate(TENANT, tags="red")
        assert await cache.get("note", "a", TENANT) is None
        await cache.set("note", "a", 1, TENANT, document_ids="d1")
        async with cache.write(TENANT, document_ids="d1"):
            pass
        assert await cache.get("note", "a", TENANT) is None

    play(scenario, server=server)


@dataclass(frozen=True)
class Unregistered:
    """Immutable, and unknown to the codec."""

    x: int = 1


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize(
    "value", [Unregistered(), (1, Unregistered()), "x" * 3_000, b"x" * 3_000, range(3)], ids=lambda v: repr(v)[:20]
)
def test_what_cannot_be_stored_is_refused_alike_with_and_without_a_server(server, value):
    async def scenario(stage):
        with pytest.raises(EncodeError):
            await stage.cache.set("note", "n", value, TENANT)
        assert await stage.cache.load("note", "n", TENANT, lambda: value) is value
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "n", TENANT) is None
        assert stage.left_behind() == dict.fromkeys(stage.left_behind(), 0)

    play(scenario, server=server, max_value_bytes=2_000, seeds=(1,))


def test_without_a_server_what_memory_does_not_keep_was_not_stored():
    async def scenario(stage):
        assert await stage.cache.set("note", "n", "x" * 50_000, TENANT) is False
        assert await stage.cache.get("note", "n", TENANT) is None
        assert await stage.cache.load("note", "n", TENANT, lambda: "x" * 50_000)
        assert stage.cache.stats()["refused_fills"] == {"value": 2}

    play(scenario, memory_max_bytes=100_000, seeds=(1,))


def test_a_caller_who_leaves_the_end_of_a_write_leaves_no_hold():
    async def scenario(stage):
        async def write():
            async with stage.cache.write(TENANT, ("note", "n"), document_ids=["d"]):
                await asyncio.sleep(0.1)

        task = asyncio.create_task(write())
        await asyncio.sleep(0.1 + stage.sim.chance.random() * 0.003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.2)
        assert await stage.cache.load("note", "n", TENANT, load) == "v"
        await asyncio.sleep(0.1)
        assert await stage.cache.get("note", "n", TENANT) == "v"

    play(scenario, server=True, seeds=range(20))
    play(scenario, seeds=range(5))


@pytest.mark.parametrize("server", [False, True])
def test_a_write_that_fails_invalidates_all_the_same(server):
    async def scenario(stage):
        await stage.cache.set("note", "n", "old", TENANT)
        with pytest.raises(KeyError):
            async with stage.cache.write(TENANT, ("note", "n")):
                raise KeyError
        assert await stage.cache.get("note", "n", TENANT) is None
        assert await stage.cache.set("note", "n", "new", TENANT)

    play(scenario, server=server)


@pytest.mark.parametrize("server", [False, True])
def test_a_set_is_not_joined_by_a_load_from_before_though_memory_does_not_keep_it(server):
    async def scenario(stage):
        early = asyncio.create_task(stage.cache.load("note", "n", TENANT, Source("old", takes_s=1).load))
        await asyncio.sleep(0.5)
        await stage.cache.set("note", "n", "x" * 50_000, TENANT)
        late = await stage.cache.load("note", "n", TENANT, Source("new").load)
        assert late != "old"
        assert await early == "old"

    play(scenario, server=server, memory_max_bytes=100_000)


async def test_a_scope_is_taken_in_place_of_a_tenant():
    async with Cache() as cache:
        scope = Scope(TENANT, agent_id="a")
        await cache.set("note", "n", 1, scope)
        assert await cache.get("note", "n", TENANT, agent_id="a") == 1
        assert await cache.get("note", "n", TENANT) is None
        assert await cache.load_many("note", ["n"], scope, load_many) == {"n": 1}


async def test_a_policy_can_be_given_for_one_call():
    async with Cache(policies={"note": Policy(ttl=10)}) as cache:
        await cache.lookup("note", "n", TENANT, load, policy=Policy(ttl=1000, jitter_ratio=0))
        assert await cache.ttl("note", "n", TENANT) > 900
        assert cache.policy("note").ttl == 10
        assert cache.policy("other").ttl == 3600


async def test_a_scoped_entry_is_found_each_time_by_who_keeps_nothing_in_memory(redis_url):
    scope = Scope(TENANT, agent_id="a", collection_id="c")
    async with (
        Cache(Settings(redis_url=redis_url, redis_budget_s=5.0)) as writer,
        Cache(Settings(redis_url=redis_url, redis_budget_s=5.0)) as reader,
    ):
        await writer.set_many("note", {"n": "v", "m": "w"}, scope)
        for _ in range(4):
            assert await reader.get("note", "n", scope, use_memory=False) == "v"
            assert await reader.get("note", "n", scope, use_memory=False, search_hierarchy=False) == "v"
            assert await reader.get_many("note", ["n", "m"], scope, use_memory=False) == {"n": "v", "m": "w"}
        assert reader.stats()["misses"] == 0
