"""Does what was invalidated come back with a server that restarts from an older snapshot, or from its log?"""

from __future__ import annotations

from contextlib import AsyncExitStack

from proving.reliability.place import Effort, Finding, folder
from proving.reliability.puppet import puppets, served
from proving.reliability.truth import Truth
from proving.servers.redis_server import RedisServer

NUMBERS = ("13",)


async def run(effort: Effort) -> list[Finding]:
    """From a snapshot that is older than the invalidations, then from an append-only file."""
    found = []
    for title, extra in (("snapshot", ()), ("append-only file", ("--appendonly", "yes", "--appendfsync", "always"))):
        stale, kept, keys = await restarted(effort, extra, save=title == "snapshot")
        found.append(
            Finding(
                "13",
                f"restart from {title}",
                "alacena",
                f"{keys} entries" + (", saved, then" if title == "snapshot" else ",") + " invalidated, SIGKILL, start",
                f"resurrected: {stale} reads of 3 processes (the server came back with {kept} entries)",
                held=stale == 0,
                details={"stale": stale, "kept": kept},
            )
        )
    return found


async def restarted(effort: Effort, extra: tuple[str, ...], *, save: bool) -> tuple[int, int, int]:
    """How many reads were stale, how many entries the server came back with, and of how many."""
    keys = list(range(effort.of(500, 50)))
    async with AsyncExitStack() as stack:
        home = stack.enter_context(folder())
        server = stack.enter_context(RedisServer(effort.flavour, extra=extra))
        truth = stack.enter_context(Truth.create(home / "truth", len(keys)))
        reader, writer = await stack.enter_async_context(puppets(home, [server.url] * 2))
        await reader.pull("fill", keys)
        await writer.pull("load", keys)
        if save:
            server.call("SAVE")
        for key in keys:
            truth.commit(key)
        if await writer.pull("invalidate", keys) != len(keys):
            raise RuntimeError("not every invalidation was acknowledged")
        server.restart()
        (newcomer,) = await stack.enter_async_context(puppets(home, [server.url]))
        for puppet in (reader, writer, newcomer):
            await served(puppet)
        kept = len(server.call("KEYS", "alacena:e:*"))
        stale = 0
        for puppet in (reader, writer, newcomer):
            for verb, use_memory in (("get", True), ("get", False), ("load", True)):
                versions = await puppet.pull(verb, keys, use_memory=use_memory)
                stale += sum(0 < v < truth.version(key) for key, v in zip(keys, versions, strict=True))
        return stale, kept, len(keys)
