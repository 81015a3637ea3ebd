"""The guide's own loops across two processes, one of which is killed in the middle."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from alacena.common import runtime
from alacena.common.cache import CacheManager, acquire_job_lock, release_job_lock
from alacena.common.cache.jobs import job_lock_fence
from alacena.engine import Cache, Settings
from proving.coordination.crew import Crew, until
from tests.chaos.coordination import service
from tests.chaos.coordination.service import EXPIRY_S, LIST, QUEUE, TENANT, TOKENS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proving.servers.redis_server import RedisServer

COUNT = 120


@pytest.fixture
async def cache(redis_server: RedisServer) -> AsyncIterator[Cache]:
    """This process's cache, which is the process-wide one too."""
    async with Cache(Settings(redis_url=redis_server.url, redis_budget_s=5.0)) as cache:
        with runtime.override(cache):
            yield cache


def _done(crew: Crew) -> Counter[str]:
    return Counter(line.split(" ")[1] for line in crew.lines() if line.startswith("done"))


def _renewals(server: RedisServer) -> int:
    """How many scripts were run: while nobody else works, those of who renews its lock."""
    found = re.search(r"cmdstat_evalsha:calls=(\d+)", server.call("INFO", "commandstats"))
    return 0 if found is None else int(found[1])


async def test_the_loop_on_lists_keeps_order_and_loses_only_what_was_in_hand(
    cache: Cache, redis_server: RedisServer
) -> None:
    manager = CacheManager.get_instance()
    jobs = [{"job_id": f"job-{number}", "chunks": [number]} for number in range(COUNT)]
    for job in jobs:
        await manager.rpush(list_name=LIST, value=job)
    assert await manager.lrange("ingestion_queue", 0, 2, TENANT) == jobs[:3]
    with Crew(service.pop, 2, url=redis_server.url) as crew:
        assert await until(lambda: _done(crew).total() >= 30, 60)
        crew.kill(0)
        assert await until(lambda: _done(crew).total() >= COUNT - 1, 60)

        async def empty() -> bool:
            return await manager.lrange("ingestion_queue", 0, -1, TENANT) == []

        assert await until(empty, 60)
        done = _done(crew)
    assert set(done.values()) == {1}
    assert COUNT - 1 <= len(done) <= COUNT
    assert (await cache.ledger.totals(TENANT)).used in {TOKENS * len(done), TOKENS * (len(done) + 1)}


async def test_the_recipe_of_the_worker_loses_nothing_and_counts_each_job_once(
    cache: Cache, redis_server: RedisServer
) -> None:
    queue = cache.queues(QUEUE, tenant_id=TENANT)
    for number in range(COUNT):
        await queue.push({"job_id": f"job-{number}"}, id=f"job-{number}")
    with Crew(service.work, 2, url=redis_server.url) as crew:
        for least in (30, 60):
            assert await until(lambda least=least: _done(crew).total() >= least, 60)
            crew.kill(least % 2)

        async def settled() -> bool:
            return (await queue.stats()).acked == COUNT

        assert await until(settled, 60)
        done = _done(crew)
    assert len(done) == COUNT
    assert done.total() <= COUNT + 2 * 2
    assert (await cache.ledger.totals(TENANT)).used == TOKENS * COUNT
    assert (await queue.stats()).dead == 0


async def test_a_job_lock_of_a_killed_process_is_had_when_it_lapses_and_not_before(
    cache: Cache, redis_server: RedisServer
) -> None:
    with Crew(service.hold, 1, url=redis_server.url) as crew:
        assert await until(lambda: len(crew.lines()) == 1, 60)
        fence = int(crew.lines()[0].split(" ")[1])
        assert not await acquire_job_lock("job-1", TENANT)
        assert not await release_job_lock("job-1", TENANT)
        renewals = _renewals(redis_server)
        assert await until(lambda: _renewals(redis_server) > renewals + 3, 60)  # it would have lapsed without them
        assert not await acquire_job_lock("job-1", TENANT)
        crew.members[0].kill()
        crew.members[0].join()
        assert await until(lambda: acquire_job_lock("job-1", TENANT, EXPIRY_S), 60)
    assert (job_lock_fence("job-1", TENANT) or 0) > fence
    assert await release_job_lock("job-1", TENANT)
    assert not await release_job_lock("job-1", TENANT)
