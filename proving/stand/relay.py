"""A relay that counts: what goes through a unix socket, and how often the talk changes sides."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Self

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable


_HOLD_S = 0.002
_HEARTBEAT = frozenset({"INFO", "TIME"})
"""What a heartbeat of ours asks, besides what it does to its canary; nobody else's commands look like this."""


class _Side(asyncio.Protocol):
    """One end of one connection."""

    def __init__(self, relay: Relay, *, upward: bool) -> None:
        self._relay = relay
        self._upward = upward
        self._reader = hiredis.Reader()
        self._early: list[bytes] = []
        self._held: deque[bytes] = deque()
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._relay.transports.add(transport)
        if self._upward:
            self._relay.pair(self)

    def data_received(self, data: bytes) -> None:
        if self._upward:
            self._count(data)
            self._deliver(data)
        else:
            self._held.append(data)
            self._relay.later(self._release)

    def _release(self) -> None:
        self._deliver(self._held.popleft())

    def _deliver(self, data: bytes) -> None:
        self._relay.passed(len(data), upward=self._upward)
        if self.other is None or self.other.transport is None:
            self._early.append(data)
        else:
            self.other.transport.write(data)

    def _count(self, data: bytes) -> None:
        """A command is an array of strings: what parses answers parses it too."""
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self._relay.note(command)

    def join(self, other: _Side) -> None:
        """Send to ``other`` from now on, and what came before it was there."""
        self.other = other
        if other.transport is not None and self._early:
            other.transport.write(b"".join(self._early))
            self._early.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self._relay.transports.discard(self.transport)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Relay:
    """Between a client and a server, in a thread of its own; never while something is timed.

    Every answer is held back for a moment. A round trip is counted when the client hears something after it spoke: what
    it said meanwhile is one round trip with it, and what it says only then is the next.

    Attributes:
        round_trips: How many.
        sent_bytes: From the client to the server.
        received_bytes: From the server to the client.
        asked: Commands sent, without heartbeats. What scripts execute on the server is not among them.
        heartbeats: Commands of our connections' heartbeats, which belong to nobody's wait.
        transports: The connections that stand, both ends of each.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._folder = tempfile.TemporaryDirectory(prefix="relay-")
        self.path = str(Path(self._folder.name) / "s")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self.transports: set[asyncio.Transport] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._client_spoke = False
        self.round_trips = self.sent_bytes = self.received_bytes = self.asked = self.heartbeats = 0

    @property
    def url(self) -> str:
        """For whoever takes a URL."""
        return f"unix://{self.path}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._folder.cleanup()

    async def _listen(self) -> None:
        self._server = await self._loop.create_unix_server(lambda: _Side(self, upward=True), self.path)

    async def _end(self) -> None:
        self._server.close()
        for transport in tuple(self.transports):
            transport.abort()
        await asyncio.sleep(0)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def later(self, release: Callable[[], None]) -> None:
        """Hold an answer back."""
        self._loop.call_later(_HOLD_S, release)

    def reset(self) -> None:
        """Count from 0."""
        self.round_trips = self.sent_bytes = self.received_bytes = self.asked = self.heartbeats = 0
        self._client_spoke = False

    def note(self, command: list[bytes]) -> None:
        """A command was sent."""
        if command[0].decode().upper() in _HEARTBEAT or (len(command) > 1 and b":canary:" in command[1]):
            self.heartbeats += 1
        else:
            self.asked += 1

    def passed(self, size: int, *, upward: bool) -> None:
        """Bytes went through."""
        if upward:
            self.sent_bytes += size
            self._client_spoke = True
            return
        self.received_bytes += size
        self.round_trips += self._client_spoke
        self._client_spoke = False

    def pair(self, client: _Side) -> None:
        """Connect a new client to the server."""
        task = self._loop.create_task(self._connect(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: _Side) -> None:
        server = _Side(self, upward=False)
        await self._loop.create_unix_connection(lambda: server, self._target)
        server.join(client)
        client.join(server)
