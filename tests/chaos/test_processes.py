"""Processes on a real server, each behind a proxy of its own that misbehaves: no read is stale beyond the bound."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from alacena.testing.proxy import FaultProxy
from alacena.testing.staleness import Report, check, load
from alacena.testing.trouble import torment
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from proving.servers.redis_server import RedisServer

DURATION_S = float(os.environ.get("TESTS_CHAOS_S", "2"))
"""How long there is trouble, at the least: it goes on until every process has done enough."""
READS, INVALIDATIONS = 150, 6
BOUND_S = 1.0
PROCESSES = 3


class Fleet:
    """Worker processes, each with its proxy and its log."""

    def __init__(self, server: RedisServer, source: RedisServer, folder: Path) -> None:
        self._server = server
        self._source = source
        self._folder = folder
        self.proxies: list[FaultProxy] = []
        self.processes: list[asyncio.subprocess.Process] = []

    async def run(self, trouble: Callable[[Fleet], Awaitable[None]]) -> Report:
        """Let the workers work while there is trouble; judge what they logged."""
        try:
            for number in range(PROCESSES):
                await self._start(number)
            await until(
                lambda: all(path.exists() and path.stat().st_size for path in self._logs()), "every process has begun"
            )
            await trouble(self)
            await until(lambda: self.logged("read") > READS and self.logged("invalidate") > INVALIDATIONS)
            for process in self.processes:
                with suppress(ProcessLookupError):
                    process.terminate()
            codes = [await asyncio.wait_for(process.wait(), DEADLINE_S) for process in self.processes]
            assert set(codes) <= {0, -signal.SIGKILL}, f"workers ended with {codes}"
        finally:
            await self._clear_up()
        logs = [path.read_text().splitlines() for path in self._logs()]
        return check([operation for lines in logs for operation in load(lines)], BOUND_S)

    def logged(self, kind: str) -> int:
        """How many operations of a kind the workers have noted."""
        return sum(path.read_text().count(f'"{kind}"') for path in self._logs() if path.exists())

    def _logs(self) -> list[Path]:
        return [self._folder / f"{number}.log" for number in range(PROCESSES)]

    async def go_on(self, reads: int = 50) -> None:
        """Until the workers have read so much more."""
        before = self.logged("read")
        await until(lambda: self.logged("read") > before + reads)

    async def _start(self, number: int) -> None:
        proxy = FaultProxy(str(self._server.socket_path), seed=number)
        self.proxies.append(await proxy.__aenter__())
        arguments = [
            f"p{number}",
            f"redis://127.0.0.1:{proxy.port}",
            str(self._source.socket_path),
            str(self._folder / f"{number}.log"),
        ]
        self.processes.append(
            await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.chaos.worker", *arguments)
        )

    async def _clear_up(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for proxy in self.proxies:
            await proxy.__aexit__()


async def _torment_all(fleet: Fleet) -> None:
    await asyncio.gather(
        *(
            torment(proxy, duration_s=DURATION_S, every_s=0.25, seed=number)
            for number, proxy in enumerate(fleet.proxies)
        )
    )


async def _stop_and_continue(fleet: Fleet) -> None:
    chance = random.Random(1)
    for _ in range(int(DURATION_S)):
        process = chance.choice(fleet.processes)
        process.send_signal(signal.SIGSTOP)
        await fleet.go_on(chance.randrange(50, 300))
        process.send_signal(signal.SIGCONT)


async def _kill_one(fleet: Fleet) -> None:
    await fleet.go_on(100)
    fleet.processes[0].kill()


async def _split_everything(fleet: Fleet) -> None:
    for proxy in fleet.proxies:
        proxy.down.split = "random"
        proxy.up.split = "random"
        proxy.down.latency_s, proxy.down.jitter_s = 0.002, 0.01


@pytest.mark.parametrize("trouble", [_torment_all, _stop_and_continue, _kill_one, _split_everything])
async def test_real_processes_keep_the_bound(
    trouble: Callable[[Fleet], Awaitable[None]],
    start_redis: Callable[..., RedisServer],
    tmp_path: Path,
) -> None:
    fleet = Fleet(start_redis(), start_redis(), tmp_path)
    report = await fleet.run(trouble)
    report.raise_for_violations()
    assert report.reads > READS
    assert report.invalidations > INVALIDATIONS
