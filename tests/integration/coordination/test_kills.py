"""Real processes, killed at random: no item is lost, no lock stays behind."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alacena.engine.coordination.port import Port
from alacena.engine.coordination.queues import Queues
from alacena.engine.environment import SystemEnvironment
from tests.integration.coordination.live import LiveStore
from tests.integration.coordination.stand import PlainKeys, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
SEED = 20_250_524


class Crew:
    """Processes of one role that are replaced when they are killed."""

    def __init__(self, role: str, path: str, size: int) -> None:
        self._command = [sys.executable, "-m", "tests.integration.coordination.crew", role, path]
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
def crew(role: str, path: str, size: int) -> Iterator[Crew]:
    members = Crew(role, path, size)
    try:
        yield members
    finally:
        members.end()


async def test_no_item_is_lost_when_workers_are_killed(server_path: str) -> None:
    chance = random.Random(SEED)
    store = LiveStore(server_path)
    await store.call("FLUSHALL")
    queue = Queues(Port(store, PlainKeys(), SystemEnvironment()), fair=False)("q", tenant_id="t", max_attempts=50)
    count = 2_000
    await queue.push_many(range(count))
    with crew("work", server_path, 3) as workers:
        for _ in range(8):
            before = (await queue.stats()).acked

            async def moved(before: int = before) -> bool:
                return (await queue.stats()).acked >= min(before + 40, count)

            await eventually(moved, within_s=60)
            workers.kill(chance.randrange(3))

        async def settled() -> bool:
            stats = await queue.stats()
            assert stats.pushed == stats.ready + stats.delayed + stats.in_flight + stats.dead + stats.acked
            return stats.acked == count

        await eventually(settled, within_s=60)
    handled = [int(value) for value in await store.call("LRANGE", "handled", 0, -1)]
    assert set(handled) == set(range(count))
    assert len(handled) - count <= 8 * 8
    await store.aclose()


async def test_a_lock_changes_hands_when_its_holder_is_killed_and_its_fences_only_grow(server_path: str) -> None:
    store = LiveStore(server_path)
    await store.call("FLUSHALL")
    waits = []
    with crew("hold", server_path, 3) as holders:

        async def begun() -> bool:
            return bool(await store.call("LLEN", "fences") > 50)

        await eventually(begun, within_s=60)
        for at in range(3):
            holders.kill(at)
            killed, mark = time.monotonic(), await store.call("LLEN", "fences")

            async def moved(mark: int = mark) -> bool:
                return bool(await store.call("LLEN", "fences") > mark)

            await eventually(moved, within_s=20)
            waits.append(time.monotonic() - killed)
            await asyncio.sleep(0)
    fences = [int(value) for value in await store.call("LRANGE", "fences", 0, -1)]
    assert fences == sorted(fences)
    assert len(set(fences)) > 3
    assert max(waits) < 12, waits
    await store.aclose()
