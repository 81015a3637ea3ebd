"""An in-memory transport: the test plays the server, byte by byte."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis

from alacena.engine.remote.redis.wire import Connection, WireLimits


class MemoryTransport(asyncio.Transport):
    """Keeps what is written; hangs up when told to."""

    def __init__(self, protocol: asyncio.Protocol, extra: dict[str, Any] | None = None) -> None:
        super().__init__(extra)
        self.protocol = protocol
        self.writes: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.aborted, "a closed transport must not be written to"
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def commands(self) -> list[list[bytes]]:
        """Everything that was written, parsed."""
        reader = hiredis.Reader(notEnoughData=...)
        reader.feed(b"".join(self.writes))
        parsed: list[list[bytes]] = []
        while (command := reader.gets()) is not ...:
            parsed.append(command)
        return parsed


def connect(**kwargs: Any) -> tuple[Connection, MemoryTransport]:
    """An open connection to a peer that answers when the test does."""
    extra = kwargs.pop("extra", None)
    limits = kwargs.pop("limits", None) or WireLimits(**kwargs.pop("bounds", {}))
    connection = Connection(limits=limits, **kwargs)
    transport = MemoryTransport(connection, extra)
    connection.connection_made(transport)
    return connection, transport


def bulk(value: bytes) -> bytes:
    """A string as the server sends it."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


async def turns(count: int = 3) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)
