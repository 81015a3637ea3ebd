"""One process of the chaos tests: reads through the cache, commits to a source and invalidates, and logs all of it.

The source is a server of its own, reached without a proxy: ``INCR`` is a commit, ``GET`` a read.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis.asyncio

from alacena.engine.api.cache import Cache
from alacena.engine.base.settings import Settings
from alacena.testing.staleness import Operation, dump
from tests.waiting import pace

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

KEYS = ("d0", "d1", "d2")
VERBS = ("resource", "type", "tenant", "write")


class Worker:
    """Reads and writes until it is told to stop.

    Args:
        name: Who it is in the log.
        log: Where operations go, one a line, as they end.
        source: The source of truth.
        over: Set when it is to stop.
    """

    def __init__(self, name: str, log: TextIO, source: redis.asyncio.Redis, over: asyncio.Event) -> None:
        self._name = name
        self._log = log
        self._source = source
        self._over = over
        self._chance = random.Random(name)

    async def work(self, url: str) -> None:
        settings = Settings(redis_url=url, lease_s=1.0, redis_timeout_s=0.5)
        async with Cache(settings) as cache, asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(self._read(cache))
            group.create_task(self._write(cache))

    async def _read(self, cache: Cache) -> None:
        while not self._over.is_set():
            await pace(0.01 * self._chance.random())
            key = self._chance.choice(KEYS)
            called_at = time.monotonic()
            value = await cache.load("document", key, "acme", self._loader(key))
            assert value[0] == key, f"asked for {key}, got {value[0]}"
            self._note("read", key, value[1], called_at)

    def _loader(self, key: str) -> Callable[[], Any]:
        async def load() -> list[Any]:
            version = int(await self._source.get(key) or 0)
            await pace(0.02 * self._chance.random())
            return [key, version]

        return load

    async def _write(self, cache: Cache) -> None:
        while not self._over.is_set():
            await pace(0.3 * self._chance.random())
            key, verb = self._chance.choice(KEYS), self._chance.choice(VERBS)
            called_at = time.monotonic()
            failures = cache.stats()["backend_failures"]
            if verb == "write":
                async with cache.write("acme", ("document", key), hold_s=1.0):
                    version = int(await self._source.incr(key))
                confirmed = cache.stats()["backend_failures"] == failures
            else:
                version = int(await self._source.incr(key))
                confirmed = await self._invalidate(cache, verb, key) > 0
            if confirmed:
                self._note("invalidate", key, version, called_at)

    @staticmethod
    async def _invalidate(cache: Cache, verb: str, key: str) -> int:
        if verb == "resource":
            return await cache.invalidate("acme", "document", key)
        return await cache.invalidate("acme", "document" if verb == "type" else None)

    def _note(self, kind: Any, key: str, version: int, called_at: float) -> None:
        operation = Operation(
            kind=kind, key=key, version=version, called_at=called_at, returned_at=time.monotonic(), actor=self._name
        )
        self._log.write(dump(operation) + "\n")


async def main(name: str, url: str, source_path: str, log: TextIO) -> None:
    """Work until SIGTERM."""
    logging.disable(logging.CRITICAL)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with redis.asyncio.Redis(unix_socket_path=source_path) as source:
        await Worker(name, log, source, over).work(url)


if __name__ == "__main__":
    _, who, server, source, path = sys.argv
    # Line by line, so that a killed process leaves what it did.
    with Path(path).open("a", buffering=1) as lines:
        asyncio.run(main(who, server, source, lines))
