"""The lines ``If Redis fails:`` of docstrings, tried on a server that has gone."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from alacena import (
    BackendError,
    Cache,
    CacheManager,
    Settings,
    Tenant,
    acquire_job_lock,
    get_embeddings_batch_with_cache,
    get_with_cache_aside,
    override,
    track_token_usage,
)
from alacena.coordination.budgets import Budget
from alacena.coordination.flags import Flags
from alacena.coordination.lock import Lock
from alacena.coordination.queue import Queue
from alacena.engine.writing.source_reading import Reading
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.servers.redis_server import RedisServer

T = "acme"


async def load(_: object = None) -> str:
    return "loaded"


async def embed(texts: list[str]) -> list[list[float]]:
    return [[1.0, 2.0] for _ in texts]


async def claim(cache: Cache) -> object:
    async with cache.claim("document", "new", T) as found:
        return await found.store(1)


async def read_and_set(cache: Cache) -> object:
    async with cache.reading(T, document_ids=["d1"]) as reading:
        return await reading.set("document", "new", 1)


async def aside(cache: Cache) -> object:
    value, metrics = await get_with_cache_aside("document", "new", T, load)
    return value, metrics["stored"]


async def vectors(cache: Cache) -> object:
    return (await get_embeddings_batch_with_cache(["a", "b"], T, "m", embed))[0]


def says(*verbs: Any, word: str) -> None:
    for verb in verbs:
        line = " ".join((inspect.getdoc(verb) or "").split()).partition("If Redis fails: ")[2]
        assert word in line, f"{verb.__qualname__}: {line[:100]!r}"


def test_the_docstrings_say_what_is_tried_here() -> None:
    says(Cache.get, Tenant.get, word="the default")
    says(CacheManager.get, word="a miss")
    says(Cache.load, Tenant.load, Cache.refresh, Tenant.refresh, word="the source answers, and the value is not stored")
    says(get_with_cache_aside, word="the sources answer, and nothing is stored")
    says(get_embeddings_batch_with_cache, word="the provider answers for all")
    says(Cache.set, Tenant.set, CacheManager.set, CacheManager.set_many, Cache.delete, Reading.set, word="``False``")
    says(Cache.claim, Cache.reading, CacheManager.claim, CacheManager.reading, word="returns ``False``")
    says(CacheManager.invalidate, word="0;")
    says(Queue.reserve, Budget.reserve, Lock.release, Flags.set_nx, word="raises")


async def test_verbs_of_the_cache_degrade_and_those_of_coordination_raise(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    async with Cache(Settings(redis_url=server.url, redis_budget_s=5.0)) as cache:
        await cache.set("document", "old", "older", T)
        queue, budget = cache.queues("q", tenant_id=T), cache.budgets("b", limit=10, tenant_id=T)
        server.crash()
        await until(lambda: not cache.guarantee()["connected"])
        degrade: list[tuple[Callable[[], Awaitable[object]], object]] = [
            (lambda: cache.get("document", "old", T, default="none"), "none"),
            (lambda: CacheManager.get("document", "old", T), None),
            (lambda: cache.load("document", "old", T, load), "loaded"),
            (lambda: cache.refresh("document", "old", T, load), "loaded"),
            (lambda: aside(cache), ("loaded", False)),
            (lambda: vectors(cache), [[1.0, 2.0], [1.0, 2.0]]),
            (lambda: cache.set("document", "old", "newer", T), False),
            (lambda: cache.set_many("document", {"old": "newer"}, T), 0),
            (lambda: CacheManager.set_many("document", {"old": "newer"}, T), False),
            (lambda: cache.get("document", "old", T), None),
            (lambda: cache.delete("document", "old", T), False),
            (lambda: cache.invalidate(T, "document"), 0),
            (lambda: CacheManager.invalidate(T), 0),
            (lambda: claim(cache), False),
            (lambda: read_and_set(cache), False),
        ]
        refuse: list[Callable[[], Awaitable[object]]] = [
            lambda: cache.locks.take("l", tenant_id=T, ttl_s=30, wait_s=0),
            lambda: queue.push(1),
            queue.reserve,
            lambda: cache.counters.increment("c", tenant_id=T),
            lambda: cache.limits.sliding_window("w", limit=1, window_s=60, tenant_id=T),
            lambda: budget.reserve(1),
            lambda: cache.lists.rpush("l", 1, tenant_id=T),
            lambda: cache.sets.add("s", 1, tenant_id=T),
            lambda: cache.flags.set_nx("f", 1, tenant_id=T),
            lambda: acquire_job_lock("j", T),
            lambda: track_token_usage(T, 5, "m", idempotency_key="k"),
        ]
        with override(cache):
            for number, (call, answer) in enumerate(degrade):
                assert await call() == answer, number
            for number, call in enumerate(refuse):
                try:
                    await call()
                except BackendError:
                    continue
                raise AssertionError(f"the verb {number} pretends a success")
        server.start()
