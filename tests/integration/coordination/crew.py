"""What a process of the kill tests runs: ``python -m tests.integration.coordination.crew ROLE SOCKET``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from alacena.engine.coordination.locks import Locks
from alacena.engine.coordination.port import Port
from alacena.engine.coordination.queues import Queues
from alacena.engine.coordination.worker import Worker
from alacena.engine.environment import SystemEnvironment
from tests.integration.coordination.live import LiveStore
from tests.integration.coordination.stand import PlainKeys

if TYPE_CHECKING:
    from alacena.engine.coordination.item import Item


async def work(port: Port) -> None:
    """Handle items until killed; each handling is noted before it is acknowledged."""

    async def handle(item: Item) -> None:
        await asyncio.sleep(0.001)
        await port.store.call("RPUSH", "handled", item.value)

    queue = Queues(port, fair=False)("q", tenant_id="t", max_attempts=50)
    await Worker(port, queue, handle, concurrency=8, visibility_s=0.5).run()


async def hold(port: Port) -> None:
    """Take the lock and keep it until killed; write with each fence."""
    locks = Locks(port)
    while True:
        async with locks.acquire("l", tenant_id="t", ttl_s=0.5) as lock:
            for _ in range(20):
                lock.check()
                await port.store.call("RPUSH", "fences", lock.fence)
                await asyncio.sleep(0.002)


async def main(role: str, path: str) -> None:
    port = Port(LiveStore(path), PlainKeys(), SystemEnvironment())
    await {"work": work, "hold": hold}[role](port)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
