"""Does a process always see what it has just written, in whatever way it writes and reads?"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from proving.reliability.place import Effort, Finding
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = ("39",)


async def run(effort: Effort) -> list[Finding]:
    """Every way to write followed at once by every way to read, while others read the same keys."""
    pairs = effort.of(20_000, 1_000)
    wrong = await written(effort, pairs)
    return [
        Finding(
            "39",
            "read your writes",
            "alacena",
            f"seed {effort.seed}, {pairs:,} pairs of a write and a read in 8 tasks of one process, while 8 more read",
            f"reads that did not see the write before them: {len(wrong)}",
            held=not wrong,
            details={"wrong": len(wrong)},
        )
    ]


async def written(effort: Effort, pairs: int) -> list[str]:
    """The pairs that did not agree."""
    with RedisServer(effort.flavour) as server:
        async with Cache(Settings(redis_url=server.url)) as cache:
            writers = [_Writer(cache, f"d{number}", random.Random(f"{effort.seed}/{number}")) for number in range(8)]
            readers = [asyncio.create_task(writer.disturb()) for writer in writers]
            async with asyncio.TaskGroup() as group:
                for writer in writers:
                    group.create_task(writer.write_and_read(pairs // len(writers)))
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            return [text for writer in writers for text in writer.wrong]


class _Writer:
    """Who alone changes one key."""

    def __init__(self, cache: Cache, name: str, chance: random.Random) -> None:
        self.wrong: list[str] = []
        self._cache = cache
        self._name = name
        self._chance = chance
        self._version = 1

    async def write_and_read(self, pairs: int) -> None:
        for _ in range(pairs):
            writing = self._chance.choice((self._set, self._delete, self._invalidate, self._end_type, self._hold))
            reading = self._chance.choice(
                (self._get, self._get_strictly, self._load, self._load_strictly, self._load_many)
            )
            await writing()
            seen = await reading()
            if seen not in (None, self._version):
                self.wrong.append(f"{writing.__name__}, {reading.__name__}: {seen} instead of {self._version}")

    async def disturb(self) -> None:
        """Read, so that loads are under way and copies are in memory while others write."""
        while True:
            await self._cache.load("document", self._name, "acme", self._source)
            await asyncio.sleep(0.001 * self._chance.random())

    async def _source(self) -> int:
        version = self._version
        await asyncio.sleep(0.003 * self._chance.random())
        return version

    async def _set(self) -> None:
        self._version += 1
        await self._cache.set("document", self._name, self._version, "acme")

    async def _delete(self) -> None:
        self._version += 1
        await self._cache.delete("document", self._name, "acme")

    async def _invalidate(self) -> None:
        self._version += 1
        await self._cache.invalidate("acme", "document", self._name)

    async def _end_type(self) -> None:
        self._version += 1
        await self._cache.invalidate("acme", "document")

    async def _hold(self) -> None:
        async with self._cache.write("acme", ("document", self._name)):
            self._version += 1

    async def _get(self) -> Any:
        return await self._cache.get("document", self._name, "acme")

    async def _get_strictly(self) -> Any:
        return await self._cache.get("document", self._name, "acme", use_memory=False)

    async def _load(self) -> Any:
        return await self._cache.load("document", self._name, "acme", self._source)

    async def _load_strictly(self) -> Any:
        return await self._cache.load("document", self._name, "acme", self._source, use_memory=False)

    async def _load_many(self) -> Any:
        load: Callable[[list[str]], Any] = self._source_many
        return (await self._cache.load_many("document", [self._name], "acme", load))[self._name]

    async def _source_many(self, _: list[str]) -> list[int]:
        return [await self._source()]
