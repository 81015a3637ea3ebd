"""The wire against a peer that the test plays."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import pytest

from alacena.engine.base.errors import (
    BackendUnavailableError,
    OutcomeUnknownError,
    ServerReplyError,
    UsageError,
    WrongLoopError,
)
from alacena.engine.remote.redis.wire import Connection
from tests.unit.engine.remote.redis.wire.peer import bulk, connect, turns


def flood(connection: Connection) -> int:
    """Ask until it is refused; how often it was not."""
    for taken in range(10_000):
        try:
            connection.call("SET", "k", b"x" * 1000, timeout_s=1)
        except BackendUnavailableError:
            return taken
    raise AssertionError("nothing was refused")


PUSH = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"


async def test_a_lone_command_leaves_at_once_and_its_answer_comes_back() -> None:
    connection, transport = connect()
    future = connection.call("GET", "k", timeout_s=1)
    assert transport.writes == [b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"]
    connection.data_received(bulk(b"v"))
    assert await future == b"v"


async def test_commands_of_one_turn_leave_in_one_write() -> None:
    connection, transport = connect()
    first = connection.call("PING", timeout_s=1)
    rest = [connection.call("GET", str(i), timeout_s=1) for i in range(50)]
    await turns(1)
    assert len(transport.writes) == 2
    connection.data_received(b"+PONG\r\n" + b"".join(bulk(b"%d" % i) for i in range(50)))
    assert await first == b"PONG"
    assert [await future for future in rest] == [b"%d" % i for i in range(50)]


async def test_tasks_woken_together_ask_together() -> None:
    connection, transport = connect()

    async def twice(name: str) -> bytes:
        await connection.call("GET", name, timeout_s=1)
        return bytes(await connection.call("GET", name, timeout_s=1))

    tasks = [asyncio.create_task(twice(str(i))) for i in range(10)]
    await turns(2)
    transport.writes.clear()
    connection.data_received(b"".join(bulk(b"a") for _ in range(10)))
    await turns(2)
    assert len(transport.writes) == 1
    assert len(transport.commands()) == 10
    connection.data_received(b"".join(bulk(b"%d" % i) for i in range(10)))
    assert [await task for task in tasks] == [b"%d" % i for i in range(10)]


async def test_an_error_answer_of_a_single_command_is_raised_with_its_code() -> None:
    connection, _ = connect()
    future = connection.call("GET", "k", timeout_s=1)
    connection.data_received(b"-WRONGTYPE no\r\n")
    with pytest.raises(ServerReplyError) as caught:
        await future
    assert caught.value.code == "WRONGTYPE"


async def test_an_exchange_is_contiguous_and_its_errors_reach_settle_inside_the_list() -> None:
    connection, transport = connect()
    connection.call("PING", timeout_s=1)
    seen: list[Any] = []
    commands = [("MULTI",), ("SET", "k", b"v", "PX", 10), ("EXEC",)]
    future = connection.exchange(commands, settle=lambda replies: seen.append(replies) or "settled", timeout_s=1)
    other = connection.call("GET", "x", timeout_s=1)
    await turns(1)
    assert [command[0] for command in transport.commands()] == [b"PING", b"MULTI", b"SET", b"EXEC", b"GET"]
    connection.data_received(b"+PONG\r\n+OK\r\n-ERR no\r\n")
    assert seen == []
    connection.data_received(b"-EXECABORT no\r\n$1\r\nx\r\n")
    assert len(seen[0]) == 3
    assert [type(reply) for reply in seen[0]] == [bytes, ServerReplyError, ServerReplyError]
    assert await future == "settled"
    assert await other == b"x"


async def test_without_settle_several_answers_are_a_list_and_one_is_itself() -> None:
    connection, _ = connect()
    one = connection.exchange([("PING",)], timeout_s=1)
    two = connection.exchange([("PING",), ("ECHO", "a")], timeout_s=1)
    await turns(1)
    connection.data_received(b"+PONG\r\n+PONG\r\n+a\r\n")
    assert await one == b"PONG"
    assert await two == [b"PONG", b"a"]


async def test_what_settle_raises_fails_its_own_waiter_only() -> None:
    connection, _ = connect()

    def refuse(replies: list[Any]) -> None:
        raise ServerReplyError("ERR no")

    bad = connection.exchange([("PING",)], settle=refuse, timeout_s=1)
    good = connection.call("PING", timeout_s=1)
    await turns(1)
    connection.data_received(b"+A\r\n+B\r\n")
    with pytest.raises(ServerReplyError):
        await bad
    assert await good == b"B"


async def test_an_answer_that_settle_can_make_nothing_of_ends_the_connection() -> None:
    """It may be another's: something between here and the server put in an answer, or took one out."""
    connection, _ = connect()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    first = connection.exchange([("GET", "a")], settle=lambda replies: len(replies[0]), timeout_s=1)
    second = connection.call("GET", "b", timeout_s=1)
    await turns(1)
    connection.data_received(b":7\r\n$1\r\na\r\n$1\r\nb\r\n")
    for asked in (first, second):
        with pytest.raises(OutcomeUnknownError):
            await asked
    assert [type(error) for error in told] == [TypeError]
    assert isinstance(connection.error, BackendUnavailableError)


