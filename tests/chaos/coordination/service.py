"""The guide's ingestion service, as a process that the tests kill: its loops as its users write them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.common import runtime
from alacena.common.cache import CacheManager, acquire_job_lock, release_job_lock
from alacena.common.cache.jobs import job_lock_fence
from alacena.common.context import Context
from alacena.common.tracking import OPERATION_EMBEDDING, TOKEN_TYPE_EMBEDDING, track_token_usage
from tests.waiting import pace

if TYPE_CHECKING:
    from alacena.coordination import Item
    from proving.coordination.crew import Journal

TENANT = "acme"
LIST = f"{TENANT}:ingestion_queue"
QUEUE = "ingestion"
TOKENS = 7
WORK_S = 0.004
EXPIRY_S = 1.0


async def embed(job_id: str) -> None:
    """The work: it takes a moment, and uses tokens that are counted under the job's name."""
    await pace(WORK_S)
    await track_token_usage(
        tenant_id=TENANT,
        tokens=TOKENS,
        model="text-embedding-3-small",
        token_type=TOKEN_TYPE_EMBEDDING,
        operation=OPERATION_EMBEDDING,
        metadata={"service": "ingestion"},
        idempotency_key=f"{TENANT}:embed:{job_id}",
    )


async def pop(journal: Journal, url: str, place: int) -> None:
    """The guide's loop on ``lpop``, with the guide's lock around each job."""
    runtime.configure(redis_url=url)
    while True:
        job = await CacheManager.get_instance().lpop(list_name=LIST)
        if job is None:
            await pace(0.01)
            continue
        if not await acquire_job_lock(job["job_id"], TENANT, EXPIRY_S):
            journal.note("busy")
            continue
        try:
            await embed(job["job_id"])
            journal.note(f"done {job['job_id']}")
        finally:
            await release_job_lock(job["job_id"], TENANT)


async def work(journal: Journal, url: str, place: int) -> None:
    """The same service on a queue, with a worker: the recipe of ``Worker``."""
    runtime.configure(redis_url=url)
    cache = await runtime.opened()

    async def ingest(item: Item) -> None:
        async with Context(tenant_id=item.tenant_id):
            await embed(item.value["job_id"])
            journal.note(f"done {item.id}")

    await cache.queues.worker(cache.queues.any(QUEUE), ingest, concurrency=2, visibility_s=EXPIRY_S).run()


async def hold(journal: Journal, url: str, place: int) -> None:
    """Take the lock of one job and keep it."""
    runtime.configure(redis_url=url)
    while not await acquire_job_lock("job-1", TENANT, EXPIRY_S):
        await pace(0.01)
    journal.note(f"held {job_lock_fence('job-1', TENANT)}")
    await asyncio.Event().wait()
