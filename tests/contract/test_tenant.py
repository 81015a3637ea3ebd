"""A tenant's handle: every verb with the tenant said once, and never another tenant's."""

from __future__ import annotations

import inspect

import pytest

from alacena.engine import (
    Cache,
    CacheClosedError,
    InvalidKeyError,
    MissingTenantError,
    Scope,
    Tenant,
    TenantMismatchError,
    UsageError,
)
from alacena.engine.api.block_verbs import BlockVerbs
from alacena.engine.api.coordination_verbs import CoordinationVerbs
from alacena.engine.api.entry_verbs import EntryVerbs
from alacena.engine.api.inspection_verbs import InspectionVerbs
from alacena.engine.api.many_verbs import ManyVerbs
from alacena.ledger.ledger import Ledger
from alacena.ledger.tenant_ledger import TenantLedger

SCOPE_PARTS = {"tenant_id", "agent_id", "conversation_id", "collection_id", "user_id", "permissions"}
OF_THE_WHOLE_CACHE = {"open", "close", "is_open", "tenant", "policy", "guarantee", "stats", "url", "settings"} | {
    "snapshot",
    "find_locks",
    "fleet",
    "ask",
}


async def test_entries_are_read_and_written_without_naming_the_tenant(cache, settled):
    acme, other = cache.tenant("acme"), cache.tenant("other")
    assert await acme.set("note", "n", "mine", ttl=60)
    assert await acme.get("note", "n") == await acme.get("note", "n", use_memory=False) == "mine"
    assert await cache.get("note", "n", "acme") == "mine"
    assert await other.get("note", "n") is None
    assert await other.get("note", "n", default="none") == "none"
    assert 50 < await acme.ttl("note", "n") <= 60
    assert (await acme.lookup("note", "n")).found
    assert await acme.explain("note", "n")
    assert await acme.set_many("note", {"a": 1, "b": 2}) == 2
    assert await acme.get_many("note", ["a", "b", "c"]) == {"a": 1, "b": 2}
    assert await acme.delete("note", "n") is True
    assert await acme.get("note", "n") is None


async def test_what_is_missing_is_loaded(cache, settled):
    acme = cache.tenant("acme")

    async def load(context):
        assert (context.tenant_id, context.resource_id) == ("acme", "n")
        return "loaded"

    async def load_many(ids):
        return {one: one.upper() for one in ids}

    assert await acme.load("note", "n", load, tags=["t"]) == "loaded"
    await settled()
    assert (await acme.lookup("note", "n", load)).hit
    assert await acme.refresh("note", "n", lambda: "again", document_ids=["d"]) == "again"
    assert await acme.load_many("note", ["a", "b"], load_many) == {"a": "A", "b": "B"}
    await settled()
    assert await acme.invalidate(document_ids=["d"]) > 0
    assert await acme.get("note", "n") is None
    assert await acme.get("note", "a") == "A"
    assert await acme.invalidate("note") > 0
    assert await acme.get("note", "a") is None


async def test_an_invalidation_stays_within_the_tenant(cache):
    acme, other = cache.tenant("acme"), cache.tenant("other")
    for tenant in (acme, other):
        await tenant.set("note", "n", 1, tags=["t"])
        await tenant.set("note", "m", 1)
    await acme.invalidate("note", "n")
    await acme.invalidate(tags=["t"])
    assert await acme.invalidate_known(tags=["never"]) == 0
    assert await acme.get("note", "n") is None
    assert await acme.get("note", "m") == 1
    await acme.invalidate()
    assert await acme.get("note", "m") is None
    assert await other.get_many("note", ["n", "m"]) == {"n": 1, "m": 1}


async def test_blocks_name_no_tenant(cache):
    acme = cache.tenant("acme")
    await acme.set("note", "n", "old")
    async with acme.write(("note", "n"), document_ids=["d"]):
        assert await acme.set("note", "n", "inside") is False
    async with acme.reading(document_ids=["d"]) as reading:
        assert await reading.set("note", "n", "read") is True
    assert await acme.get("note", "n") == "read"
    with pytest.raises(
        InvalidKeyError, match=r"'acme' is no pair .*: write write\(\(data_type, resource_id\), \.\.\.\)"
    ):
        acme.write("acme", ("note", "n"))


async def test_a_handle_with_a_scope_answers_with_the_more_general_entry(cache):
    acme, agent = cache.tenant("acme"), cache.tenant("acme", agent_id="support", user_id="u")
    assert agent.scope == Scope("acme", agent_id="support", user_id="u")
    assert cache.tenant(agent.scope).scope == agent.scope
    await acme.set("note", "n", "the tenant's")
    assert await agent.get("note", "n") == "the tenant's"
    assert await agent.get("note", "n", search_hierarchy=False) is None
    await agent.set("note", "n", "the agent's")
    for use_memory in (True, False):
        assert await agent.get("note", "n", use_memory=use_memory) == "the agent's"
        assert await acme.get("note", "n", use_memory=use_memory) == "the tenant's"
        assert await cache.tenant("acme", agent_id="sales").get("note", "n", use_memory=use_memory) == "the tenant's"
    await agent.delete("note", "n")
    assert await agent.get("note", "n") == "the tenant's"
    assert await agent.ttl("note", "n") == -2


