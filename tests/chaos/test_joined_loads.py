"""Who comes after an invalidation by a document shares no load from before it, though the load had not named it yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from alacena.engine import Cache, Settings
from tests.waiting import DEADLINE_S

if TYPE_CHECKING:
    from alacena.engine.loading.load import LoadContext
    from proving.servers.redis_server import RedisServer


class Source:
    """Answers with what it held when it was asked, and only when it is let; names its document after that."""

    def __init__(self) -> None:
        self.version = 1
        self.reads = 0
        self.reading = asyncio.Event()
        self.gate = asyncio.Event()

    async def load(self, context: LoadContext) -> int:
        self.reads += 1
        version = self.version
        self.reading.set()
        await self.gate.wait()
        context.depends_on("d1")
        return version


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_late_tag_closes_the_load_to_newcomers(redis_server: RedisServer, elsewhere: bool) -> None:
    settings = Settings(redis_url=redis_server.url, redis_budget_s=5.0)
    async with Cache(settings) as cache, Cache(settings) as other, asyncio.timeout(DEADLINE_S):
        source = Source()
        early = asyncio.create_task(cache.load("answer", "q1", "acme", source.load))
        await source.reading.wait()
        source.version = 2
        assert await (other if elsewhere else cache).invalidate("acme", document_ids=["d1"]) > 0
        # The push has come when anything that was asked after it is answered.
        await cache.get("answer", "q2", "acme", use_memory=False)
        late = asyncio.create_task(cache.load("answer", "q1", "acme", source.load))
        await cache.get("answer", "q2", "acme", use_memory=False)
        source.gate.set()

        assert await early == 1
        assert await late == 2
        assert await cache.load("answer", "q1", "acme", source.load) == 2


async def test_a_load_is_shared_while_nothing_has_ended(redis_server: RedisServer) -> None:
    async with Cache(Settings(redis_url=redis_server.url, redis_budget_s=5.0)) as cache, asyncio.timeout(DEADLINE_S):
        source = Source()
        loads = [asyncio.create_task(cache.load("answer", "q1", "acme", source.load)) for _ in range(20)]
        await source.reading.wait()
        loads += [asyncio.create_task(cache.load("answer", "q1", "acme", source.load)) for _ in range(20)]
        await cache.get("answer", "q2", "acme", use_memory=False)
        source.gate.set()

        assert set(await asyncio.gather(*loads)) == {1}
        assert source.reads == 1
