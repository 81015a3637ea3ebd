"""What a server is asked, command by command (MONITOR)."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.redis_server import RedisServer

_LINE = re.compile(rb'^\+[\d.]+ \[\d+ (?P<client>[^\]]+)\] "(?P<name>[^"]*)"')


class Asked(NamedTuple):
    """One command.

    Attributes:
        client: The address that it came from; ``"lua"`` for what a script did.
        name: The command's name, in capitals.
    """

    client: str
    name: str


class Monitor:
    """The commands so far, in their order."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def sent(self) -> list[Asked]:
        """What clients sent; what their scripts did then is not in it."""
        return [one for one in self.asked if one.client != "lua"]

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Take the lines down until the connection ends."""
        while line := await reader.readline():
            found = _LINE.match(line)
            if found is not None:
                self.asked.append(Asked(found["client"].decode(), found["name"].decode().upper()))


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
        server.call("ECHO", "end of the watch")
        async with asyncio.timeout(10):
            while not monitor.asked or monitor.asked[-1].name != "ECHO":
                await asyncio.sleep(0.005)
        monitor.asked = [one for one in monitor.asked if one.name != "ECHO"]
    finally:
        writer.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
