"""Virtual time, seeded chance, and a server in memory."""

from __future__ import annotations

import asyncio
import random
import selectors
from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from alacena.engine.remote.redis.endpoint import Address, ServerAccess
    from alacena.engine.remote.redis.wire import Connection


class _Idle(selectors.SelectSelector):
    """Instead of sleeping, moves the clock."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self.loop.virtual_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when nothing else is to be done."""

    def __init__(self) -> None:
        self.virtual_s = 1000.0
        selector = _Idle()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.virtual_s


class LoopEnvironment:
    """The loop's time, and chance from a seed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int = 7) -> None:
        self.now = loop.time
        self.wall = loop.time
        self._dice = random.Random(seed)

    def random(self) -> float:
        return self._dice.random()

    def token(self, size: int) -> bytes:
        return self._dice.randbytes(size)


def run_virtually(story: Callable[[LoopEnvironment], Coroutine[Any, Any, None]], seed: int = 7) -> None:
    """Run a story in virtual time."""

    async def tell() -> None:
        await story(LoopEnvironment(asyncio.get_running_loop(), seed))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(tell())


class FakeTransport(asyncio.Transport):
    """The client's end of a socket in memory."""

    def __init__(self, server: FakeServer, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.server = server
        self.protocol = protocol
        self.open = True
        self._reader = hiredis.Reader(notEnoughData=...)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._reader.feed(bytes(data))
        while (command := self._reader.gets()) is not ...:
            answer = self.server.answer([word.decode() for word in command])
            if answer is not None:
                delay_s = self.server.delay_s
                asyncio.get_running_loop().call_later(delay_s, self._deliver, answer)

    def _deliver(self, answer: bytes) -> None:
        if self.open:
            self.protocol.data_received(answer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def abort(self) -> None:
        self.cut(None)

    def cut(self, error: Exception | None) -> None:
        """End it, from either side."""
        if self.open:
            self.open = False
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)


class FakeServer:
    """Answers from a table; refuses, stays mute or hangs up when told to."""

    def __init__(self) -> None:
        self.delay_s = 0.001
        self.refuse: Exception | None = None
        self.mute = False
        self.role = "master"
        self.script: list[bytes | None] = []
        self.seen: list[list[str]] = []
        self.dials: list[float] = []
        self.transports: list[FakeTransport] = []

    async def open(self, factory: Callable[[], asyncio.Protocol], address: Address, access: ServerAccess) -> None:
        """The link's opener."""
        self.dials.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.delay_s)
        if self.refuse is not None:
            raise self.refuse
        protocol = factory()
        transport = FakeTransport(self, protocol)
        self.transports.append(transport)
        protocol.connection_made(transport)

    def answer(self, command: list[str]) -> bytes | None:
        """The bytes of one answer; ``None`` stays mute."""
        self.seen.append(command)
        if self.mute:
            return None
        if command[0] == "HELLO":
            role = self.role.encode()
            return b"%2\r\n+server\r\n+fake\r\n+role\r\n+" + role + b"\r\n"
        if command[0] != "PING" and self.script:
            return self.script.pop(0)
        return b"+PONG\r\n" if command[0] == "PING" else b"+OK\r\n"

    def cut_all(self) -> None:
        """Reset every connection."""
        for transport in self.transports:
            transport.cut(ConnectionResetError("reset"))


def standing(connection: Connection | None) -> Connection:
    """The connection, which must be there."""
    assert connection is not None
    return connection
