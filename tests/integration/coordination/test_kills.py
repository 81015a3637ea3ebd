"""Real processes, killed at random: no item is lost, no lock stays behind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alacena.engine.api.cache import Cache
from alacena.engine.base.settings import Settings
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proving.servers.redis_server import RedisServer

ROOT = Path(__file__).parents[3]
SEED = 20_250_524


class Crew:
    """Processes of one role that are replaced when they are killed."""

    def __init__(self, role: str, url: str, size: int) -> None:
        self._command = [sys.executable, "-m", "tests.integration.coordination.crew", role, url]
        self._environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self.members = [self._start() for _ in range(size)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment, cwd=ROOT, stderr=subprocess.DEVNULL)

    def kill(self, at: int) -> None:
        self.members[at].kill()
        self.members[at].wait()
        self.members[at] = self._start()

    def end(self) -> None:
        for member in self.members:
            member.kill()
            member.wait()


@contextmanager
def crew(role: str, url: str, size: int) -> Iterator[Crew]:
    members = Crew(role, url, size)
    try:
        yield members
    finally:
        members.end()


async def test_no_item_is_lost_when_workers_are_killed(file_server: RedisServer) -> None:
    chance = random.Random(SEED)
    count = 2_000
    async with Cache(Settings(redis_url=file_server.url)) as cache:
        queue = cache.queues("q", tenant_id="t", max_attempts=50)
        await queue.push_many(range(count))

        async def settled(least: int) -> bool:
            stats = await queue.stats()
            assert stats.pushed == stats.ready + stats.delayed + stats.in_flight + stats.dead + stats.acked
            return stats.acked >= least

        with crew("work", file_server.url, 3) as workers:
            for _ in range(8):
                least = min((await queue.stats()).acked + 40, count)
                await until(lambda least=least: settled(least))
                workers.kill(chance.randrange(3))
            await until(lambda: settled(count))
        handled = await cache.lists.lrange("handled", tenant_id="t")
    assert set(handled) == set(range(count))
    assert len(handled) - count <= 8 * 8


async def test_a_lock_changes_hands_when_its_holder_is_killed_and_its_fences_only_grow(
    file_server: RedisServer,
) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache:

        async def written(least: int) -> bool:
            return await cache.lists.llen("fences", tenant_id="t") > least

        with crew("hold", file_server.url, 3) as holders:
            await until(lambda: written(50))
            for at in range(3):
                holders.kill(at)
                mark = await cache.lists.llen("fences", tenant_id="t")
                await until(lambda mark=mark: written(mark))
        fences = await cache.lists.lrange("fences", tenant_id="t")
    assert fences == sorted(fences)
    assert len(set(fences)) > 3
