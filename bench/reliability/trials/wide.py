"""What does it take to end a tenant of a million entries, and is everything gone, and nothing of anybody else's?"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from alacena.engine import Cache, Settings
from bench.reliability.journal import now
from bench.reliability.monitor import monitored
from bench.reliability.place import Effort, Finding
from tests.servers.redis_server import RedisServer
from tests.servers.resp import call

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
    return found


async def ended(effort: Effort, entries: int) -> Ending:
    """Fill, end, and look at what is left."""
    with RedisServer(effort.flavour) as server:
        settings = Settings(redis_url=server.url, staleness_bound_s=_NO_HEARTBEAT)
        async with Cache(settings) as cache, Cache(settings) as other:
            for tenant in ("acme", "rival"):
                await cache.set_many("document", {f"d{number}": number for number in range(_REAL)}, tenant)
                for number in range(_REAL):
                    await other.get("document", f"d{number}", tenant)
            await asyncio.to_thread(_copy, server, entries - _REAL)
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
            sent = [one for one in monitor.sent() if one.name not in {"INFO", "TIME"}]
            return Ending(len(sent), took_s, next_read_s, alive, foreign)


async def _source() -> str:
    return "new"


async def _found(reader: Cache, tenant: str, *, use_memory: bool) -> int:
    """How many of the entries from before are read."""
    names = [f"d{number}" for number in range(1 if tenant == "acme" else 0, _REAL)]
    return len(await reader.get_many("document", names, tenant, use_memory=use_memory))


def _copy(server: RedisServer, copies: int) -> None:
    """Copy an entry under other names of its tenant: what a million entries weigh."""
    name = "alacena:e:{acme.0}:document:d0"
    for first in range(0, copies, _PAGE):
        call(server.address, "EVAL", _COPIES, 1, name, first, min(first + _PAGE, copies) - 1, timeout_s=60)
