"""What a server is asked, command by command (MONITOR)."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proving.servers.redis_server import RedisServer

_LINE = re.compile(rb'^\+[\d.]+ \[\d+ (?P<client>[^\]]+)\] "(?P<name>[^"]*)"(?: "(?P<first>[^"]*)")?')
_HEARTBEAT = frozenset({"INFO", "TIME"})
"""What a heartbeat asks, besides what it does to its canary."""
_END = "ECHO"
"""A command that nobody else sends: with it the watch is over, whatever others ask behind it."""


class Asked(NamedTuple):
    """One command.

    Attributes:
        client: The address that it came from; ``"lua"`` for what a script did.
        name: The command's name, in capitals.
        first: Its first argument.
    """

    client: str
    name: str
    first: str = ""

    @property
    def is_heartbeat(self) -> bool:
        """Whether a connection of ours says it whatever is asked for, and nobody waits for it."""
        return self.name in _HEARTBEAT or ":canary:" in self.first


class Monitor:
    """The commands so far, in their order."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def sent(self) -> list[Asked]:
        """What clients sent for somebody; neither heartbeats nor what their scripts did then are in it."""
        return [one for one in self.asked if one.client != "lua" and not one.is_heartbeat]

    def heartbeats(self) -> int:
        """How many commands were heartbeats."""
        return sum(one.is_heartbeat for one in self.asked)

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Take the lines down until the word that ends the watch, or the connection's end."""
        while line := await reader.readline():
            found = _LINE.match(line)
            if found is not None:
                name, first = found["name"].decode().upper(), (found["first"] or b"").decode(errors="replace")
                if name == _END:
                    return
                self.asked.append(Asked(found["client"].decode(), name, first))


@asynccontextmanager
async def monitored(server: RedisServer) -> AsyncIterator[Monitor]:
    """Watch a server during the block, and what it was asked until then."""
    reader, writer = await asyncio.open_unix_connection(str(server.socket_path), limit=1 << 24)
    writer.write(b"MONITOR\r\n")
    await reader.readline()
    monitor = Monitor()
    listening = asyncio.create_task(monitor.listen(reader))
    try:
        yield monitor
        server.call(_END, "end of the watch")
        async with asyncio.timeout(60):
            await listening
    finally:
        writer.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
