"""The floor on the wire: an asyncio protocol on hiredis without deadlines, limits, pushes or errors; msgpack by msgspec.

Futures in a queue; what is asked for in one turn of the loop leaves in one write, a lone command at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis
import msgspec

from proving.rivals.rival import BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class BareProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=...)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def call(self, *command: Any) -> asyncio.Future[Any]:
        """Send one command."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self._waiting.append(future)
            self.transport.write(hiredis.pack_command(command))
            return future
        self._waiting.append(future)
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(command))
        return future

    def _flush(self) -> None:
        self.transport.write(b"".join(self._out))
        self._out.clear()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        gets, popleft = self._reader.gets, self._waiting.popleft
        while (reply := gets()) is not ...:
            future = popleft()
            if not future.done():
                future.set_result(reply)


class Bare(Drops, BatchRunner):
    """The protocol, and msgspec around values."""

    about = "hiredis on an asyncio protocol; msgspec msgpack"

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._ttl_s = place.ttl_s
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder().decode
        loop = asyncio.get_running_loop()
        if place.port:
            _, self.protocol = await loop.create_connection(BareProtocol, "127.0.0.1", place.port)
        else:
            _, self.protocol = await loop.create_unix_connection(BareProtocol, place.path)

    async def get(self, key: str) -> Any:
        data = await self.protocol.call("GET", key)
        return None if data is None else self._decode(data)

    async def set(self, key: str, value: Any) -> None:
        await self.protocol.call("SET", key, self._encode(value), "EX", self._ttl_s)

    async def get_or_load(self, key: str) -> Any:
        value = await self.get(key)
        if value is None:
            value = await self._load(key)
            await self.set(key, value)
        return value

    async def delete(self, key: str) -> None:
        await self.protocol.call("UNLINK", key)

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        found = await self.protocol.call("MGET", *keys)
        return [None if data is None else self._decode(data) for data in found]

    async def set_many(self, values: Mapping[str, Any]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values.items()))

    async def close(self) -> None:
        self.protocol.transport.close()
