"""Clients of an HTTP server that ask again as soon as they have an answer, over connections that stay open."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"
_FINE = b"HTTP/1.1 200"


class Answers(NamedTuple):
    """What a crowd of clients was answered.

    Attributes:
        per_s: Answers a second.
        waits_s: How long each took.
        failed: How many were no answer with status 200.
    """

    per_s: float
    waits_s: list[float]
    failed: int


class _Client(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._whole = 0
        self._began_s = 0.0
        self._paths: Iterator[str] = iter(())
        self._until_s = 0.0
        self._ended: asyncio.Future[None] | None = None
        self.waits_s: list[float] = []
        self.failed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, paths: Iterator[str], until_s: float) -> asyncio.Future[None]:
        """Asks for one path after the other until that time."""
        self._paths, self._until_s, self.waits_s, self.failed = paths, until_s, [], 0
        self._ended = asyncio.get_running_loop().create_future()
        self._send()
        return self._ended

    def _send(self) -> None:
        self._began_s = time.perf_counter()
        self.transport.write(f"GET {next(self._paths)} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._whole:
            head = received.find(_END_OF_HEAD)
            if head < 0:
                return
            self.failed += not received.startswith(_FINE)
            lines = bytes(received[:head]).lower().split(b"\r\n")
            length = next(line for line in lines if line.startswith(_LENGTH))
            self._whole = head + len(_END_OF_HEAD) + int(length[len(_LENGTH) :])
        if len(received) < self._whole:
            return
        received.clear()
        self._whole = 0
        now_s = time.perf_counter()
        self.waits_s.append(now_s - self._began_s)
        if now_s < self._until_s:
            self._send()
        elif self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the server ended the connection"))

    def _fail(self, error: Exception) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)


class Clients:
    """A number of connections to one port of 127.0.0.1.

    Args:
        port: The port.
        count: How many connections.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._clients: list[_Client] = []

    async def open(self) -> None:
        """Connects all of them."""
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, client = await loop.create_connection(_Client, "127.0.0.1", self._port)
            self._clients.append(client)

    async def ask(self, paths: Callable[[], Iterator[str]], seconds: float) -> Answers:
        """Lets every client ask for paths of its own for so long."""
        began_s = time.perf_counter()
        await asyncio.gather(*(client.ask(paths(), began_s + seconds) for client in self._clients))
        took_s = time.perf_counter() - began_s
        waits_s = [wait_s for client in self._clients for wait_s in client.waits_s]
        return Answers(len(waits_s) / took_s, waits_s, sum(client.failed for client in self._clients))

    def close(self) -> None:
        """Ends all connections."""
        for client in self._clients:
            client.transport.abort()