@pytest.mark.parametrize("order", ["answer first", "push first"])
async def test_pushes_and_answers_of_one_segment_are_applied_in_byte_order(order: str) -> None:
    log: list[str] = []
    connection, _ = connect(on_push=lambda push: log.append("push first"))
    connection.exchange([("GET", "k")], settle=lambda replies: log.append("answer first"), timeout_s=1)
    connection.data_received(bulk(b"v") + PUSH if order == "answer first" else PUSH + bulk(b"v"))
    assert log[0] == order
    assert len(log) == 2


async def test_a_stream_split_at_every_byte_means_the_same() -> None:
    """Answers, arrays, pushes and values that look like protocol, cut at each place and byte by byte."""
    values = [b"*99999999999\r\n", b"\n*123456789\n|1\r\n\n*", b"", b"\r\n>3\r\n"]
    stream = b"+OK\r\n" + PUSH + b"*%d\r\n" % len(values) + b"".join(map(bulk, values)) + PUSH + b"%1\r\n+a\r\n*0\r\n"
    expected = [b"OK", values, {b"a": []}]
    whole = [(stream[:cut], stream[cut:]) for cut in range(len(stream) + 1)]
    for pieces in [*whole, tuple(stream[i : i + 1] for i in range(len(stream)))]:
        pushes: list[Any] = []
        connection, _ = connect(on_push=pushes.append)
        futures = [connection.call("GET", "k", timeout_s=1) for _ in range(3)]
        await turns(1)
        for piece in pieces:
            connection.data_received(piece)
        assert connection.error is None
        assert [await future for future in futures] == expected
        assert len(pushes) == 2


async def test_a_hundred_thousand_cancellations_give_no_answer_to_a_stranger() -> None:
    seed = 20_240_501
    dice = random.Random(seed)
    connection, transport = connect()
    wrong = cancelled = settled = 0

    def settle(replies: list[Any]) -> Any:
        nonlocal settled
        settled += 1
        return replies[0]

    for _ in range(1000):
        transport.writes.clear()
        names = [b"%d" % dice.randrange(10**9) for _ in range(200)]
        futures = [connection.exchange([("ECHO", name)], settle=settle, timeout_s=10) for name in names]
        await turns(1)
        victims = {i for i in range(200) if dice.random() < 0.5}
        stream = b"".join(map(bulk, names))
        cut = dice.randrange(len(stream))
        connection.data_received(stream[:cut])
        for i in victims:
            cancelled += futures[i].cancel()
        connection.data_received(stream[cut:])
        wrong += sum(not f.cancelled() and f.result() != name for f, name in zip(futures, names, strict=True))
    assert (wrong, settled) == (0, 200_000), seed
    assert cancelled > 40_000


async def test_an_overdue_waiter_keeps_its_place_and_the_next_gets_its_own_answer() -> None:
    connection, _ = connect()
    settled: list[Any] = []
    slow = connection.exchange([("GET", "a")], settle=settled.append, timeout_s=0.01)
    patient = connection.call("GET", "b", timeout_s=5)
    with pytest.raises(OutcomeUnknownError):
        await slow
    connection.data_received(bulk(b"a") + bulk(b"b"))
    assert settled == [[b"a"]]
    assert await patient == b"b"


async def test_an_unsent_command_that_is_overdue_was_not_executed_and_is_taken_back() -> None:
    connection, transport = connect()
    connection.pause_writing()
    early = connection.call("SET", "a", "1", timeout_s=0.01)
    late = connection.call("SET", "b", "2", timeout_s=5)
    with pytest.raises(BackendUnavailableError):
        await early
    assert transport.writes == []
    connection.resume_writing()
    assert [command[1] for command in transport.commands()] == [b"b"]
    connection.data_received(b"+OK\r\n")
    assert await late == b"OK"


async def test_an_oldest_answer_that_will_not_come_ends_the_connection() -> None:
    lost: list[Any] = []
    connection, transport = connect(bounds={"stall_s": 0.03}, on_lost=lost.append)
    first = connection.call("GET", "a", timeout_s=0.01)
    second = connection.call("GET", "b", timeout_s=60)
    with pytest.raises(OutcomeUnknownError):
        await first
    with pytest.raises(OutcomeUnknownError):
        await second
    assert transport.aborted
    assert len(lost) == 1


