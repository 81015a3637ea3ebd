"""How long is an invalidated value served by a process whose connection is half open, in each direction?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from alacena.testing.proxy import FaultProxy
from proving.reliability.journal import now
from proving.reliability.place import Effort, Finding, folder
from proving.reliability.puppet import Strings, puppets, served
from proving.reliability.truth import Truth
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NUMBERS = ("6",)
_BOUND_S = 0.5


async def run(effort: Effort) -> list[Finding]:
    """The server's bytes vanish, the client's do, both do, or everything stands still."""
    ways: dict[str, Callable[[FaultProxy], None]] = {
        "server to client lost": lambda proxy: setattr(proxy.down, "lost", True),
        "client to server lost": lambda proxy: setattr(proxy.up, "lost", True),
        "both held": _hold,
    }
    rounds = [load for load in (False, True) for _ in range(effort.of(5, 1))]

    async def spoilt(way: str, spoil: Callable[[FaultProxy], None]) -> Finding:
        return _finding(way, [await _staleness(effort, spoil, load=load) for load in rounds])

    return list(await asyncio.gather(*(spoilt(way, spoil) for way, spoil in ways.items())))


def _hold(proxy: FaultProxy) -> None:
    proxy.up.hold()
    proxy.down.hold()


async def _staleness(effort: Effort, spoil: Callable[[FaultProxy], None], *, load: bool) -> float:
    """How long after the acknowledgement the old value was still asked for and got, in seconds."""
    async with AsyncExitStack() as stack:
        home = stack.enter_context(folder())
        server = stack.enter_context(RedisServer(effort.flavour, tcp=True))
        truth = stack.enter_context(Truth.create(home / "truth", 1))
        proxy = await stack.enter_async_context(FaultProxy(server.address, seed=effort.seed))
        reader, writer = await _open(stack, home, proxy, server)
        await served(reader)
        await reader.pull("fill", [0])
        await reader.pull("get", [0])
        reader.begin("spin", 0, 3 * _BOUND_S, load=load)
        spoil(proxy)
        truth.commit(0)
        if not await writer.pull("invalidate", [0]):
            raise RuntimeError("the invalidation was not acknowledged")
        acknowledged_at = now()
        seen = await reader.answer()
        proxy.calm()
    return max((called_at - acknowledged_at for called_at, _, version in seen if version == 1), default=0.0)


async def _open(stack: AsyncExitStack, home: Path, proxy: FaultProxy, server: RedisServer) -> list[Strings]:
    urls = [f"redis://127.0.0.1:{proxy.port}", server.url]
    return await stack.enter_async_context(puppets(home, urls, staleness_bound_s=_BOUND_S))


def _finding(way: str, stale: list[float]) -> Finding:
    worst = max(stale)
    return Finding(
        "6",
        f"half-open connection, {way}",
        "alacena",
        f"{len(stale)} times: a value in memory of a process that reads it about 500 times a second, connection spoilt, "
        f"invalidated by another process, H = {_BOUND_S * 1000:.0f} ms",
        f"old value last asked for {worst * 1000:.0f} ms after the acknowledgement",
        held=worst <= _BOUND_S,
        details={"max_ms": worst * 1000},
    )
