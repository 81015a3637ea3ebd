"""The wire and the link against a real server, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import BackendError, BackendUnavailableError, OutcomeUnknownError, ServerReplyError
from alacena.engine.remote.redis.endpoint import Address, Endpoint, ServerAccess
from alacena.engine.remote.redis.link import Link
from alacena.engine.remote.redis.link_hooks import Hooks, LinkSettings
from alacena.engine.remote.redis.wire import Connection, WireLimits

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 20.0


async def connect(endpoint: Endpoint, **kwargs: Any) -> Link:
    kwargs.setdefault("access", endpoint.access)
    link = Link(endpoint.address, environment=SystemEnvironment(), **kwargs)
    await link.open(timeout_s=TIMEOUT_S)
    return link


def test_values_of_every_kind_come_back(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        link = await connect(endpoint)
        blob = bytes(range(256)) * 5000
        assert await link.call("SET", "k", blob, timeout_s=TIMEOUT_S) == b"OK"
        assert await link.call("GET", "k", timeout_s=TIMEOUT_S) == blob
        assert await link.call("GET", "absent", timeout_s=TIMEOUT_S) is None
        assert await link.call("HSET", "h", "a", 1, "b", 0.1, timeout_s=TIMEOUT_S) == 2
        assert await link.call("HGETALL", "h", timeout_s=TIMEOUT_S) == {b"a": b"1", b"b": b"0.1"}
        assert link.greeting.role == "master"
        assert link.greeting.client_id > 0
        with pytest.raises(ServerReplyError) as caught:
            await link.call("INCR", "h", timeout_s=TIMEOUT_S)
        assert caught.value.code == "WRONGTYPE"
        await link.close()

    tell(story)


def test_a_transaction_is_contiguous_among_a_thousand_callers(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        link = await connect(endpoint)

        async def bump(number: int) -> None:
            commands = [("MULTI",), ("INCR", "n"), ("GET", "n"), ("EXEC",)]
            for _ in range(5):
                count, seen = await link.exchange(commands, settle=lambda replies: replies[-1], timeout_s=TIMEOUT_S)
                assert count == int(seen)
                assert await link.exchange([("ECHO", number)], timeout_s=TIMEOUT_S) == b"%d" % number

        await asyncio.gather(*(bump(number) for number in range(1000)))
        assert await link.call("GET", "n", timeout_s=TIMEOUT_S) == b"5000"
        await link.close()

    tell(story)


def test_invalidations_arrive_in_order_with_the_answers(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        log: list[Any] = []

        async def track(link: Link, connection: Connection) -> None:
            await connection.call("CLIENT", "TRACKING", "ON", "NOLOOP", timeout_s=TIMEOUT_S)

        reader = await connect(endpoint, hooks=Hooks(prepare=track, on_push=lambda link, push: log.append(push[1])))
        writer = await connect(endpoint)
        for number in range(200):
            await reader.exchange([("GET", "k")], settle=lambda replies: log.append(replies[0]), timeout_s=TIMEOUT_S)
            await writer.call("SET", "k", number, timeout_s=TIMEOUT_S)
        await reader.call("PING", timeout_s=TIMEOUT_S)
        assert log[0::2] == [None, *(b"%d" % number for number in range(199))]
        assert log[1::2] == [[b"k"]] * 200
        await writer.call("FLUSHALL", timeout_s=TIMEOUT_S)
        await reader.exchange([("PING",)], timeout_s=TIMEOUT_S)
        assert log[-1] is None
        await reader.close()
        await writer.close()

    tell(story)


def test_cancelled_callers_never_shift_answers(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        link = await connect(endpoint)
        dice = random.Random(11)
        wrong = 0

        async def ask(number: int) -> None:
            nonlocal wrong
            answer = await link.exchange([("ECHO", number)], timeout_s=TIMEOUT_S)
            wrong += answer != b"%d" % number

        for _ in range(100):
            tasks = [asyncio.create_task(ask(dice.randrange(10**9))) for _ in range(200)]
            await asyncio.sleep(0)
            for task in tasks:
                if dice.random() < 0.5:
                    task.cancel()
                    await asyncio.sleep(0)
            await asyncio.wait(tasks)
        assert wrong == 0
        await link.close()

    tell(story)


def test_a_killed_connection_comes_back_and_nobody_waits_for_ever(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        events: list[str] = []
        down = asyncio.Event()

        def fall(link: Link, error: BackendError) -> None:
            events.append("down")
            down.set()

        hooks = Hooks(on_up=lambda link, connection: events.append("up"), on_down=fall)
        link = await connect(endpoint, hooks=hooks)
        killer = await connect(endpoint)
        answered = failed = 0

        async def work() -> None:
            nonlocal answered, failed
            while len(events) < 11:
                try:
                    await link.exchange([("PING",)], timeout_s=TIMEOUT_S)
                    answered += 1
                except BackendError:
                    failed += 1
                    await link.wait_up(timeout_s=TIMEOUT_S)

        workers = [asyncio.create_task(work()) for _ in range(20)]
        for _ in range(5):
            await link.wait_up(timeout_s=TIMEOUT_S)
            await link.call("PING", timeout_s=TIMEOUT_S)
            down.clear()
            await killer.call("CLIENT", "KILL", "ID", link.greeting.client_id, timeout_s=TIMEOUT_S)
            await down.wait()
        await asyncio.gather(*workers)
        assert events == ["up"] + ["down", "up"] * 5
        assert answered > 0
        await link.close()
        await killer.close()

    tell(story)


def test_a_huge_write_meets_back_pressure_and_arrives_whole(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        link = await connect(endpoint)
        blob = random.Random(3).randbytes(1_000_000)
        await asyncio.gather(
            *(link.exchange([("SET", f"k{i}", blob)], timeout_s=TIMEOUT_S) for i in range(40)),
        )
        values = await asyncio.gather(*(link.exchange([("GET", f"k{i}")], timeout_s=TIMEOUT_S) for i in range(40)))
        assert all(value == blob for value in values)
        await link.close()

    tell(story)


def test_a_paused_server_costs_the_deadline_and_then_serves_again(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        link = await connect(endpoint, settings=LinkSettings(limits=WireLimits(stall_s=10)))
        other = await connect(endpoint)
        await other.call("CLIENT", "PAUSE", 300, "ALL", timeout_s=TIMEOUT_S)
        with pytest.raises(OutcomeUnknownError):
            await link.exchange([("GET", "k")], timeout_s=0.05)
        assert await link.exchange([("ECHO", "after")], timeout_s=TIMEOUT_S) == b"after"
        await link.close()
        await other.close()

    tell(story)


def test_users_passwords_databases_and_names(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        admin = await connect(endpoint)
        await admin.call("ACL", "SETUSER", "bob", "on", ">secret", "allkeys", "+@all", timeout_s=TIMEOUT_S)
        access = ServerAccess(username="bob", password="secret", database=3, client_name="api-1")
        bob = await connect(endpoint, access=access)
        info = (await bob.call("CLIENT", "INFO", timeout_s=TIMEOUT_S)).decode()
        assert all(part in info for part in ("user=bob", "db=3", "name=api-1", "resp=3"))
        wrong = Link(endpoint.address, ServerAccess(username="bob", password="guess"), environment=SystemEnvironment())
        with pytest.raises(ServerReplyError, match="WRONGPASS"):
            await wrong.open(timeout_s=TIMEOUT_S)
        for link in (admin, bob, wrong):
            await link.close()

    tell(story)


def test_a_refused_port_fails_at_once_after_the_first_attempt(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = Address("127.0.0.1", probe.getsockname()[1])
            link = Link(address, ServerAccess(), environment=SystemEnvironment())
            with pytest.raises(BackendUnavailableError):
                await link.open(timeout_s=0.2)
        with pytest.raises(BackendUnavailableError):
            link.exchange([("GET", "k")], timeout_s=5)  # nothing is awaited: it is refused where it is asked
        await link.close()

    tell(story)


def test_a_script_that_the_server_forgot_is_loaded_again(tell: Callable[..., None]) -> None:
    async def story(endpoint: Endpoint) -> None:
        link = await connect(endpoint)
        source = "return {KEYS[1], ARGV[1]}"
        sha = (await link.call("SCRIPT", "LOAD", source, timeout_s=TIMEOUT_S)).decode()
        await link.call("SCRIPT", "FLUSH", timeout_s=TIMEOUT_S)
        for _ in range(2):
            assert await link.script(sha, source, ["k"], [7], timeout_s=TIMEOUT_S) == [b"k", b"7"]
        await link.close()

    tell(story)