LOOKALIKE = b"\r\n*99999999999\r\n>88888888\r\n|1\r\n$70000\r\n\n"


def _long_stream(chance: random.Random) -> tuple[bytes, list[Any]]:
    """An array of long and short values, all of which look like protocol, with a push behind it."""
    values: list[Any] = [chance.choice([None, b"", LOOKALIKE, LOOKALIKE * chance.randint(30, 700)]) for _ in range(24)]
    elements = b"".join(b"_\r\n" if value is None else bulk(value) for value in values)
    return b"*%d\r\n" % len(values) + elements + PUSH, values


@pytest.mark.parametrize("seed", range(6))
async def test_long_values_mean_the_same_wherever_their_stream_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        parts = [_long_stream(chance) for _ in range(3)]
        stream, pushes = b"".join(part for part, _ in parts), list[Any]()
        connection, _ = connect(on_push=pushes.append)
        futures = [connection.call("MGET", "k", timeout_s=1) for _ in parts]
        await turns(1)
        at = 0
        while at < len(stream):
            size = chance.choice([1, 7, 300, 20_000, 64_000, 262_144])
            connection.data_received(stream[at : at + size])
            at += size
        assert connection.error is None
        assert [await future for future in futures] == [values for _, values in parts]
        assert len(pushes) == len(parts)


@pytest.mark.parametrize("size", [1_000, 17_000, 20_003, 1_000_000])
@pytest.mark.parametrize("lie", [b"*10000000\r\n", b"|1\r\n", b">999999999\r\n"])
async def test_a_header_that_lies_behind_a_long_value_ends_the_connection(size: int, lie: bytes) -> None:
    stream = b"*4\r\n" + bulk(b"v" * 20_000) + bulk(b"w" * 1_500) + lie + b":1\r\n" * 9_000
    connection, _ = connect()
    future = connection.call("MGET", "k", timeout_s=1)
    await turns(1)
    for at in range(0, len(stream), size):
        connection.data_received(stream[at : at + size])
    assert connection.error is not None
    with pytest.raises(OutcomeUnknownError):
        await future


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n",
        b"$-7\r\n",
        b":12x\r\n",
        b"*99999999999\r\n",
        b"*10000000\r\n",
        b"%10000000\r\n",
        b"~999999999\r\n",
        b">999999999\r\n",
        b"*2\r\n$1\r\na\r\n*10000000\r\n",
        b"|1\r\n+a\r\n:1\r\n:5\r\n",
        b"%1\r\n*1\r\n:1\r\n:1\r\n",
        b"\x00\xff" * 50,
    ],
)
async def test_doubtful_bytes_end_the_connection_and_nobody_gets_an_answer(garbage: bytes) -> None:
    lost: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    connection, transport = connect(on_lost=lost.append)
    futures = [connection.call("GET", "k", timeout_s=1) for _ in range(3)]
    await turns(1)
    for place in range(len(garbage)):
        if connection.error is None:
            try:
                connection.data_received(garbage[place : place + 1])
            except TypeError:
                break
    assert connection.error is not None
    assert transport.aborted
    assert len(lost) == 1
    for future in futures:
        with pytest.raises(OutcomeUnknownError):
            await future
    with pytest.raises(BackendUnavailableError):
        connection.call("PING", timeout_s=1)


async def test_answers_before_the_doubt_are_given_and_those_after_are_not() -> None:
    connection, _ = connect()
    first = connection.call("GET", "a", timeout_s=1)
    second = connection.call("GET", "b", timeout_s=1)
    await turns(1)
    connection.data_received(bulk(b"a") + b"?" + bulk(b"b"))
    assert await first == b"a"
    with pytest.raises(OutcomeUnknownError):
        await second


async def test_an_answer_to_no_request_ends_the_connection() -> None:
    connection, transport = connect()
    connection.data_received(b"+OK\r\n")
    assert transport.aborted
    assert "an answer came to no request" in str(connection.error)


async def test_an_answer_longer_than_the_limit_ends_the_connection() -> None:
    connection, transport = connect(bounds={"reply_bytes": 1000})
    future = connection.call("GET", "a", timeout_s=1)
    connection.data_received(b"$4000000000\r\n")
    for _ in range(200):
        if connection.error is None:
            connection.data_received(b"x" * 10)
    assert transport.aborted
    with pytest.raises(OutcomeUnknownError):
        await future


