"""Does a process still serve its own copy of what was removed while it could not be told, one second and more later?

Asked of the caches that keep copies in their process and have the server tell them of changes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proving.reliability.crew import crew
from proving.reliability.place import Effort, Finding, folder
from proving.reliability.puppet import Strings
from proving.reliability.rivalry import OURS, others
from proving.reliability.truth import Truth
from proving.servers.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = ("8", "15")
_KEEPERS = (OURS, "coredis")
_WAIT_S = 1.1
"""More than our bound of one second."""


def _flush(server: RedisServer) -> None:
    server.call("FLUSHALL")


def _kill(server: RedisServer) -> None:
    """Kill the connections through which entries were read, which the server tracks; then remove the entries."""
    for line in server.call("CLIENT", "LIST").splitlines():
        facts = dict(part.split("=", 1) for part in line.split(" ") if "=" in part)
        if "t" in facts["flags"]:
            server.call("CLIENT", "KILL", "ID", facts["id"])
    names = server.call("KEYS", "*")
    server.call("DEL", *names)


_EVENTS: tuple[tuple[str, str, Callable[[RedisServer], None]], ...] = (
    ("15", "FLUSHALL", _flush),
    ("8", "tracked connections killed, then everything removed", _kill),
)


async def run(effort: Effort) -> list[Finding]:
    """Both events, for each cache that keeps copies."""
    found = []
    keys = effort.of(100, 20)
    for who in [OURS, *(who for who in others(effort) if who in _KEEPERS)]:
        for number, event, happen in _EVENTS:
            stale = await kept(who, effort, keys, happen)
            found.append(
                Finding(
                    number,
                    f"copies after: {event}",
                    who,
                    f"{keys} entries that a process has read twice",
                    f"still served {_WAIT_S:g} s later: {stale} of {keys}",
                    held=stale == 0 if who == OURS else None,
                    details={"stale": stale},
                )
            )
    return found


async def kept(who: str, effort: Effort, keys: int, happen: Callable[[RedisServer], None]) -> int:
    """How many removed entries a process still has."""
    with folder() as home, RedisServer(effort.flavour) as server, Truth.create(home / "truth", keys):
        arguments = {"who": who, "path": str(server.socket_path), "truth": str(home / "truth")}
        async with crew("proving.reliability.rivalry:obey", [arguments]) as (member,):
            holder = Strings(member)
            for _ in range(2):
                await holder.pull("read", list(range(keys)))
            await holder.pull("look", list(range(keys)))
            await asyncio.to_thread(happen, server)
            await asyncio.sleep(_WAIT_S)
            looks = [await holder.pull("look", list(range(keys))) for _ in range(3)]
            return sum(any(versions) for versions in zip(*looks, strict=True))
