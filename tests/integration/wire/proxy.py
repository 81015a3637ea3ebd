"""A proxy between link and server that cuts, delays, swallows and encrypts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from alacena.engine.remote.redis.endpoint import Address

if TYPE_CHECKING:
    import ssl


class FaultProxy:
    """Forwards bytes from a port of loopback to a unix socket, until told to misbehave.

    Attributes:
        piece_bytes: Bytes that the server sends are passed on in pieces of this size; ``None`` as they come.
        deaf: What the client sends is read and thrown away.
        mute: What the server sends is read and thrown away.
    """

    def __init__(self, path: str, tls: ssl.SSLContext | None = None) -> None:
        self.path = path
        self.tls = tls
        self.piece_bytes: int | None = None
        self.deaf = False
        self.mute = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.reset()
        if self._pumps:
            await asyncio.wait(self._pumps)

    def reset(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self.path)
        self._writers |= {writer, server_writer}
        for pump in (self._requests(reader, server_writer), self._answers(server_reader, writer)):
            task = asyncio.ensure_future(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self.deaf:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if self.mute:
                    continue
                size = self.piece_bytes or len(data)
                for start in range(0, len(data), size):
                    writer.write(data[start : start + size])
                    await writer.drain()
                    await asyncio.sleep(0)
        except OSError:
            pass
        finally:
            writer.transport.abort()
