"""Is a value stored that was read from the source before an invalidation and arrived after it?

Readers load, and the source answers late; meanwhile it changes and the entry is invalidated, by the reading process or by
another one. Then everybody reads again: nobody may get the old value.
"""

from __future__ import annotations

from typing import NamedTuple

from proving.reliability.crew import crew
from proving.reliability.place import Effort, Finding, folder
from proving.reliability.puppet import Strings
from proving.reliability.rivalry import OURS, others
from proving.reliability.truth import Truth
from proving.servers.redis_server import RedisServer

NUMBERS = ("1",)
_BATCH = 4
"""Keys raced at a time: each takes a thread of those contenders that are not asynchronous."""


class Variant(NamedTuple):
    """Who invalidates, and how."""

    elsewhere: bool
    how: str

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.how} by {'another' if self.elsewhere else 'the reading'} process"


async def run(effort: Effort) -> list[Finding]:
    """Ours with every way to invalidate, the others with the one that they have."""
    found = []
    for who in (OURS, *others(effort)):
        ways = ("delete", "resource", "type", "tenant") if who == OURS else ("delete",)
        for variant in [Variant(elsewhere, how) for how in ways for elsewhere in (False, True)]:
            races = effort.of(200, 12) if who == OURS else effort.of(40, 8)
            stale = await raced(who, variant, effort, races)
            found.append(_finding(who, variant, effort, races, stale))
    return found


async def raced(who: str, variant: Variant, effort: Effort, races: int) -> int:
    """After how many races somebody read an old value."""
    readers = _readers(who, effort)
    stale: set[int] = set()
    with folder() as home, RedisServer(effort.flavour) as server, Truth.create(home / "truth", races) as truth:
        arguments = {"who": who, "path": str(server.socket_path), "truth": str(home / "truth")}
        async with crew("proving.reliability.rivalry:obey", [arguments] * 2) as members:
            reader, other = (Strings(member) for member in members)
            for first in range(0, races, _BATCH):
                batch = list(range(first, min(first + _BATCH, races)))
                await reader.pull("begin", batch, readers)
                for key in batch:
                    truth.commit(key)
                writer = other if variant.elsewhere else reader
                await _invalidate(writer, variant.how, batch)
                await reader.pull("finish")
                for process in (reader, other):
                    versions = await process.pull("read", batch)
                    stale |= {key for key, v in zip(batch, versions, strict=True) if v < truth.version(key)}
    return len(stale)


def _readers(who: str, effort: Effort) -> int:
    """How many read a key at a time; where each takes a thread, one."""
    return 1 if who == "dogpile" else effort.of(8, 2)


async def _invalidate(writer: Strings, how: str, batch: list[int]) -> None:
    if how == "delete":
        await writer.pull("delete", batch)
    else:
        await writer.pull("invalidate", batch, how)


def _finding(who: str, variant: Variant, effort: Effort, races: int, stale: int) -> Finding:
    return Finding(
        "1",
        f"stale fill, {variant.title}",
        who,
        f"{races} races in 2 processes, {_readers(who, effort)} readers each",
        f"old value read after the invalidation had returned: {stale} of {races}",
        held=stale == 0 if who == OURS else None,
        details={"stale": stale, "races": races},
    )