async def test_no_handle_without_a_tenant(cache):
    for nobody in (None, "", "  "):
        with pytest.raises(MissingTenantError):
            cache.tenant(nobody)
    with pytest.raises(InvalidKeyError, match="a Scope is whole"):
        cache.tenant(Scope("acme"), agent_id="support")
    with pytest.raises(InvalidKeyError, match="agent_id"):
        cache.tenant("acme", agent_id=" ")


async def test_coordination_belongs_to_the_tenant_whatever_else_the_handle_names(cache):
    acme = cache.tenant("acme", agent_id="support")
    async with acme.locks.acquire("reindex", ttl_s=5) as lock:
        assert await cache.locks.try_acquire("reindex", tenant_id="acme") is None
        assert await cache.tenant("other").locks.try_acquire("reindex", token="t") is not None
        assert await cache.tenant("other").locks.renew("reindex", token="t")
        assert await cache.tenant("other").locks.release("reindex", token="t")
    assert lock.fence > 0
    queue = acme.queues("work")
    await queue.push(1, id="one")
    (item,) = await cache.queues("work", tenant_id="acme").reserve()
    assert item.tenant_id == "acme"
    await item.ack()
    assert await acme.counters.increment("uploads") == await cache.counters.get("uploads", tenant_id="acme") == 1
    assert await acme.counters.reset("uploads")
    assert await acme.limits.sliding_window("asked", limit=1, window_s=60)
    assert not await cache.limits.sliding_window("asked", tenant_id="acme", limit=1, window_s=60)
    assert await acme.limits.token_bucket("asked", rate_per_s=1, burst=1)
    async with await acme.budgets("tokens", limit=10).reserve(6) as reservation:
        await reservation.commit()
    assert (await cache.budgets("tokens", tenant_id="acme", limit=10).state()).spent == 6
    assert await acme.lists.rpush("notes", {"a": 1}, 2) == await acme.lists.llen("notes") == 2
    assert await acme.lists.lrange("notes") == [{"a": 1}, 2]
    assert await cache.lists.lpop("notes", tenant_id="acme") == {"a": 1}
    assert await acme.lists.delete("notes")
    assert await acme.sets.add("seen", 1, 2) == 2
    assert await acme.sets.remove("seen", 2) == 1
    assert await acme.sets.members("seen") == [1]
    assert await cache.sets.contains("seen", 1, tenant_id="acme")
    assert await acme.sets.delete("seen")
    assert await acme.flags.set_nx("first", "me")
    assert await acme.flags.get("first") == await cache.flags.get("first", tenant_id="acme") == "me"
    assert await acme.flags.delete("first")


async def test_the_queues_of_a_tenant_are_never_all_queues(cache):
    acme, other = cache.tenant("acme"), cache.tenant("other")
    await acme.queues("work").push("mine")
    await other.queues("work").push("theirs")
    items = await acme.queues.reserve_any("work", max_items=10)
    assert [item.value for item in items] == ["mine"]
    with pytest.raises(TenantMismatchError):
        acme.queues.any("work", tenant_ids=["acme", "other"])
    with pytest.raises(TenantMismatchError):
        acme.queues.worker(other.queues("work"), print)
    for view in (
        other.queues.any("work"),
        cache.queues.any("work"),
        cache.queues.any("work", tenant_ids=["acme", "other"]),
    ):
        with pytest.raises(TenantMismatchError):
            acme.queues.worker(view, print)
    acme.queues.worker(acme.queues.any("work"), print)


async def test_tokens_are_counted_for_the_tenant_and_the_agent_of_the_handle(cache):
    acme = cache.tenant("acme", agent_id="support")
    assert await acme.ledger.record(10, model="m", idempotency_key="k")
    assert await acme.ledger.record(10, model="m", idempotency_key="k")
    assert await acme.ledger.record(model="m", parts={"input": 3, "output": 4})
    totals = await acme.ledger.totals()
    assert (totals.used, totals.calls) == (17, 2)
    assert await cache.ledger.totals("acme") == totals
    assert (await cache.tenant("other").ledger.totals()).used == 0
    assert await acme.ledger.backlog() == 0


