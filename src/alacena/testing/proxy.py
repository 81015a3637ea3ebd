"""A proxy that misbehaves on command: put it between a client and a real server and break the connection's habits.

Each direction is faulted by itself, because that is how networks fail: a half-open connection still delivers one way.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from dataclasses import dataclass, field
from typing import Literal, Self, TypeAlias

from alacena.engine.base.arguments import exact
from alacena.engine.base.errors import ArgumentError, show

Address: TypeAlias = tuple[str, int] | str
"""``(host, port)``, or the path of a unix socket."""

_CHUNK_BYTES = 65_536
_NO_LINGER = struct.pack("ii", 1, 0)


@dataclass(kw_only=True, slots=True)
class Faults:
    """The faults of one direction. Change the fields at any time; every open connection follows.

    Attributes:
        latency_s: Delay of everything, in seconds.
        jitter_s: Up to this much more, from the seed; order is kept.
        split: How bytes are cut: ``"none"``, at ``"random"`` places, or at ``"every"`` byte.
        bytes_per_s: Trickle: at most so many bytes a second; ``None`` for no limit.
        lost: Whether everything is swallowed without a word (half-open, black hole). A connection that has lost
            something is reset by the first bytes that would follow it: a stream has no holes.
        held: Whether everything is kept until it is released (a zombie write: it arrives after its writer gave up).
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    split: Literal["none", "random", "every"] = "none"
    bytes_per_s: float | None = None
    lost: bool = False
    held: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hold(self) -> None:
        """Keeps everything from now on."""
        self.held = True
        self._changed.clear()

    def release(self) -> None:
        """Delivers the held bytes and goes on."""
        self.held = False
        self._changed.set()

    async def until_released(self) -> None:
        """Waits while the direction is held."""
        # Asked again after each release: it may be held anew before this task has its turn.
        while self.held:
            await self._changed.wait()

    def calm(self) -> None:
        """Ends all faults."""
        self.latency_s = self.jitter_s = 0.0
        self.split, self.bytes_per_s, self.lost = "none", None, False
        self.release()


@dataclass(eq=False, slots=True)
class _ProxyChannel:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    pumps: tuple[asyncio.Task[None], ...] = ()

    def end(self, *, reset: bool) -> None:
        # Before they see their sides end: a pump passes an end on, and a reset would arrive as an orderly end.
        for pump in self.pumps:
            pump.cancel()
        for writer in (self.client, self.server):
            if reset:
                _prepare_reset(writer)
                writer.transport.abort()
            else:
                writer.close()


def _is_place(address: object) -> bool:
    return isinstance(address, tuple) and [type(part) for part in address] == [str, int]


