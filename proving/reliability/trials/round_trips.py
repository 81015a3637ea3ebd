"""How many times does each operation wait for the server?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from alacena.engine import Cache, Settings
from proving.reliability.place import Effort, Finding, attempted
from proving.reliability.rivalry import contender, others
from proving.rivals.rival import Drops, Place
from proving.servers.redis_server import RedisServer
from proving.stand.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Before = Callable[[Cache, str], Awaitable[Any]]
    Work = Callable[[Cache, str, Callable[[], Awaitable[int]]], Awaitable[Any]]

NUMBERS = ("47",)
_NO_HEARTBEAT = 400.0


async def _loaded() -> int:
    return 1


async def _set(cache: Cache, name: str) -> None:
    await cache.set("document", name, 1, "acme")


async def _nothing(cache: Cache, name: str) -> None:
    """The key is cold."""


async def _set_and_read(cache: Drops, name: str) -> None:
    await cache.set(name, 1)
    await cache.get(name)


async def _no_set(cache: Drops, name: str) -> None:
    """The key is cold for another cache too."""


LEDGER: tuple[tuple[str, int, Before, Work], ...] = (
    ("memory hit", 0, _set, lambda cache, name, _: cache.get("document", name, "acme")),
    ("Redis hit", 1, _set, lambda cache, name, _: cache.get("document", name, "acme", use_memory=False)),
    (
        "miss, until the source is asked",
        2,
        _nothing,
        lambda cache, name, source: cache.load("document", name, "acme", source),
    ),
    ("set", 1, _nothing, lambda cache, name, _: _set(cache, name)),
    ("delete", 1, _set, lambda cache, name, _: cache.delete("document", name, "acme")),
    ("invalidate a resource", 1, _set, lambda cache, name, _: cache.invalidate("acme", "document", name)),
    ("invalidate a type", 1, _set, lambda cache, name, _: cache.invalidate("acme", "document")),
    ("invalidate a tenant", 1, _set, lambda cache, name, _: cache.invalidate("acme")),
    (
        "get 100",
        1,
        _nothing,
        lambda cache, name, _: cache.get_many("document", [f"{name}-{n}" for n in range(100)], "acme"),
    ),
)
"""Operation, round trips promised, what comes before it, and the operation."""


async def _one(_: str) -> int:
    return 1


PEERS_LEDGER: tuple[tuple[str, Callable[[Drops, str], Awaitable[Any]], Callable[[Drops, str], Awaitable[Any]]], ...] = (
    ("hit", lambda cache, name: cache.set(name, 1), lambda cache, name: cache.get(name)),
    ("second hit", _set_and_read, lambda cache, name: cache.get(name)),
    ("miss with its fill", _no_set, lambda cache, name: cache.get_or_load(name)),
    ("delete", lambda cache, name: cache.set(name, 1), lambda cache, name: cache.delete(name)),
)
"""Operation, what comes before it, and the operation, in the words of the other caches."""


async def run(effort: Effort) -> list[Finding]:
    """Each operation again and again, through a relay that counts."""
    times = effort.of(100, 20)
    found: list[Finding] = []
    for name, promised, before, work in LEDGER:
        counts = await counted(effort, before, work, times)
        found.append(
            Finding(
                "47",
                f"round trips: {name}",
                "alacena",
                f"{times} times",
                f"{min(counts)} to {max(counts)}, promised {promised}",
                held=max(counts) <= promised,
                details={"max": max(counts)},
            )
        )
    peers = [await attempted("47", "round trips", who, _peers(who, effort, times)) for who in others(effort)]
    return [*found, *peers]


async def _peers(who: str, effort: Effort, times: int) -> Finding:
    """The same of another cache, for the operations that it has; what goes on behind an answer is not counted."""
    figures = []
    with RedisServer(effort.flavour) as server, Relay(str(server.socket_path)) as relay:
        cache = contender(who)
        await cache.open(Place(_one, relay.path))
        try:
            await cache.get_or_load("first")
            for name, before, work in PEERS_LEDGER:
                counts = []
                for number in range(times):
                    await before(cache, f"{name}-{number}")
                    await _settled(relay)
                    relay.reset()
                    await work(cache, f"{name}-{number}")
                    counts.append(relay.round_trips)
                figures.append(f"{name} {min(counts)} to {max(counts)}")
        finally:
            await cache.close()
    return Finding("47", "round trips", who, f"{times} times each", "; ".join(figures))


async def counted(effort: Effort, before: Before, work: Work, times: int) -> list[int]:
    """The round trips of each of so many operations; of one that asks the source, those before it does.

    What comes behind that, the fill, nobody waits for.
    """
    counts: list[int] = []
    at_source: list[int] = []

    async def source() -> int:
        at_source.append(relay.round_trips)
        return 1

    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(effort.flavour))
        relay = stack.enter_context(Relay(str(server.socket_path)))
        settings = Settings(redis_url=relay.url, staleness_bound_s=_NO_HEARTBEAT)
        cache = await stack.enter_async_context(Cache(settings))
        await cache.load("document", "first", "acme", _loaded)
        for number in range(times):
            await before(cache, f"d{number}")
            await _settled(relay)
            relay.reset()
            await work(cache, f"d{number}", source)
            counts.append(at_source.pop() if at_source else relay.round_trips)
    return counts


async def _settled(relay: Relay) -> None:
    """Wait until nothing is under way: what goes on behind an answer belongs to nobody's wait."""
    seen = -1
    while (spoken := relay.sent_bytes + relay.received_bytes) != seen:
        seen = spoken
        await asyncio.sleep(0.01)
