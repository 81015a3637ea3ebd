"""What does it take to end a tenant of a million entries, and is everything gone, and nothing of anybody else's?"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from redis.asyncio import Redis

from alacena.engine import Cache, Settings
from proving.reliability.journal import now
from proving.reliability.monitor import monitored
from proving.reliability.place import Effort, Finding, attempted
from proving.reliability.rivalry import others
from proving.rivals.rival import Place
from proving.servers.redis_server import RedisServer
from proving.servers.resp import call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NUMBERS = ("16",)
_REAL = 500
_PAGE = 20_000
_NO_HEARTBEAT = 400.0
_COPIES = """
local value = redis.call('GET', KEYS[1])
for number = ARGV[1], ARGV[2] do redis.call('SET', KEYS[1] .. '.' .. number, value) end
"""


class Ending(NamedTuple):
    """How it went.

    Attributes:
        commands: What was sent to the server, heartbeats left out.
        took_s: Until the acknowledgement.
        next_read_s: The read right after it, which asks the source.
        alive: Entries of the tenant that were still read afterwards, by this process or another, by memory or not.
        foreign: Entries of another tenant that were missed.
    """

    commands: int
    took_s: float
    next_read_s: float
    alive: int
    foreign: int


async def run(effort: Effort) -> list[Finding]:
    """With ten thousand entries and with a million: it must not matter."""
    found = []
    for entries in effort.of((10_000, 1_000_000), (10_000,)):
        ending = await ended(effort, entries)
        found.append(
            Finding(
                "16",
                "wide invalidation",
                "alacena",
                f"a tenant of {entries:,} entries ({_REAL} of them in the memory of two processes' caches), and {_REAL} of "
                "another tenant",
                f"commands: {ending.commands}; {ending.took_s * 1000:.2f} ms; next read, with its load, "
                f"{ending.next_read_s * 1000:.2f} ms; still read: {ending.alive}; foreign misses: {ending.foreign}",
                held=ending.commands == 1 and not ending.alive and not ending.foreign,
                details={"commands": ending.commands, "ms": ending.took_s * 1000},
            )
        )
    patterns = {"redis-py": _scanned, "cashews": _matched, "aiocache": _cleared}
    for who in others(effort):
        if who in patterns:
            peer = _peers(who, patterns[who], effort, effort.of(1_000_000, 10_000))
            found.append(await attempted("16", "wide invalidation", who, peer))
    return found


async def _peers(who: str, end: Callable[[RedisServer], Awaitable[str]], effort: Effort, entries: int) -> Finding:
    """What other caches have for it: a pattern that every name is held against."""
    with RedisServer(effort.flavour) as server:
        for tenant, count in (("acme", entries), ("rival", _REAL)):
            server.call("SET", f"{tenant}:d0", "x" * 200)
            await asyncio.to_thread(_copy, server, f"{tenant}:d0", count - 1)
        before, began = _calls(server), now()
        how = await end(server)
        took_s, commands = now() - began, _calls(server) - before
        left = int(server.call("DBSIZE"))
    return Finding(
        "16",
        "wide invalidation",
        who,
        f"{how}: a tenant of {entries:,} entries, and {_REAL} of another tenant",
        f"commands: {commands:,}; {took_s * 1000:,.0f} ms; entries that are left: {left - _REAL}",
        details={"commands": commands, "ms": took_s * 1000},
    )


async def _scanned(server: RedisServer) -> str:
    async with Redis.from_url(server.url) as client:
        cursor = -1
        while cursor:
            cursor, names = await client.scan(max(cursor, 0), match="acme:*", count=1_000)
            if names:
                await client.unlink(*names)
    return "SCAN and UNLINK, 1,000 at a time"


async def _matched(server: RedisServer) -> str:
    cache = import_module("proving.rivals.cashews").OnRedis()
    await cache.open(Place(_source_of, str(server.socket_path)))
    await cache.cache.delete_match("acme:*")
    await cache.close()
    return "delete_match"


async def _cleared(server: RedisServer) -> str:
    cache = import_module("proving.rivals.aiocache").OnRedis()
    await cache.open(Place(_source_of, str(server.socket_path)))
    await cache._cache.clear(namespace="acme")
    await cache.close()
    return "clear(namespace)"


def _calls(server: RedisServer) -> int:
    """How many commands that find or remove keys were executed."""
    lines = [line.removeprefix("cmdstat_") for line in server.call("INFO", "commandstats").splitlines()]
    counted = [line for line in lines if line.startswith(("scan:", "keys:", "unlink:", "del:"))]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in counted)


async def _source_of(_: str) -> str:
    return "new"


async def ended(effort: Effort, entries: int) -> Ending:
    """Fill, end, and look at what is left."""
    with RedisServer(effort.flavour) as server:
        settings = Settings(redis_url=server.url, staleness_bound_s=_NO_HEARTBEAT)
        async with Cache(settings) as cache, Cache(settings) as other:
            for tenant in ("acme", "rival"):
                await cache.set_many("document", {f"d{number}": number for number in range(_REAL)}, tenant)
                for number in range(_REAL):
                    await other.get("document", f"d{number}", tenant)
            await asyncio.to_thread(_copy, server, "alacena:e:{acme.0}:document:d0", entries - _REAL)
            async with monitored(server) as monitor:
                began = now()
                await cache.invalidate("acme")
                took_s = now() - began
            began = now()
            await cache.load("document", "d0", "acme", _source)
            next_read_s = now() - began
            await asyncio.sleep(0.05)
            alive, foreign = 0, 0
            for reader in (cache, other):
                for use_memory in (True, False):
                    alive += await _found(reader, "acme", use_memory=use_memory)
                    foreign += _REAL - await _found(reader, "rival", use_memory=use_memory)
            return Ending(len(monitor.sent()), took_s, next_read_s, alive, foreign)


async def _source() -> str:
    return "new"


async def _found(reader: Cache, tenant: str, *, use_memory: bool) -> int:
    """How many of the entries from before are read."""
    names = [f"d{number}" for number in range(1 if tenant == "acme" else 0, _REAL)]
    return len(await reader.get_many("document", names, tenant, use_memory=use_memory))


def _copy(server: RedisServer, name: str, copies: int) -> None:
    """Copy an entry under other names of its tenant: what a million entries weigh."""
    for first in range(0, copies, _PAGE):
        call(server.address, "EVAL", _COPIES, 1, name, first, min(first + _PAGE, copies) - 1, timeout_s=60)
