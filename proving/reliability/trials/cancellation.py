"""Does anybody get the answer of another, and is anything left behind, when callers are cancelled at every point?"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from alacena.engine import Cache, Settings
from proving.reliability.place import Effort, Finding, attempted
from proving.reliability.rivalry import THREADED, contender, others
from proving.rivals.rival import Drops, Place
from proving.servers.redis_server import RedisServer

NUMBERS = ("21",)
_KEYS = 200
_CALLERS = 50


class Tally(NamedTuple):
    """What was counted.

    Attributes:
        calls: Calls that were made.
        cancelled: Calls that were cancelled before they returned.
        wrong: Answers that belong to another key.
        errors: Exceptions other than the cancellation.
        left: Flights, tasks, leases and unanswered places that are left at the end.
    """

    calls: int
    cancelled: int
    wrong: int
    errors: list[str]
    left: list[str]


async def run(effort: Effort) -> list[Finding]:
    """Gets and loads, each cancelled after a random time."""
    tally = await stormed(effort, effort.of(200_000, 5_000))
    peers = [
        await attempted("21", "cancellation storm", who, _peers(who, effort, effort.of(10_000, 1_000)))
        for who in others(effort, but=THREADED)
    ]
    return [
        Finding(
            "21",
            "cancellation storm",
            "alacena",
            f"seed {effort.seed}, {tally.calls:,} calls of {_CALLERS} tasks, {tally.cancelled:,} of them cancelled at a "
            "random point",
            f"wrong replies: {tally.wrong}; errors: {len(tally.errors)}; flights, tasks, leases left: {len(tally.left)}",
            held=not tally.wrong and not tally.errors and not tally.left,
            details={"cancelled": tally.cancelled, "wrong": tally.wrong, "left": len(tally.left)},
        ),
        *peers,
    ]


async def _peers(who: str, effort: Effort, calls: int) -> Finding:
    """Gets of another cache, each cancelled after a random time; every value is its own key's number."""
    with RedisServer(effort.flavour) as server:
        cache = contender(who)
        await cache.open(Place(_number_of, str(server.socket_path)))
        storm = _PeersStorm(cache, random.Random(effort.seed))
        try:
            for number in range(_KEYS):
                await cache.set(f"d{number}", number)
            await asyncio.gather(*(storm.call(calls // _CALLERS) for _ in range(_CALLERS)))
        finally:
            await cache.close()
    return Finding(
        "21",
        "cancellation storm",
        who,
        f"seed {effort.seed}, {storm.calls:,} gets of {_CALLERS} tasks, {storm.cancelled:,} of them cancelled",
        f"wrong replies: {storm.wrong}; errors: {len(storm.errors)}"
        + (f": {storm.errors[0]:.100}" if storm.errors else ""),
    )


async def _number_of(key: str) -> int:
    return int(key[1:])


async def stormed(effort: Effort, calls: int) -> Tally:
    """Call and cancel; then look at what is left."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(effort.flavour))
        others = asyncio.all_tasks()
        cache = Cache(Settings(redis_url=server.url, lease_s=2.0))
        await cache.open()
        storm = _Storm(cache, random.Random(effort.seed))
        async with asyncio.TaskGroup() as group:
            for _ in range(_CALLERS):
                group.create_task(storm.call(calls // _CALLERS))
        left = await _left(cache, server)
        await cache.close()
        for _ in range(5):
            await asyncio.sleep(0)
        left += [repr(task) for task in asyncio.all_tasks() - others]
        return Tally(storm.calls, storm.cancelled, storm.wrong, storm.errors[:10], left)


class _Storm:
    """Callers that lose patience."""

    def __init__(self, cache: Any, chance: random.Random) -> None:
        self.calls = self.cancelled = self.wrong = 0
        self.errors: list[str] = []
        self._cache = cache
        self._chance = chance

    async def call(self, times: int) -> None:
        for _ in range(times):
            key = self._chance.randrange(_KEYS)
            task = asyncio.create_task(self._one(key))
            patience_s = self._chance.choice((None, 0.0, 0.0001, 0.0005, 0.002))
            if patience_s is not None:
                await asyncio.sleep(patience_s)
                task.cancel()
            await asyncio.wait((task,))
            self._note(key, task)

    def _note(self, key: int, task: asyncio.Task[Any]) -> None:
        self.calls += 1
        if task.cancelled():
            self.cancelled += 1
        elif task.exception() is not None:
            self.errors.append(repr(task.exception()))
        elif task.result() not in (key, None, True, False) and task.result() != {f"d{key}": key}:
            self.wrong += 1

    async def _one(self, key: int) -> Any:
        async def load() -> int:
            await asyncio.sleep(0.001 * self._chance.random())
            return key

        async def load_many(ids: list[str]) -> dict[str, int]:
            return {one: int(one[1:]) for one in ids}

        where = ("document", f"d{key}", "acme")
        match self._chance.randrange(8):
            case 0:
                return await self._cache.get(*where, use_memory=False)
            case 1:
                return await self._cache.delete(*where)
            case 2:
                return await self._cache.set("document", f"d{key}", key, "acme")
            case 3:
                return await self._cache.load_many("document", [f"d{key}"], "acme", load_many)
            case 4:
                await self._cache.invalidate("acme", "document", f"d{key}")
                return None
            case _:
                return await self._cache.load(*where, load)


class _PeersStorm(_Storm):
    """The same callers at another cache."""

    def __init__(self, cache: Drops, chance: random.Random) -> None:
        super().__init__(None, chance)
        self._peer = cache

    async def _one(self, key: int) -> Any:
        return await self._peer.get(f"d{key}")


async def _left(cache: Cache, server: RedisServer) -> list[str]:
    """What has not gone within the life of a lease and a little more: nothing may stay for longer than that."""
    parts = cache._parts
    assert parts is not None
    left: list[str] = []
    for _ in range(100):
        left = [f"flights: {len(parts.flights)}"] if len(parts.flights) else []
        left += [repr(task) for task in parts.flights.tasks]
        left += [f"lease {name}" for name in await asyncio.to_thread(server.call, "KEYS", "alacena:l:*")]
        if not left:
            break
        await asyncio.sleep(0.01)
    return left
