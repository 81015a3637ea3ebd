"""The `asyncio.Transport` of one end of a simulated link."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.simulator.link import EOF, RESET, Link, Pipe

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Iterable

    from tests.simulator.loop import SimLoop

SOCKET_BYTES = 65_536
"""What the two systems buffer a direction before a writer's own buffer starts to grow."""


class SimTransport(asyncio.Transport):
    """One end of a `Link`.

    Args:
        loop: The simulation's loop.
        link: The connection this is an end of.
        out: The pipe that carries what is written here.
        incoming: The pipe whose bytes come out here.
        context: The context in which the protocol's methods run: the one of whoever connected or listened.
        extra: What ``get_extra_info`` knows.
    """

    def __init__(
        self, loop: SimLoop, link: Link, out: Pipe, incoming: Pipe, context: contextvars.Context, extra: dict[str, Any]
    ) -> None:
        super().__init__(extra)
        self.link = link
        self.on_lost: Callable[[SimTransport], None] | None = None
        self._loop = loop
        self._out = out
        self._incoming = incoming
        self._context = context
        self._protocol: Any = None
        self._inbox = bytearray()
        self._end: str | None = None
        self._reading = True
        self._drain_planned = False
        self._closing = False
        self._lost = False
        self._writing_paused = False
        self._high, self._low = 65_536, 16_384
        incoming.receiver = self

    def attach(self, protocol: asyncio.BaseProtocol) -> asyncio.Future[None]:
        """Give the end its protocol; the future is done when the protocol was told, as a callback of its process."""
        told: asyncio.Future[None] = self._loop.create_future()
        self._protocol = protocol
        self._loop.call_soon(protocol.connection_made, self, context=self._context)
        self._loop.call_soon(_settle, told, context=self._context)
        self._plan_drain()
        return told

    # What the pipe calls

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived. On a closed end they provoke a reset, as they do on a real one."""
        if self._closing:
            self._incoming.unread -= len(data)
            self._out.finish(RESET)
            return
        self._inbox += data
        self._plan_drain()

    def feed_end(self, kind: str) -> None:
        """Take the end of the incoming stream."""
        self._end = kind
        self._plan_drain()

    # Reading

    def _plan_drain(self) -> None:
        if self._reading and not self._drain_planned and self._protocol is not None and not self._lost:
            self._drain_planned = True
            self._loop.call_soon(self._drain, context=self._context)

    def _drain(self) -> None:
        self._drain_planned = False
        if self._lost or not self._reading:
            return
        if self._inbox and not self._closing:
            data = bytes(self._inbox)
            self._inbox.clear()
            self._incoming.unread -= len(data)
            self._hand_over(data)
            self._peer_may_write()
        if self._end is not None and not self._inbox and self._reading:
            end, self._end = self._end, None
            self._handle_end(end)

    def _hand_over(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)
            return
        view = memoryview(data)
        while view:
            buffer = memoryview(protocol.get_buffer(len(view)))
            size = min(len(buffer), len(view))
            buffer[:size] = view[:size]
            protocol.buffer_updated(size)
            view = view[size:]

    def _handle_end(self, end: str) -> None:
        if end == RESET:
            self._lose(ConnectionResetError(104, "Connection reset by peer"))
        elif self._closing:
            return
        elif not self._protocol.eof_received():
            self.close()

    def _peer_may_write(self) -> None:
        peer = self._incoming_writer()
        if peer is not None:
            peer._buffer_shrank()

    def _incoming_writer(self) -> SimTransport | None:
        receiver = self._out.receiver
        return receiver if isinstance(receiver, SimTransport) else None

    def is_reading(self) -> bool:
        """Whether arriving bytes are handed to the protocol."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Let arriving bytes pile up."""
        self._reading = False

    def resume_reading(self) -> None:
        """Hand over what piled up."""
        self._reading = True
        self._plan_drain()

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        if self._closing:
            return
        self._out.send(bytes(data))
        if not self._writing_paused and self.get_write_buffer_size() > self._high:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces as one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """A stream can be half closed."""
        return True

    def write_eof(self) -> None:
        """Close the outgoing direction behind what was written."""
        self._out.finish(EOF)

    def get_write_buffer_size(self) -> int:
        """Bytes that the two systems have no room for yet."""
        return max(0, self._out.unread - SOCKET_BYTES)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and high water marks."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the water marks, with asyncio's defaults for what is left out."""
        if high is None:
            high = 65_536 if low is None else 4 * low
        self._high = high
        self._low = high // 4 if low is None else low

    def _buffer_shrank(self) -> None:
        if self._writing_paused and self.get_write_buffer_size() <= self._low and not self._lost:
            self._writing_paused = False
            self._loop.call_soon(self._protocol.resume_writing, context=self._context)

    # Ending

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection was lost."""
        return self._closing

    def close(self) -> None:
        """Close behind what was written; the protocol hears of it in a later callback."""
        if not self._closing:
            self._closing = True
            self._out.finish(EOF)
            self._loop.call_soon(self._tell_lost, None, context=self._context)

    def abort(self) -> None:
        """Close at once; the peer sees a reset."""
        if not self._closing:
            self._closing = True
            self._out.finish(RESET)
            self._loop.call_soon(self._tell_lost, None, context=self._context)

    def _lose(self, error: Exception) -> None:
        self._closing = True
        self._out.finish(RESET)
        self._tell_lost(error)

    def _tell_lost(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        if self.on_lost is not None:
            self.on_lost(self)
        self._protocol.connection_lost(error)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch protocols."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
