"""What only the engine's face has: batches with a loader, refresh, source transactions, explanations."""

import asyncio

import pytest

TENANT = "acme"


async def test_load_many_calls_the_loader_once_for_what_is_missing(cache, settled):
    calls = []

    async def load(ids):
        calls.append(ids)
        return {i: [i] for i in ids if i != "lacking"}

    await cache.set("note", "b", "there", TENANT)
    ids = ["a", "b", "a", "lacking", "c"]
    assert await cache.load_many("note", ids, TENANT, load) == {"a": ["a"], "b": "there", "c": ["c"]}
    await settled()
    assert await cache.load_many("note", ["a", "b", "c"], TENANT, load) == {"a": ["a"], "b": "there", "c": ["c"]}
    assert calls == [["a", "lacking", "c"]]


async def test_refresh_asks_whatever_is_there(cache, settled):
    await cache.set("note", "n", "old", TENANT)
    assert await cache.refresh("note", "n", TENANT, lambda: "new", tags=["t"]) == "new"
    await settled()
    assert await cache.get("note", "n", TENANT, use_memory=False) == "new"
    await cache.invalidate(TENANT, tags=["t"])
    assert await cache.get("note", "n", TENANT) is None


async def test_a_transaction_of_the_source_is_bypassed_and_leaves_nothing_old(cache):
    await cache.set("note", "n", "old", TENANT)
    await cache.set("answer", "q", "made from d", TENANT, document_ids=["d"])
    async with cache.write(TENANT, ("note", "n"), document_ids=["d"]):
        assert await cache.get("note", "n", TENANT) is None
        assert await cache.load("note", "n", TENANT, lambda: "read inside") == "read inside"
        assert await cache.get("note", "n", TENANT) is None
        assert await cache.set("note", "n", "set inside", TENANT) is False
    assert await cache.get("note", "n", TENANT) is None
    assert await cache.get("answer", "q", TENANT) is None
    assert await cache.set("note", "n", "new", TENANT) is True


async def test_transactions_beside_one_another_each_hold(cache):
    first, second = cache.write(TENANT, ("note", "n")), cache.write(TENANT, ("note", "n"))
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    assert await cache.set("note", "n", "v", TENANT) is False
    await second.__aexit__(None, None, None)
    assert await cache.set("note", "n", "v", TENANT) is True


async def test_a_loader_names_documents_after_it_has_read_them(cache, settled):
    async def load(context):
        await asyncio.sleep(0)
        context.depends_on(["d1", "d2"])
        return "answer"

    await cache.load("answer", "q", TENANT, load)
    await settled()
    assert await cache.get("answer", "q", TENANT, use_memory=False) == "answer"
    await cache.invalidate(TENANT, document_ids=["d2"])
    assert await cache.get("answer", "q", TENANT) is None


async def test_lookup_says_where_the_answer_came_from(cache, settled):
    first = await cache.lookup("note", "n", TENANT, lambda: "v")
    assert (first.source, first.tier, first.found, first.stored, first.hit) == ("loader", None, True, True, False)
    await settled()
    again = await cache.lookup("note", "n", TENANT, lambda: "v")
    assert (again.source, again.tier, again.hit) == ("cache", "memory", True)
    missed = await cache.lookup("note", "m", TENANT)
    assert (missed.source, missed.found, missed.value) == ("none", False, None)


@pytest.mark.parametrize("state", ["absent", "there"])
async def test_explain_and_stats_and_guarantee_answer(cache, state):
    if state == "there":
        await cache.set("note", "n", "v", TENANT)
    explained = await cache.explain("note", "n", TENANT)
    assert (explained["memory"] is not None) == (state == "there")
    assert explained["loading"] is False
    stats = cache.stats()
    assert {"fills", "misses", "loads", "flights", "memory"} <= set(stats)
    assert cache.guarantee()["no_stale_fill"] is True


async def test_unscoped_and_scoped_verbs_take_a_scope_object(cache):
    from alacena.engine import Scope

    scope = Scope(TENANT, collection_id="c")
    await cache.set_many("note", {"a": 1, "b": 2}, scope)
    assert await cache.get_many("note", ["a", "b"], scope) == {"a": 1, "b": 2}
    assert await cache.get_many("note", ["a", "b"], TENANT) == {}
    assert await cache.invalidate(scope) > 0
    assert await cache.get_many("note", ["a", "b"], scope) == {}
