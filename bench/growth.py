"""What grows with use, in this process and on the server, and does it stop.

python -m bench.growth                                10⁵ tenants, 10⁶ job locks, 10⁶ invalidations during an outage
python -m bench.growth --quick                        the same with a hundredth of each
python -m bench.growth --only locks --size 50000      one of them, at a size of one's own
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from alacena.common.cache import CacheManager, acquire_job_lock, release_job_lock
from alacena.common.runtime import configure
from alacena.engine import Cache, Settings
from proving.figures.show import show_result
from proving.figures.tables import Column, Result, Row, Table, judged
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

_MIB: Final = 2**20
_AT_ONCE: Final = 200
_MEMORY_BYTES: Final = 8 * _MIB
_WIDE: Final = 132
_HUNDREDTH: Final = 100
_PATIENCE_S: Final = 60.0
"""For an answer: what grows is asked here, and a machine that is busy must not break it off."""

_LONGEST_WAIT_S: Final = 600.0


class Growth:
    """Resident memory of this process, and keys and memory of a server, at moments that are named.

    Args:
        server: The server.
    """

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._began = time.perf_counter()
        self._first_mib: float | None = None
        self.rows: list[Row] = []
        self.grown_mib = 0.0

    def note(self, moment: str, *, is_up: bool = True) -> None:
        """Looks at both. A server that is away has nothing to say."""
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB
        if self._first_mib is None:
            self._first_mib = resident
        self.grown_mib = resident - self._first_mib
        keys = int(self._server.call("DBSIZE")) if is_up else None
        lasting = keys - _of_info(self._server, "keyspace", "expires") if keys is not None else None
        used = _of_info(self._server, "memory", "used_memory") / _MIB if is_up else None
        seconds = time.perf_counter() - self._began
        self.rows.append(Row(moment, (resident, self.grown_mib, keys, lasting, used, seconds), "ours"))

    def table(self, title: str, *notes: str) -> Table:
        """Returns all that was noted."""
        columns = (
            Column("resident MiB"), Column("grown by MiB", better="low"), Column("server keys", 0),
            Column("without expiry", 0, "low"), Column("server MiB"), Column("s"),
        )  # fmt: skip
        return Table(title, columns, tuple(self.rows), notes)

    @property
    def lasting_keys(self) -> int:
        """Keys that never expire, when it was looked last."""
        cell = self.rows[-1].cells[3]
        assert isinstance(cell, int)
        return cell


async def tenants(size: int) -> Result:
    """Every tenant stores and reads one entry, pushes one job and takes it; memory is for a small part of them."""
    with RedisServer("valkey") as server:
        growth = Growth(server)
        async with Cache(
            Settings(redis_url=server.url, memory_max_bytes=_MEMORY_BYTES, redis_timeout_s=_PATIENCE_S)
        ) as cache:

            async def use(number: int) -> None:
                tenant_id = f"tenant-{number:07d}"
                await cache.set("document", "d", {"text": "x" * 100}, tenant_id)
                await cache.get("document", "d", tenant_id)
                queue = cache.queues("jobs", tenant_id=tenant_id)
                await queue.push("job")
                await queue.ack(await queue.reserve())

            await _each(range(min(size, _AT_ONCE)), use)
            growth.note("warm")
            await _halves(size, use, growth, "tenants")
    bars = (
        judged("memory grown, for a memory tier of 8 MiB", growth.grown_mib, bar=96, unit=" MiB"),
        judged("server keys that never expire, a tenant with one type", growth.lasting_keys / size, bar=2),
    )
    notes = (
        "in memory: memory_max_bytes, 8,192 (tenant, type) pairs that share their generations, nothing else a tenant",
        "on the server: one generation for each tenant and one for each of its types stay; entries, their generations and "
        "queues that are empty expire",
    )
    return Result((growth.table(f"{size:,} tenants", *notes),), bars)


async def locks(size: int) -> Result:
    """A lock is taken and given back for each job, once; nobody asks for it again."""
    with RedisServer("valkey") as server:
        configure(redis_url=server.url, redis_timeout_s=_PATIENCE_S)
        try:
            growth = Growth(server)

            async def use(number: int) -> None:
                await acquire_job_lock(f"job-{number}", "acme")
                await release_job_lock(f"job-{number}", "acme")

            await _each(range(min(size, _AT_ONCE)), use)
            growth.note("warm")
            await _halves(size, use, growth, "job locks")
        finally:
            await CacheManager.close()
    bars = (
        judged("memory grown", growth.grown_mib, bar=16, unit=" MiB"),
        judged("server keys that never expire", growth.lasting_keys, bar=16),
    )
    notes = (
        "in memory: nothing of a lock that was given back",
        "on the server: one small hash a lock, its fence, for a day or two after its last use",
    )
    return Result((growth.table(f"{size:,} job locks", *notes),), bars)


async def outage(size: int) -> Result:
    """A server is away while documents are invalidated; then it is back, and is told."""
    with RedisServer("valkey") as server:
        async with Cache(Settings(redis_url=server.url)) as cache:
            growth = Growth(server)
            await cache.set("document", "d", 1, "acme")
            growth.note("before")
            server.crash()
            await _until(lambda: not cache.guarantee()["memory"])

            async def use(number: int) -> None:
                name = f"d{number}"
                await cache.invalidate(f"t{number % 50}", "document", name, document_ids=[name])

            most = 0
            for part, end in enumerate((size // 2, size)):
                await _each(range(part * (size // 2), end), use)
                most = max(most, cache.guarantee()["removals_owed"])
                growth.note(f"{end:,} while it is away", is_up=False)
            away_mib = growth.grown_mib
            server.start()
            began = time.perf_counter()
            await _until(lambda: bool(cache.guarantee()["memory"]) and not cache.guarantee()["removals_owed"])
            paid_s = time.perf_counter() - began
            growth.note("paid")
    bars = (
        judged("removals owed at most", most, bar=65_536 + 16_384),
        judged("memory grown while it was away", away_mib, bar=96, unit=" MiB"),
        judged("from its return until all was paid", paid_s, bar=30, unit=" s"),
    )
    note = (
        "what is owed is kept by name for 4,096 removals of a tenant and 65,536 in all; beyond that whole tenants are owed, "
        "and more than 16,384 of them are everything"
    )
    return Result((growth.table(f"{size:,} invalidations during an outage", note),), bars)


SCENES: Final[dict[str, tuple[Callable[[int], Coroutine[Any, Any, Result]], int]]] = {
    "tenants": (tenants, 100_000),
    "locks": (locks, 1_000_000),
    "outage": (outage, 1_000_000),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=SCENES, metavar="NAME", help="one of them; may be repeated")
    parser.add_argument("--size", type=int, help="how many, in place of its own number")
    parser.add_argument("--quick", action="store_true", help="a hundredth of its own number")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    missed = 0
    for name in options.only or SCENES:
        scene, full = SCENES[name]
        size = options.size or (full // _HUNDREDTH if options.quick else full)
        result = asyncio.run(scene(size))
        show_result(console, name, (scene.__doc__ or "").strip(), result)
        missed += sum(bar.verdict == "missed" for bar in result.bars)
    return int(missed > 0)


async def _halves(size: int, use: Callable[[int], Awaitable[None]], growth: Growth, what: str) -> None:
    """Looks after one half as well: what is bounded is flat from there on."""
    for begin, end in ((0, size // 2), (size // 2, size)):
        await _each(range(begin, end), use)
        growth.note(f"{end:,} {what}")


async def _each(numbers: range, use: Callable[[int], Awaitable[None]]) -> None:
    for start in range(numbers.start, numbers.stop, _AT_ONCE):
        await asyncio.gather(*(use(number) for number in range(start, min(start + _AT_ONCE, numbers.stop))))


async def _until(condition: Callable[[], bool]) -> None:
    """Waits; what does not come in that time is shown as a bar that is missed, and the table is shown all the same."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LONGEST_WAIT_S):
            while not condition():
                await asyncio.sleep(0.02)


def _of_info(server: RedisServer, section: str, field: str) -> int:
    found = re.search(rf"\b{field}[:=](\d+)", str(server.call("INFO", section)))
    return int(found[1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
