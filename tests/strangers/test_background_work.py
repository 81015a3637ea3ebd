"""Work in the background: it runs for the tenant that it is for, and not for the one whose request happened to begin it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any

from alacena import CacheManager, Context, configure, get_current_tenant_id
from alacena.common.context import get_full_context
from alacena.engine import SYSTEM_TENANT, BackendUnavailableError, Cache, SystemEnvironment
from alacena.ledger import pending_usage
from alacena.ledger.usage import Usage
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from alacena.coordination import Item

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


async def _handle_all(cache: Cache, source: Any, handler: Any, many: int) -> None:
    worker = cache.queues.worker(source, handler)
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.counts.done + worker.counts.failed >= many)
    worker.stop()
    assert (await running).failed == 0


async def test_a_handler_runs_for_the_items_tenant(cache: Cache) -> None:
    """ogx-ai/ogx 5227: a worker that the first request had started did the work of all later ones as that user."""
    for tenant in ("acme", "globex"):
        await cache.queues("ingestion", tenant_id=tenant).push(tenant, id=f"of-{tenant}")
    seen = []

    async def ingest(item: Item) -> None:
        seen.append((item.tenant_id, get_full_context()))

    with Context("initech", agent_id="support", conversation_id="c1"):
        await _handle_all(cache, cache.queues.any("ingestion"), ingest, 2)
    nobody = {"agent_id": None, "conversation_id": None, "collection_id": None}
    assert sorted(seen, key=lambda pair: pair[0]) == [
        (tenant, {"tenant_id": tenant, **nobody}) for tenant in ("acme", "globex")
    ]


async def test_a_plain_handler_and_a_worker_of_nobody_are_no_exceptions(cache: Cache) -> None:
    """The same, if the worker was started at the start of the service, and its handler is a plain function."""
    await cache.queues("ingestion", tenant_id="acme").push(1)
    seen = []
    await _handle_all(
        cache, cache.queues("ingestion", tenant_id="acme"), lambda _: seen.append(get_current_tenant_id()), 1
    )
    assert seen == ["acme"]
    assert get_current_tenant_id() is None


async def test_what_belongs_to_nobody_is_handled_for_nobody(cache: Cache) -> None:
    """A queue of the whole service carries jobs of every tenant: its handler enters the tenant that the job names."""
    await cache.queues("all", tenant_id=SYSTEM_TENANT).push("acme")
    seen = []

    async def ingest(item: Item) -> None:
        seen.append(get_current_tenant_id())
        async with Context(item.value):
            seen.append(get_current_tenant_id())

    with Context("initech"):
        await _handle_all(cache, cache.queues("all", tenant_id=SYSTEM_TENANT), ingest, 1)
    assert seen == [None, "acme"]


class Witness:
    """An authority that notes for whom it was called."""

    def __init__(self) -> None:
        self.seen: list[tuple[str | None, str]] = []

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        self.seen += [(get_current_tenant_id(), REQUEST.get()) for _ in usages]
        return []


async def test_the_relay_does_not_work_for_the_first_request(url: str | None) -> None:
    """ogx-ai/ogx 5168: long-lived tasks keep the context of the request that was first, with its user and its trace."""
    witness = Witness()
    configure(redis_url=url, redis_budget_s=5.0, authority=witness)
    try:
        REQUEST.set("the first")
        with Context("initech"):
            await CacheManager.set("document", "d1", 1, "initech")
        await (await _opened()).ledger.record("acme", 5, model="m", idempotency_key="k1")
        await until(lambda: witness.seen)
    finally:
        await CacheManager.close()
    assert witness.seen == [(None, "none")]


async def _opened() -> Cache:
    from alacena.common.runtime import opened

    return await opened()


async def test_usage_that_is_being_sent_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A use that the server takes must not be in the log as one that was never counted: somebody would bill it again."""
    monkeypatch.setattr(pending_usage, "MOST", 2)
    counted: list[tuple[str, str]] = []
    sent, answer = asyncio.Event(), asyncio.Event()

    async def count(usage: Usage) -> None:
        sent.set()
        await answer.wait()
        counted.append((usage.idempotency_key, REQUEST.get()))

    kept = pending_usage.PendingUsage(count, SystemEnvironment())
    caplog.set_level(logging.ERROR, "alacena")
    REQUEST.set("the first")
    kept.keep(_use("k1"), BackendUnavailableError("away"))
    await sent.wait()
    for key in ("k2", "k3", "k4"):
        kept.keep(_use(key))
    answer.set()
    await until(lambda: len(kept) == 0)
    assert counted == [("k1", "none"), ("k4", "none")]
    given_up = [line for line in caplog.messages if "never counted" in line]
    assert [("k2" in line, "k3" in line) for line in given_up] == [(True, False), (False, True)]
    assert kept.lost == 2


def _use(key: str) -> Usage:
    return Usage(
        tenant_id="acme", idempotency_key=key, tokens=1, model="m", token_type="llm", operation="query", at=0.0
    )
