"""Uses of the public API whose types are asserted. Type checkers read it; nothing runs it."""

from collections.abc import Awaitable, Callable
from typing import Any, assert_type

import alacena
from alacena import (
    TTL_SHORT,
    UNCHANGED,
    Cache,
    CacheManager,
    Context,
    Event,
    LoadContext,
    LookupFinished,
    MissingTenantError,
    Policy,
    Scope,
    Settings,
    Tenant,
    cached,
    check_fence,
    get_with_cache_aside,
    override,
    register,
    track_token_usage,
)
from alacena.constants import TTL_PERMANENT
from alacena.coordination import Budget, Decision, Item, Lock, LockBlock, Locks, Queue, Worker
from alacena.engine import Lookup, Reading
from alacena.ledger.tenant_ledger import TenantLedger
from alacena.ledger.totals import Totals


@register
class Report:
    """A class of the application."""


class Counting:
    """An observer, by its shape alone."""

    seen = 0

    def observe(self, event: Event) -> None:
        """Counts reads."""
        if isinstance(event, LookupFinished):
            assert_type(event.latency_s, float)
            self.seen += 1


async def load_document(context: LoadContext) -> dict[str, str] | object:
    """A loader."""
    assert_type(context.resource_id, str)
    context.depends_on(["d1"])
    return UNCHANGED if context.previous else {"id": context.resource_id}


async def load_words(ids: list[str]) -> dict[str, str]:
    """A loader of many."""
    return {one: one.upper() for one in ids}


async def entries(acme: Tenant) -> None:
    """The verbs of a handle."""
    assert_type(acme.tenant_id, str)
    assert_type(acme.scope, Scope)
    assert_type(await acme.get("document", "d1"), Any)
    assert_type(await acme.get_many("document", ["d1"]), dict[str, Any])
    assert_type(await acme.lookup("document", "d1"), Lookup[Any])
    assert_type((await acme.lookup("document", "d1", load_document, ttl=None)).stored, bool)
    assert_type(await acme.load("document", "d1", load_document, policy=Policy(ttl=60), tags=["t"]), Any)
    assert_type(await acme.load("document", "d1", lambda: 1, use_memory=False), Any)
    assert_type(await acme.load_many("word", ["a"], load_words), dict[str, Any])
    assert_type(await acme.refresh("document", "d1", load_document), Any)
    assert_type(await acme.set("document", "d1", {}, ttl=TTL_SHORT, document_ids=["d1"]), bool)
    assert_type(await acme.set_many("word", {"a": "A"}, ttl=TTL_PERMANENT), int)
    assert_type(await acme.delete("document", "d1"), bool)
    assert_type(await acme.invalidate("document", "d1"), int)
    assert_type(await acme.invalidate(tags=["t"]), int)
    assert_type(await acme.invalidate_known(document_ids=["d1"]), int)
    assert_type(await acme.ttl("document", "d1"), float)
    assert_type(await acme.explain("document", "d1"), dict[str, Any])
    async with acme.write(("document", "d1"), document_ids=["d1"], hold_s=5):
        pass
    async with acme.reading(document_ids=["d1"]) as reading:
        assert_type(reading, Reading)
        assert_type(await reading.set("chunk", "c1", "text"), bool)


async def coordination(cache: Cache, acme: Tenant, connection: Any) -> None:
    """What belongs to a tenant besides its entries."""
    assert_type(acme.locks, Locks)
    assert_type(cache.locks.of("acme"), Locks)
    assert_type(acme.locks.acquire("reindex", ttl_s=30), LockBlock)
    assert_type(cache.locks.acquire("reindex", tenant_id="acme"), LockBlock)
    async with acme.locks.acquire("reindex") as lock:
        assert_type(lock, Lock)
        assert_type(lock.fence, int)
        await check_fence(connection, "acme", "reindex", lock.fence)
    queue = acme.queues("ingestion", max_attempts=3)
    assert_type(queue, Queue)
    assert_type(await queue.reserve(wait_s=1), list[Item])
    assert_type(acme.queues.worker(queue, handle, concurrency=2), Worker)
    assert_type(await acme.counters.increment("uploads"), int)
    assert_type(await acme.limits.sliding_window("questions", limit=2, window_s=60), Decision)
    assert_type(acme.budgets("tokens", limit=1_000), Budget)
    assert_type(await acme.lists.rpush("notes", 1), int)
    assert_type(await acme.sets.contains("seen", 1), bool)
    assert_type(await acme.flags.set_nx("first", 1), bool)
    assert_type(acme.ledger, TenantLedger)
    assert_type(await acme.ledger.record(10, model="m"), bool)
    assert_type(await acme.ledger.totals(month="2026-01"), Totals)


async def handle(item: Item) -> None:
    """A worker's handler."""
    await item.ack()


async def engine() -> None:
    """A cache."""
    async with Cache(Settings(redis_url=None), policies={"document": Policy(ttl=600)}, observers=[Counting()]) as cache:
        assert_type(cache, Cache)
        assert_type(cache.tenant("acme", agent_id="support", permissions={"read"}), Tenant)
        assert_type(cache.tenant(Scope("acme")), Tenant)
        assert_type(await cache.load("document", "d1", "acme", load_document, search_hierarchy=False), Any)
        assert_type(await cache.ttl("document", "d1", "acme", agent_id="support"), float)
        assert_type(cache.settings.redis_url, str | None)
        with override(cache) as same:
            assert_type(same, Cache)


@cached("summary", ttl=TTL_SHORT)
async def summary(text: str, *, tenant_id: str) -> str:
    """A function whose results are kept."""
    return text[:10]


async def guide(fetch: Callable[..., Awaitable[Any]]) -> None:
    """The guide's dialect."""
    async with Context(tenant_id="acme"):
        assert_type(await CacheManager.get("document", "d1"), Any)
        assert_type(await summary("text", tenant_id="acme"), str)
        _, metrics = await get_with_cache_aside("document", "d1", fetch_from_db_func=fetch)
        assert_type(metrics, dict[str, Any])
        assert_type(await track_token_usage("acme", 10, model="m"), bool)
    try:
        await CacheManager.get("document", "d1")
    except MissingTenantError as error:
        assert_type(error, MissingTenantError)
    assert_type(alacena.__version__, str)
