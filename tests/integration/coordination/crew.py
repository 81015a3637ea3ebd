"""What a process of the kill tests runs: ``python -m tests.integration.coordination.crew ROLE URL``."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from alacena.coordination.worker import Worker
from alacena.engine.api.cache import Cache
from alacena.engine.base.errors import LockLostError
from alacena.engine.base.settings import Settings
from tests.integration.coordination.stand import port_of
from tests.waiting import pace

if TYPE_CHECKING:
    from alacena.coordination.item import Item


async def work(cache: Cache) -> None:
    """Handle items until killed; each handling is noted before it is acknowledged."""

    async def handle(item: Item) -> None:
        await pace(0.001)
        await cache.lists.rpush("handled", item.value, tenant_id="t")

    queue = cache.queues("q", tenant_id="t", max_attempts=50)
    await Worker(port_of(cache), queue, handle, concurrency=8, visibility_s=2.0).run()


async def hold(cache: Cache) -> None:
    """Take the lock and keep it until killed; write with each fence."""
    while True:
        with suppress(LockLostError):  # A busy machine may be late with a renewal.
            async with cache.locks.acquire("l", tenant_id="t", ttl_s=1.0) as lock:
                for _ in range(20):
                    lock.check()
                    await cache.lists.rpush("fences", lock.fence, tenant_id="t")
                    await pace(0.002)


async def main(role: str, url: str) -> None:
    async with Cache(Settings(redis_url=url)) as cache:
        await {"work": work, "hold": hold}[role](cache)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