VERBS = [
    lambda of, **who: of.locks.acquire("x", **who),
    lambda of, **who: of.locks.take("x", **who),
    lambda of, **who: of.locks.try_acquire("x", **who),
    lambda of, **who: of.locks.renew("x", token="t", **who),
    lambda of, **who: of.locks.release("x", token="t", **who),
    lambda of, **who: of.locks.withdraw("x", token="t", **who),
    lambda of, **who: of.queues("x", **who),
    lambda of, **who: of.counters.increment("x", **who),
    lambda of, **who: of.counters.get("x", **who),
    lambda of, **who: of.counters.reset("x", **who),
    lambda of, **who: of.limits.sliding_window("x", limit=1, window_s=60, **who),
    lambda of, **who: of.limits.token_bucket("x", rate_per_s=1, burst=1, **who),
    lambda of, **who: of.budgets("x", limit=1, **who),
    lambda of, **who: of.lists.rpush("x", 1, **who),
    lambda of, **who: of.lists.lpop("x", **who),
    lambda of, **who: of.lists.lrange("x", **who),
    lambda of, **who: of.lists.llen("x", **who),
    lambda of, **who: of.lists.delete("x", **who),
    lambda of, **who: of.sets.add("x", 1, **who),
    lambda of, **who: of.sets.remove("x", 1, **who),
    lambda of, **who: of.sets.members("x", **who),
    lambda of, **who: of.sets.contains("x", 1, **who),
    lambda of, **who: of.sets.delete("x", **who),
    lambda of, **who: of.flags.set_nx("x", 1, **who),
    lambda of, **who: of.flags.get("x", **who),
    lambda of, **who: of.flags.delete("x", **who),
]


async def test_a_bound_verb_refuses_another_tenant_and_an_unbound_one_needs_one(cache):
    acme = cache.tenant("acme")
    for verb in VERBS:
        with pytest.raises(TenantMismatchError, match=r"'other'.*'acme'.*cache\.tenant\('other'\)"):
            await _came_of(verb(acme, tenant_id="other"))
        with pytest.raises(MissingTenantError, match="pass tenant_id"):
            await _came_of(verb(cache))
    with pytest.raises(TenantMismatchError):
        acme.locks.of("other")
    assert acme.locks.of("acme").tenant_id == "acme"
    assert cache.locks.tenant_id is None
    assert await acme.counters.increment("x", tenant_id="acme") == 1


async def _came_of(outcome):
    return await outcome if inspect.isawaitable(outcome) else outcome


async def test_a_handle_cannot_end_what_every_tenant_uses(cache):
    acme = cache.tenant("acme")
    async with cache.tenant("other").locks.acquire("x") as lock:
        for shared in (acme.locks, acme.queues):
            with pytest.raises(UsageError, match="close the cache"):
                await shared.close()
        lock.check()
    assert await cache.locks.try_acquire("x", tenant_id="acme", token="t")


async def test_a_handle_outlives_a_closing_and_says_so():
    cache = Cache()
    acme = cache.tenant("acme")
    with pytest.raises(CacheClosedError):
        await acme.get("note", "n")
    async with cache:
        assert await acme.set("note", "n", 1)
        assert await acme.get("note", "n") == 1
    for verb in (lambda: acme.get("note", "n"), lambda: _came_of(acme.locks)):
        with pytest.raises(CacheClosedError):
            await verb()
    async with cache:
        assert await acme.counters.increment("x") == 1


def parameters(function):
    """Names and defaults, in their order, of what a verb takes besides whose it is."""
    given = inspect.signature(function).parameters
    return [(p.name, p.default) for p in given.values() if p.name not in SCOPE_PARTS]


def verbs_of(*kinds):
    return {
        name: thing
        for kind in kinds
        for name, thing in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(thing) or isinstance(thing, property))
    }


def test_a_handle_has_every_verb_of_a_cache_with_its_keywords():
    verbs = verbs_of(InspectionVerbs, BlockVerbs, CoordinationVerbs, ManyVerbs, EntryVerbs, Cache)
    assert {"get", "load", "write", "reading", "ttl", "locks", "ledger"} <= set(verbs)
    for name in set(verbs) - OF_THE_WHOLE_CACHE:
        ours = vars(Tenant)[name]
        if not isinstance(ours, property):
            assert parameters(ours) == parameters(verbs[name]), name


def test_the_ledger_of_a_handle_takes_what_the_ledger_does():
    whole = {"agent_id", "conversation_id", "collection_id"}
    for name in ("record", "totals", "backlog"):
        assert parameters(getattr(TenantLedger, name)) == parameters(getattr(Ledger, name))
    assert whole <= set(inspect.signature(TenantLedger.record).parameters)


def test_no_public_verb_hides_its_keywords():
    for name, verb in verbs_of(Cache, InspectionVerbs, BlockVerbs, ManyVerbs, EntryVerbs, Tenant).items():
        if inspect.isfunction(verb):
            kinds = {p.kind for p in inspect.signature(verb).parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, name
