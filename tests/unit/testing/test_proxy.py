"""The fault proxy in front of an echo server: each fault does what its name says, one direction at a time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from alacena.testing.proxy import FaultProxy, Faults
from alacena.testing.trouble import play, torment
from tests.unit.coordination.virtual import run_virtual

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.unit.coordination.virtual import VirtualEnvironment

SOON_S = 60.0


class Watched(Faults):
    """Tells when bytes have come, and when they were let out or swallowed."""

    came: asyncio.Event
    judged: asyncio.Event

    async def until_released(self) -> None:
        self.came.set()
        await super().until_released()
        self.judged.set()


def watched() -> Watched:
    faults = Watched()
    faults.came, faults.judged = asyncio.Event(), asyncio.Event()
    return faults


class Echo:
    """A server that counts what it reads and sends it back."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.chunks: list[bytes] = []
        self.arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.seen += data
                self.chunks.append(data)
                self.arrived.set()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def behind_proxy() -> AsyncIterator[tuple[FaultProxy, Echo]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    try:
        async with FaultProxy(server.sockets[0].getsockname()[:2], seed=1) as proxy:
            yield proxy, echo
    finally:
        server.close()


async def ask(proxy: FaultProxy, data: bytes = b"hello") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(data)
    return reader, writer


async def test_without_faults_bytes_pass_and_the_end_passes_too() -> None:
    async with behind_proxy() as (proxy, _):
        reader, writer = await ask(proxy)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), SOON_S) == b"hello"
        assert proxy.accepted == 1
        writer.close()


async def test_a_split_direction_delivers_every_byte_by_itself() -> None:
    async with behind_proxy() as (proxy, echo):
        proxy.up.split = "every"
        reader, writer = await ask(proxy, b"abcdefgh")
        assert await asyncio.wait_for(reader.readexactly(8), SOON_S) == b"abcdefgh"
        assert len(echo.chunks) > 1
        writer.close()


async def test_a_lost_answer_still_reaches_the_server() -> None:
    async with behind_proxy() as (proxy, echo):
        proxy.down = faults = watched()
        faults.lost = True
        reader, writer = await ask(proxy)
        await asyncio.wait_for(faults.judged.wait(), SOON_S)
        assert echo.arrived.is_set()
        proxy.cut()
        assert await asyncio.wait_for(reader.read(), SOON_S) == b""
        writer.close()


async def test_a_lost_request_never_reaches_the_server() -> None:
    async with behind_proxy() as (proxy, echo):
        proxy.up = faults = watched()
        faults.lost = True
        reader, writer = await ask(proxy)
        await asyncio.wait_for(faults.judged.wait(), SOON_S)
        proxy.cut()
        assert await asyncio.wait_for(reader.read(), SOON_S) == b""
        assert not echo.seen
        writer.close()


async def test_a_stream_has_no_hole_where_something_was_lost() -> None:
    async with behind_proxy() as (proxy, _):
        proxy.down = faults = watched()
        faults.lost = True
        reader, writer = await ask(proxy, b"lost")
        await asyncio.wait_for(faults.judged.wait(), SOON_S)
        proxy.calm()
        writer.write(b"later")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(9), SOON_S)
        writer.close()


async def test_held_bytes_arrive_when_released_although_their_writer_has_gone() -> None:
    async with behind_proxy() as (proxy, echo):
        proxy.up = faults = watched()
        faults.hold()
        _, writer = await ask(proxy, b"zombie")
        await asyncio.wait_for(faults.came.wait(), SOON_S)
        writer.close()
        await writer.wait_closed()
        assert not echo.seen
        proxy.up.release()
        await asyncio.wait_for(echo.arrived.wait(), SOON_S)
        assert echo.seen == b"zombie"


async def test_a_reset_is_a_reset_and_a_cut_is_an_end() -> None:
    async with behind_proxy() as (proxy, _):
        reader, writer = await ask(proxy)
        await asyncio.wait_for(reader.readexactly(5), SOON_S)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), SOON_S)
        writer.close()
        reader, writer = await ask(proxy)
        await asyncio.wait_for(reader.readexactly(5), SOON_S)
        proxy.cut()
        assert await asyncio.wait_for(reader.read(1), SOON_S) == b""
        assert proxy.connections == 0
        writer.close()


async def test_latency_delays_without_reordering() -> None:
    async with behind_proxy() as (proxy, _):
        proxy.up.latency_s, proxy.up.jitter_s = 0.05, 0.05
        loop = asyncio.get_running_loop()
        began = loop.time()
        reader, writer = await ask(proxy, b"1")
        for number in b"2345":
            for _ in range(5):
                await asyncio.sleep(0)
            writer.write(bytes([number]))
        assert await asyncio.wait_for(reader.readexactly(5), SOON_S) == b"12345"
        assert loop.time() - began >= 0.05
        writer.close()


async def test_a_refusing_proxy_closes_at_once() -> None:
    async with behind_proxy() as (proxy, echo):
        proxy.refusing = True
        reader, writer = await ask(proxy)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), SOON_S)
        assert not echo.seen
        writer.close()


async def test_a_unix_socket_can_be_proxied_to_a_unix_socket(tmp_path: Path) -> None:
    echo = Echo()
    server = await asyncio.start_unix_server(echo.serve, str(tmp_path / "real"))
    async with FaultProxy(str(tmp_path / "real"), listen=str(tmp_path / "proxy")) as proxy:
        assert proxy.address == str(tmp_path / "proxy")
        with pytest.raises(ValueError, match="use its address"):
            _ = proxy.port
        reader, writer = await asyncio.open_unix_connection(proxy.address)
        writer.write(b"x")
        assert await asyncio.wait_for(reader.readexactly(1), SOON_S) == b"x"
        writer.close()
    server.close()


async def test_a_script_plays_in_order() -> None:
    async with behind_proxy() as (proxy, _):
        await play(proxy, [(0.0, lambda p: setattr(p.up, "lost", True)), (0.0, FaultProxy.calm)])
        assert not proxy.up.lost


def test_torment_repeats_itself_and_ends_calm() -> None:
    async def two(_: VirtualEnvironment) -> list[list[str]]:
        proxy = FaultProxy("127.0.0.1:1")
        done = []
        for _ in range(2):
            done.append(await torment(proxy, duration_s=10.0, every_s=0.1, seed=3))
            assert not any([proxy.up.lost, proxy.down.lost, proxy.up.held, proxy.down.held])
        return done

    first, second = run_virtual(two)
    assert len(first) > 50
    assert first == second
