"""Workers: a task works for the tenant of the code that sent it."""

import asyncio
import os

from taskiq import InMemoryBroker

from alacena import CacheManager, Context, get_current_tenant_id
from alacena.integrations.taskiq import TenantMiddleware, open_in_workers

# --8<-- [start:broker]
broker = InMemoryBroker().with_middlewares(TenantMiddleware())
open_in_workers(broker, redis_url=os.environ.get("REDIS_URL") or None)


@broker.task
async def ingest(document_id: str) -> str | None:
    await CacheManager.set("document", document_id, "ingested")  # for the tenant of who sent it
    return get_current_tenant_id()


# --8<-- [end:broker]


async def main():
    broker.is_worker_process = True  # in memory, sender and worker are one process
    await broker.startup()
    # --8<-- [start:send]
    with Context("acme"):
        task = await ingest.kiq("d1")
    # --8<-- [end:send]
    assert (await task.wait_result(timeout=10)).return_value == "acme"
    assert await CacheManager.get("document", "d1", "acme") == "ingested"
    assert await CacheManager.get("document", "d1", "globex") is None
    await broker.shutdown()
    print("the task worked for who sent it")


asyncio.run(main())
