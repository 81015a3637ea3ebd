"""A worker that takes the jobs of all tenants in turn, each under its tenant."""

import asyncio

from alacena import Cache, Context, Settings, get_current_tenant_id

DONE = []
BOTH = asyncio.Event()


async def index(document_id):
    DONE.append((get_current_tenant_id(), document_id))
    if len(DONE) == 2:
        BOTH.set()


# --8<-- [start:worker]
async def ingest(item):
    async with Context(tenant_id=item.tenant_id):  # the job works for the tenant that pushed it
        await index(item.value["document_id"])


def make_worker(cache):
    return cache.queues.worker(cache.queues.any("ingestion-jobs"), ingest, concurrency=8)


# --8<-- [end:worker]
async def main():
    async with Cache(Settings.from_env()) as cache:
        for tenant_id in ("acme", "globex"):
            await cache.tenant(tenant_id).queues("ingestion-jobs").push({"document_id": "d1"})

        worker = make_worker(cache)
        running = asyncio.create_task(worker.run())
        await BOTH.wait()
        worker.stop()
        counts = await running
        assert (counts.done, counts.failed) == (2, 0)
        assert sorted(DONE) == [("acme", "d1"), ("globex", "d1")]
    print("done:", *(tenant_id for tenant_id, _ in sorted(DONE)))


asyncio.run(main())