class FaultProxy:
    """A proxy in front of a real server.

    ::

        async with FaultProxy(("127.0.0.1", 6379), seed=7) as proxy:
            cache = Cache(Settings(redis_url=f"redis://127.0.0.1:{proxy.port}"))
            ...
            proxy.down.lost = True          # the server's bytes vanish, the client's still arrive
            proxy.reset()                   # every connection gets a TCP reset

    Args:
        target: The server's address.
        listen: Where to listen; left out: a free port of 127.0.0.1.
        seed: Names the jitter and the random cuts.

    Attributes:
        up: Faults from the client to the server.
        down: Faults from the server to the client.
        accept_delay_s: How long a new connection waits before it is connected through, in seconds.
        refusing: Whether new connections are closed at once.
        accepted: How many connections came in so far.
    """

    def __init__(self, target: Address, *, listen: Address = ("127.0.0.1", 0), seed: int = 0) -> None:
        # Checked here: where the proxy starts to listen, nothing tells which address is meant.
        for name, address in (("target", target), ("listen", listen)):
            if not (isinstance(address, str) and address) and not _is_place(address):
                raise ArgumentError(
                    f'{name} must be ("127.0.0.1", 6379), or the path of a unix socket, not {show(address)}'
                )
        self.up = Faults()
        self.down = Faults()
        self.accept_delay_s = 0.0
        self.refusing = False
        self.accepted = 0
        self._target = target
        self._listen = listen
        self._chance = random.Random(exact(seed, "seed"))  # noqa: S311 - reproducible on purpose
        self._server: asyncio.Server | None = None
        self._channels: dict[_ProxyChannel, None] = {}
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        if isinstance(self._listen, str):
            self._server = await asyncio.start_unix_server(self._accept, self._listen)
        else:
            self._server = await asyncio.start_server(self._accept, *self._listen)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for handler in list(self._handlers):
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        self._server = None

    @property
    def address(self) -> Address:
        """The address on which the proxy listens."""
        if isinstance(self._listen, str):
            return self._listen
        assert self._server is not None, "enter the proxy's context first"
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    @property
    def port(self) -> int:
        """The port the proxy listens on.

        Raises:
            ValueError: It listens on a unix socket.
        """
        address = self.address
        if isinstance(address, tuple):
            return address[1]
        raise ArgumentError("the proxy listens on a unix socket: use its address")

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._channels)

    def cut(self) -> None:
        """Closes every connection on both sides, in order (FIN)."""
        self._end_all(reset=False)

    def reset(self) -> None:
        """Resets every connection on both sides (RST; a unix socket just closes)."""
        self._end_all(reset=True)

    def calm(self) -> None:
        """Ends all faults; connections that were cut stay cut."""
        self.up.calm()
        self.down.calm()
        self.accept_delay_s, self.refusing = 0.0, False

    def _end_all(self, *, reset: bool) -> None:
        for channel in list(self._channels):
            channel.end(reset=reset)
        self._channels.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.accepted += 1
        try:
            await asyncio.sleep(self.accept_delay_s)
            if self.refusing:
                writer.transport.abort()
            else:
                await self._connect_through(reader, writer)
        except (OSError, asyncio.CancelledError):
            # A task of start_server that ends cancelled or failed is reported as a fault of the program.
            writer.transport.abort()
        finally:
            self._handlers.discard(task)

    async def _connect_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self._target, str):
            there, back = await asyncio.open_unix_connection(self._target)
        else:
            there, back = await asyncio.open_connection(*self._target)
        channel = _ProxyChannel(writer, back)
        up = asyncio.create_task(self._pump(channel, reader, back, self.up))
        down = asyncio.create_task(self._pump(channel, there, writer, self.down))
        channel.pumps = (up, down)
        self._channels[channel] = None
        try:
            await asyncio.gather(up, down, return_exceptions=True)
        finally:
            self._channels.pop(channel, None)
            channel.end(reset=False)

    async def _pump(
        self, channel: _ProxyChannel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: Faults
    ) -> None:
        """Carries one direction: one task takes bytes in, another lets them out in order, late and in pieces."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        now = asyncio.get_running_loop().time
        outlet = asyncio.create_task(self._let_out(channel, line, writer, faults))
        try:
            while data := await _read(reader):
                # Due from its own arrival: counted from the piece before, the delays would add up.
                line.put_nowait((now() + faults.latency_s + faults.jitter_s * self._chance.random(), data))
            line.put_nowait((now() + faults.latency_s, b""))
            await outlet
        finally:
            outlet.cancel()

    async def _let_out(
        self,
        channel: _ProxyChannel,
        line: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        faults: Faults,
    ) -> None:
        now = asyncio.get_running_loop().time
        has_hole = False
        while True:
            due, data = await line.get()
            await asyncio.sleep(max(0.0, due - now()))
            await faults.until_released()
            # The end of a stream is lost as its bytes are: its receiver sees a connection that stays open.
            if faults.lost:
                has_hole = True
                continue
            if has_hole:
                # TCP sends what is missing or gives the connection up: what came later is never delivered without it.
                channel.end(reset=True)
                return
            try:
                if data:
                    await self._write(writer, data, faults)
                    continue
                if writer.can_write_eof() and not writer.is_closing():
                    writer.write_eof()
            except OSError:
                # The receiver is gone; the other direction finds that out by itself.
                pass
            return

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, faults: Faults) -> None:
        for piece in self._pieces(data, faults):
            if writer.is_closing():
                return
            writer.write(piece)
            await writer.drain()
            # Even without a rate, the pause makes the pieces separate segments.
            await asyncio.sleep(len(piece) / faults.bytes_per_s if faults.bytes_per_s else 0)

    def _pieces(self, data: bytes, faults: Faults) -> list[bytes]:
        # More than a second's bytes go one by one: in one piece they would arrive at once, and the pause after them.
        if faults.split == "every" or (faults.bytes_per_s is not None and faults.bytes_per_s < len(data)):
            return [data[index : index + 1] for index in range(len(data))]
        if faults.split == "none" or len(data) < 2:
            return [data]
        cuts = sorted(self._chance.sample(range(1, len(data)), min(3, len(data) - 1)))
        return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_CHUNK_BYTES)
    except ConnectionError:
        return b""


def _prepare_reset(writer: asyncio.StreamWriter) -> None:
    """Makes the coming close a reset: a socket that does not linger drops its bytes and sends RST."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0 and raw.family in {socket.AF_INET, socket.AF_INET6}:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
