"""Is a write executed that sat in a socket while what it writes was invalidated?"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

from alacena.testing.proxy import FaultProxy
from proving.reliability.place import Effort, Finding, folder
from proving.reliability.puppet import Strings, puppets, served
from proving.reliability.truth import Truth
from proving.servers.redis_server import RedisServer

NUMBERS = ("22",)
_TOGETHER = {"fill": 100, "set": 1}
"""How many of them one script carries at most: fills that are ready at one time leave together."""


class Zombies(NamedTuple):
    """What happened to writes that were held up.

    Attributes:
        tried: Writes that were held up in a socket.
        executed: Scripts that the server ran once they were let go.
        stored: Old values that are read afterwards.
    """

    tried: int
    executed: int
    stored: int


async def run(effort: Effort) -> list[Finding]:
    """Fills and own writes, invalidated by resource and by tenant."""
    found = []
    for what, how in (("fill", "resource"), ("fill", "tenant"), ("set", "tenant"), ("set", "resource")):
        seen = await held_up(effort, what, how)
        found.append(
            Finding(
                "22",
                f"zombie {what}, {how} invalidated",
                "alacena",
                f"{seen.tried} times: a {what} held in the proxy while another process invalidates, then let go",
                f"scripts executed late: {seen.executed}; old values stored: {seen.stored} of {seen.tried}",
                held=seen.stored == 0 and seen.executed * _TOGETHER[what] >= seen.tried,
                details={"stored": seen.stored, "executed": seen.executed},
            )
        )
    return found


async def held_up(effort: Effort, what: str, how: str) -> Zombies:
    """Let writes sit in the proxy, invalidate, let them go."""
    keys = list(range(effort.of(200, 20)))
    async with AsyncExitStack() as stack:
        home = stack.enter_context(folder())
        server = stack.enter_context(RedisServer(effort.flavour, tcp=True))
        truth = stack.enter_context(Truth.create(home / "truth", len(keys)))
        proxy = await stack.enter_async_context(FaultProxy(("127.0.0.1", server.port)))
        urls = [f"redis://127.0.0.1:{proxy.port}", server.url]
        slow, quick = await stack.enter_async_context(puppets(home, urls, redis_timeout_s=0.6))
        await served(slow)
        await _write_into(slow, proxy, what, keys)
        executed = _executed(server)
        for key in keys:
            truth.commit(key)
        await (quick.pull("invalidate", keys) if how == "resource" else quick.pull("end", "tenant"))
        proxy.up.release()
        await _until_answered(server, proxy)
        stored = 0
        for puppet in (quick, slow):
            versions = await puppet.pull("get", keys, use_memory=False)
            stored += sum(0 < v < truth.version(key) for key, v in zip(keys, versions, strict=True))
        return Zombies(len(keys), _executed(server) - executed, stored)


async def _write_into(slow: Strings, proxy: FaultProxy, what: str, keys: list[int]) -> None:
    """Have writes sent that do not arrive, and that their caller has given up or does not wait for."""
    if what == "fill":
        await slow.pull("begin", keys)
        proxy.up.hold()
        await slow.pull("finish")
    else:
        await slow.pull("load", keys[:1])
        proxy.up.hold()
        await slow.pull("set_all", keys, 1)


async def _until_answered(server: RedisServer, proxy: FaultProxy) -> None:
    """Wait until the server has executed what was let go: nothing new comes for a while."""
    executed = -1
    while (count := _executed(server)) != executed:
        executed = count
        await asyncio.sleep(0.2)
    proxy.calm()


def _executed(server: RedisServer) -> int:
    lines = server.call("INFO", "commandstats").splitlines()
    scripts = [line for line in lines if line.startswith("cmdstat_evalsha:")]
    return int(scripts[0].split("calls=")[1].split(",")[0]) if scripts else 0
