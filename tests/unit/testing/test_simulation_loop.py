"""The simulated loop, network and processes: time is virtual, order is the seed's, faults are what their names say."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator import (
    LinkProfile,
    SimDeadlockError,
    SimLoop,
    SimOptions,
    SimStuckError,
    Simulation,
    SimUnsupportedError,
    UnhandledError,
    explore,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DETAILED = SimOptions(profile=LinkProfile(split_ratio=0.4, stall_ratio=0.05), detailed_trace=True)


class Echo(asyncio.Protocol):
    """A server that answers with what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(asyncio.Protocol):
    """A client that keeps what it gets, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.paused = False
        self.eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)

    def eof_received(self) -> None:
        self.eof = True

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    @property
    def got(self) -> bytes:
        return b"".join(self.pieces)


async def connect(address: Any = ("echo", 7), factory: Callable[[], asyncio.Protocol] = Echo) -> Client:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimLoop)
    if loop.network is not None and loop.network.listener(address) is None:
        await loop.create_server(factory, *address)
    _, protocol = await loop.create_connection(Client, *address)
    assert isinstance(protocol, Client)
    return protocol


async def chatter(sim: Simulation) -> list[bytes]:
    async def talk(number: int) -> bytes:
        client = await connect()
        for count in range(10):
            client.transport.write(b"%d.%d " % (number, count))
            await asyncio.sleep(0.01)
        await asyncio.sleep(60)
        return client.got

    return list(await asyncio.gather(*(talk(number) for number in range(4))))


def test_equal_seeds_give_byte_identical_traces_and_others_do_not() -> None:
    first, second, other = (run(chatter, seed=seed, options=DETAILED) for seed in (1, 1, 2))
    assert first.trace.text() == second.trace.text()
    assert (first.steps, first.virtual_s) == (second.steps, second.virtual_s)
    assert first.trace.digest() != other.trace.digest()
    assert first.result == other.result


def test_hours_pass_in_no_time() -> None:
    async def main(_sim: Simulation) -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert run(main, seed=0).result == 86_400


def test_ready_tasks_run_in_every_order_and_callbacks_in_theirs() -> None:
    async def main(_sim: Simulation) -> tuple[str, str]:
        tasks, callbacks = [], []

        async def step(name: str) -> None:
            tasks.append(name)

        loop = asyncio.get_running_loop()
        for name in "abc":
            loop.call_soon(callbacks.append, name)
        await asyncio.gather(*(step(name) for name in "abc"))
        return "".join(tasks), "".join(callbacks)

    results = [run(main, seed=seed).result for seed in range(60)]
    assert len({tasks for tasks, _ in results}) == 6
    assert {callbacks for _, callbacks in results} == {"abc"}
    assert run(main, seed=0, options=SimOptions(schedule="fifo")).result == ("abc", "abc")


def test_a_failure_names_its_seed() -> None:
    async def main(sim: Simulation) -> None:
        assert sim.chance.random() > 0.5

    report = explore(main, range(50), stop_after=1000)
    assert report.runs == 50
    assert 10 < len(report.failures) < 40
    seed, error = next(iter(report.failures.items()))
    assert f"run again with seed={seed}" in error.__notes__[0]


def test_waiting_for_nothing_is_a_deadlock_that_names_the_waiters() -> None:
    async def main(_sim: Simulation) -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="forgotten")

    with pytest.raises(SimDeadlockError, match="forgotten"):
        run(main, seed=0)


def test_a_livelock_ends_at_the_step_limit() -> None:
    async def main(_sim: Simulation) -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(SimStuckError, match="after 1001 steps"):
        run(main, seed=0, options=SimOptions(max_steps=1000))


def test_an_error_that_nobody_looks_at_fails_the_run() -> None:
    async def main(_sim: Simulation) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(UnhandledError, match="ZeroDivisionError"):
        run(main, seed=0)
    run(main, seed=0, options=SimOptions(allow_unhandled=True))


def test_threads_and_tls_are_refused() -> None:
    async def thread(_sim: Simulation) -> object:
        return await asyncio.to_thread(lambda: 7)

    async def tls(_sim: Simulation) -> None:
        await asyncio.open_connection("host", 1, ssl=True)

    with pytest.raises(SimUnsupportedError, match="needs a thread"):
        run(thread, seed=0)
    assert run(thread, seed=0, options=SimOptions(executor="inline")).result == 7
    with pytest.raises(SimUnsupportedError, match="ssl"):
        run(tls, seed=0)


def test_nobody_listening_is_a_refusal_and_an_outage_can_be_silent() -> None:
    async def main(sim: Simulation) -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("nobody", 1)
        with pytest.raises(FileNotFoundError):
            await asyncio.open_unix_connection("/nowhere")
        await connect()
        sim.network.fail(("echo", 7), "blackhole")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connect(), 30)
        sim.network.fail(("echo", 7), "refuse")
        with pytest.raises(ConnectionRefusedError):
            await connect()
        sim.network.restore(("echo", 7))
        await connect()

    run(main, seed=0)


def test_streams_work_over_tcp_and_unix_sockets() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    async def main(_sim: Simulation) -> list[bytes]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        other = await asyncio.start_unix_server(serve, "/run/s")
        assert isinstance(server, asyncio.AbstractServer)
        address = server.address  # type: ignore[attr-defined]
        answers = []
        for opened in (asyncio.open_connection(*address), asyncio.open_unix_connection("/run/s")):
            reader, writer = await opened
            writer.write(b"hello\n")
            answers.append(await reader.read())
            writer.close()
            await writer.wait_closed()
        other.close()
        with pytest.raises(FileNotFoundError):
            await asyncio.open_unix_connection("/run/s")
        return answers

    assert run(main, seed=5).result == [b"HELLO\n", b"HELLO\n"]


def test_a_closed_connection_ends_in_order_and_a_reset_one_with_an_error() -> None:
    async def main(sim: Simulation) -> None:
        client = await connect()
        client.transport.write(b"last words")
        client.transport.close()
        assert await client.lost is None
        client = await connect()
        (link,) = sim.network.links
        link.reset()
        assert isinstance(await client.lost, ConnectionResetError)
        await asyncio.sleep(1)
        assert sim.network.links == []

    run(main, seed=0)


def test_each_direction_can_be_lost_by_itself() -> None:
    async def main(sim: Simulation) -> None:
        client = await connect()
        await asyncio.sleep(1)
        (link,) = sim.network.links
        link.down.blackhole()
        client.transport.write(b"heard but not answered")
        await asyncio.sleep(10)
        assert client.got == b""
        assert not client.lost.done()

    run(main, seed=0)


def test_stalled_bytes_arrive_when_released_in_one_piece() -> None:
    async def main(sim: Simulation) -> None:
        client = await connect()
        await asyncio.sleep(1)
        (link,) = sim.network.links
        link.down.stall()
        for word in (b"a", b"b", b"c"):
            client.transport.write(word)
            await asyncio.sleep(1)
        assert client.pieces == []
        link.down.release()
        await asyncio.sleep(0.001)
        assert client.pieces == [b"abc"]

    run(main, seed=0)


def test_a_slow_reader_pauses_the_writer() -> None:
    class Sink(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            asyncio.get_running_loop().call_later(5, transport.resume_reading)

    async def main(_sim: Simulation) -> None:
        client = await connect(("sink", 9), Sink)
        client.transport.write(bytes(200_000))
        assert client.paused
        await asyncio.sleep(10)
        assert not client.paused
        assert client.transport.get_write_buffer_size() == 0

    run(main, seed=0)


def test_a_buffered_protocol_gets_every_byte() -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.got = b""
            self.buffer = bytearray(3)

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.got += self.buffer[:nbytes]

    async def main(_sim: Simulation) -> bytes:
        await connect()
        transport, protocol = await asyncio.get_running_loop().create_connection(Buffered, "echo", 7)
        transport.write(b"0123456789")
        await asyncio.sleep(1)
        return protocol.got

    assert run(main, seed=0).result == b"0123456789"


def test_a_paused_process_stands_still_and_catches_up_in_order() -> None:
    async def main(sim: Simulation) -> None:
        process, seen = sim.process("p"), []

        async def tick() -> None:
            for count in range(10):
                seen.append((count, sim.now()))
                await asyncio.sleep(1)

        task = process.spawn(tick())
        await asyncio.sleep(2.5)
        process.pause_for(4)
        await asyncio.sleep(3)
        assert len(seen) == 3
        await task
        assert [count for count, _ in seen] == list(range(10))
        assert seen[3][1] == 6.5

    run(main, seed=0)


def test_a_killed_process_runs_nothing_more_and_its_peer_hears_of_it_unless_the_machine_is_gone() -> None:
    async def main(sim: Simulation) -> None:
        for silently in (False, True):
            ended = asyncio.Event()

            class Watch(Echo):
                def eof_received(self, ended: asyncio.Event = ended) -> None:
                    ended.set()

            address = (f"watch{silently}", 1)
            await asyncio.get_running_loop().create_server(Watch, *address)
            process, steps = sim.process(f"p{silently}"), []

            async def body(address: Any = address, steps: list[int] = steps) -> None:
                await connect(address)
                try:
                    while True:
                        steps.append(1)
                        await asyncio.sleep(1)
                finally:
                    steps.append(0)

            process.spawn(body())
            await asyncio.sleep(3.5)
            process.kill(silently=silently)
            await asyncio.sleep(10)
            assert 0 not in steps
            assert len(steps) == 4
            assert ended.is_set() is not silently

    run(main, seed=0)


def test_clocks_of_processes_differ_and_a_suspend_shows_on_the_boot_clock_alone() -> None:
    async def main(sim: Simulation) -> None:
        here, there = sim.process("a"), sim.process("b", wall_skew_s=600)
        assert there.environment.wall() - here.environment.wall() == pytest.approx(600)
        here.environment.step_wall(-3600)
        assert here.environment.wall() < there.environment.wall() - 4000
        before = here.environment.now()
        here.suspend(100)
        await asyncio.sleep(1)
        assert here.environment.now() - before == pytest.approx(101)
        assert here.environment.token(4) != there.environment.token(4)

    run(main, seed=0)


def test_asyncio_timeouts_task_groups_and_wait_work_in_virtual_time() -> None:
    async def main(_sim: Simulation) -> float:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(50)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(2))
        done, pending = await asyncio.wait(
            [asyncio.create_task(asyncio.sleep(delay)) for delay in (1, 9)], return_when=asyncio.FIRST_COMPLETED
        )
        assert (len(done), len(pending)) == (1, 1)
        return loop.time()

    assert run(main, seed=0).result == 8