async def test_a_push_handler_that_fails_ends_the_connection() -> None:
    def fail(push: list[Any]) -> None:
        raise KeyError("bug")

    connection, transport = connect(on_push=fail)
    future = connection.call("GET", "a", timeout_s=1)
    with pytest.raises(KeyError):
        connection.data_received(PUSH + bulk(b"a"))
    assert transport.aborted
    with pytest.raises(OutcomeUnknownError):
        await future


async def test_loss_is_told_before_any_waiter_and_sent_differs_from_unsent() -> None:
    log: list[str] = []
    connection, _ = connect(on_lost=lambda error: log.append("lost"))
    sent = connection.call("INCR", "a", timeout_s=1)
    unsent = connection.call("INCR", "b", timeout_s=1)
    sent.add_done_callback(lambda _: log.append("sent"))
    unsent.add_done_callback(lambda _: log.append("unsent"))
    connection.connection_lost(ConnectionResetError("reset"))
    assert log == ["lost"]
    await turns()
    assert log == ["lost", "sent", "unsent"]
    assert isinstance(sent.exception(), OutcomeUnknownError)
    assert isinstance(unsent.exception(), BackendUnavailableError)


async def test_more_than_may_be_in_flight_is_refused_at_once() -> None:
    connection, _ = connect(bounds={"in_flight": 3})
    for _ in range(3):
        connection.call("GET", "a", timeout_s=1)
        await turns(1)
    with pytest.raises(BackendUnavailableError, match="in flight"):
        connection.call("GET", "a", timeout_s=1)


async def test_more_bytes_than_may_wait_are_refused_within_one_turn_and_while_paused() -> None:
    connection, transport = connect(bounds={"unsent_bytes": 100_000})
    taken = flood(connection)
    assert 50 < taken < 110
    await turns(1)
    connection.pause_writing()
    flood(connection)
    assert len(transport.commands()) == taken


@pytest.mark.parametrize("command", [(), ("GET", None), ("GET", True), ("GET", ["k"]), ("GET", "\ud800")])
async def test_what_cannot_be_sent_is_refused_before_anything_is_written(command: tuple[Any, ...]) -> None:
    connection, transport = connect()
    with pytest.raises(UsageError):
        connection.exchange([("PING",), command], timeout_s=1)
    with pytest.raises(UsageError):
        connection.exchange([], timeout_s=1)
    assert transport.writes == []
    assert connection.in_flight == 0


async def test_another_loop_is_refused() -> None:
    connection, _ = connect()

    async def stranger() -> None:
        connection.call("PING", timeout_s=1)

    with pytest.raises(WrongLoopError):
        await asyncio.to_thread(asyncio.run, stranger())


async def test_a_connection_that_is_not_open_yet_refuses() -> None:
    with pytest.raises(BackendUnavailableError):
        Connection().call("PING", timeout_s=1)


async def test_a_settle_that_closes_the_connection_stops_the_parser() -> None:
    pushes: list[Any] = []
    connection, _ = connect(on_push=pushes.append)
    connection.exchange([("PING",)], settle=lambda _: connection.close(), timeout_s=1)
    other = connection.call("PING", timeout_s=1)
    await turns(1)
    connection.data_received(b"+A\r\n" + PUSH + b"+B\r\n")
    assert pushes == []
    with pytest.raises(OutcomeUnknownError):
        await other


def test_a_forked_child_that_runs_the_same_loop_is_refused() -> None:
    with asyncio.Runner() as runner:

        async def opened() -> Any:
            return connect()

        connection, transport = runner.run(opened())

        async def ask() -> None:
            connection.call("PING", timeout_s=1)

        child = os.fork()
        if child == 0:
            code = 1
            try:
                runner.get_loop().run_until_complete(ask())
            except WrongLoopError:
                code = 0 if not transport.writes else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        runner.run(ask())
        assert len(transport.writes) == 1


async def test_what_is_told_is_written_in_order_and_waits_for_no_answer() -> None:
    pushes: list[Any] = []
    connection, transport = connect(on_push=pushes.append)
    first = connection.call("PING", timeout_s=1)
    second = connection.call("ECHO", "a", timeout_s=1)
    connection.tell("SUBSCRIBE", "c")
    assert [command[0] for command in transport.commands()] == [b"PING", b"ECHO", b"SUBSCRIBE"]
    connection.data_received(b"+PONG\r\n+a\r\n>3\r\n+subscribe\r\n+c\r\n:1\r\n")
    assert (await first, await second, len(pushes), connection.in_flight) == (b"PONG", b"a", 1, 0)
    connection.pause_writing()
    with pytest.raises(BackendUnavailableError):
        connection.tell("SUBSCRIBE", "d")
