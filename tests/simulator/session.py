"""One client's connection to a simulated server: what the server knows about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.simulator.resp import CommandParser, ProtocolError, Push, encode

if TYPE_CHECKING:
    from tests.simulator.server import SimServer


class Session(asyncio.Protocol):
    """A connection and its state; the server executes, the session reads and writes.

    Attributes:
        id: What ``CLIENT ID`` answers.
        version: The protocol version, 2 until ``HELLO 3``.
        name: What ``CLIENT SETNAME`` set.
        tracking: Whether reads are tracked.
        noloop: Whether the session's own writes stay untold.
        authenticated: Whether commands other than ``AUTH`` and ``HELLO`` are allowed.
        queue: The commands of an open ``MULTI``; ``None`` outside.
        broken: Whether the open ``MULTI`` holds a command that was refused.
        watched: The keys under ``WATCH``, each with the number of its last change.
        channels: What the session is subscribed to.
    """

    def __init__(self, server: SimServer, number: int) -> None:
        self.id = number
        self.version = 2
        self.name = b""
        self.tracking = False
        self.noloop = False
        self.authenticated = server.password is None
        self.queue: list[list[bytes]] | None = None
        self.broken = False
        self.watched: dict[bytes, int] = {}
        self.channels: dict[bytes, None] = {}
        self._server = server
        self._parser = CommandParser()
        self._outbox = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.enter(self)

    def data_received(self, data: bytes) -> None:
        """Execute what is complete, then let every session that has something to say write it."""
        try:
            for words in self._parser.feed(data):
                self._server.execute(self, words)
        except ProtocolError as error:
            self._outbox += b"-ERR Protocol error: %b\r\n" % str(error).encode()
            self._server.flush()
            self.disconnect()
        self._server.flush()

    def connection_lost(self, _exc: Exception | None) -> None:
        """The client is gone."""
        self._transport = None
        self._server.leave(self)

    def push(self, message: Push) -> None:
        """Queue an out-of-band message behind what was queued before."""
        if message[0] == b"invalidate" and self._server.tracks == "swallowed":
            return
        if self.version == 3:
            self._outbox += encode(message, 3)
        elif message[0] != b"invalidate":
            self._outbox += encode(list(message), 2)

    def reply(self, value: Any) -> None:
        """Queue a reply."""
        self._outbox += encode(value, self.version)

    def flush(self) -> None:
        """Write what is queued."""
        if self._outbox and self._transport is not None:
            self._transport.write(bytes(self._outbox))
        self._outbox.clear()

    def take(self) -> bytes:
        """What is queued, for a session that is fed by hand and has no transport."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    def disconnect(self, *, hard: bool = False) -> None:
        """Close the connection from the server's side."""
        transport, self._transport = self._transport, None
        if transport is not None:
            (transport.abort if hard else transport.close)()
