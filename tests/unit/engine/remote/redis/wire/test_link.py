"""The link in virtual time, against a server in memory."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from alacena.engine.base.errors import (
    BackendError,
    BackendUnavailableError,
    CacheClosedError,
    OutcomeUnknownError,
    ServerReplyError,
    WrongLoopError,
)
from alacena.engine.remote.redis.endpoint import Address, ServerAccess
from alacena.engine.remote.redis.link import Link
from alacena.engine.remote.redis.link_hooks import Hooks, LinkSettings
from alacena.engine.remote.redis.wire import Connection, WireLimits
from alacena.engine.remote.redis.wire.retry_backoff import RetryBackoff
from alacena.engine.remote.redis.wire.supervisor import Pace
from tests.unit.engine.remote.redis.wire.virtual import FakeServer, LoopEnvironment, run_virtually, standing


def make(environment: LoopEnvironment, server: FakeServer, **kwargs: Any) -> Link:
    kwargs.setdefault("access", ServerAccess())
    return Link(Address(), environment=environment, opener=server.open, **kwargs)


def test_it_connects_greets_prepares_and_then_is_up() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server, log = FakeServer(), []

        async def prepare(link: Link, connection: Connection) -> None:
            log.append(("prepare", link.up))
            await connection.call("CLIENT", "TRACKING", "ON", timeout_s=1)

        hooks = Hooks(prepare=prepare, on_up=lambda link, connection: log.append(("up", link.up)))
        access = ServerAccess(username="u", password="p", database=3, client_name="n")
        link = make(environment, server, hooks=hooks, access=access)
        await link.open(timeout_s=1)
        assert log == [("prepare", False), ("up", True)]
        assert server.seen[0] == ["HELLO", "3", "AUTH", "u", "p", "SETNAME", "n"]
        assert server.seen[1] == ["SELECT", "3"]
        assert link.greeting.server == "fake"
        await link.close()

    run_virtually(story)


def test_callers_of_the_first_attempt_wait_and_later_ones_fail_at_once() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        server.delay_s = 0.2
        link = make(environment, server)
        link.start()
        early = link.exchange([("GET", "k")], timeout_s=5)
        assert await early == b"OK"
        server.refuse = ConnectionRefusedError("refused")
        server.cut_all()
        await asyncio.sleep(0.001)
        with pytest.raises(BackendUnavailableError, match="reset"):
            link.exchange([("GET", "k")], timeout_s=5)
        assert link.counters.refused_while_down == 1
        await link.close()

    run_virtually(story)


def test_a_caller_of_the_first_attempt_waits_no_longer_than_its_timeout() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        server.delay_s = 1.5
        link = make(environment, server)
        link.start()
        began = environment.now()
        with pytest.raises(BackendUnavailableError):
            await link.exchange([("GET", "k")], timeout_s=0.05)
        assert environment.now() - began == pytest.approx(0.05)
        await link.close()

    run_virtually(story)


@pytest.mark.parametrize("seed", range(5))
def test_it_reconnects_with_full_jitter_and_never_gives_up(seed: int) -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        server.delay_s = 0.0
        server.refuse = ConnectionRefusedError("refused")
        pace = Pace(backoff=RetryBackoff(base_s=0.1, cap_s=4.0))
        link = make(environment, server, settings=LinkSettings(pace=pace))
        with pytest.raises(BackendUnavailableError, match="refused"):
            await link.open(timeout_s=3600)
        pauses = [after - before for before, after in zip(server.dials, server.dials[1:], strict=False)]
        assert len(pauses) > 1000
        assert max(pauses[:3]) <= 0.4
        assert max(pauses) <= 4.0
        late = pauses[20:]
        assert 1.8 < sum(late) / len(late) < 2.2, "full jitter: half of the ceiling on average"
        server.refuse = None
        assert await link.wait_up(timeout_s=4.5)
        assert link.counters.connect_failures == len(server.dials) - 1
        await link.close()

    run_virtually(story, seed)


def test_a_server_that_hangs_up_right_after_greeting_is_not_dialled_in_a_tight_loop() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()

        def hang_up(link: Link, connection: Connection) -> None:
            asyncio.get_running_loop().call_soon(server.cut_all)

        link = make(environment, server, hooks=Hooks(on_up=hang_up))
        link.start()
        await asyncio.sleep(60)
        assert 20 < len(server.dials) < 120
        await link.close()

    run_virtually(story)


def test_down_is_told_before_any_waiter() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server, log = FakeServer(), []
        hooks = Hooks(on_down=lambda link, error: log.append(f"down, up={link.up}"))
        link = make(environment, server, hooks=hooks)
        await link.open(timeout_s=1)
        future = link.exchange([("INCR", "k")], timeout_s=5)
        future.add_done_callback(lambda _: log.append("told"))
        server.cut_all()
        with pytest.raises(OutcomeUnknownError):
            await future
        assert log == ["down, up=False", "told"]
        assert await link.wait_up(timeout_s=1)
        await link.close()

    run_virtually(story)


def test_a_preparation_that_fails_or_hangs_keeps_it_down_and_is_tried_again() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server, calls = FakeServer(), []

        async def prepare(link: Link, connection: Connection) -> None:
            calls.append(environment.now())
            if len(calls) == 1:
                raise BackendError("the canary did not sing")
            if len(calls) == 2:
                await asyncio.sleep(3600)
            if len(calls) == 3:
                raise ZeroDivisionError

        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        link = make(environment, server, hooks=Hooks(prepare=prepare))
        await link.open(timeout_s=20)
        assert len(calls) == 4
        assert [type(error) for error in reported] == [ZeroDivisionError]
        assert sum(transport.open for transport in server.transports) == 1
        await link.close()

    run_virtually(story)


def test_hooks_that_fail_or_cancel_do_not_end_the_trying() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server, ups = FakeServer(), []

        async def prepare(link: Link, connection: Connection) -> None:
            if len(server.transports) == 1:
                raise asyncio.CancelledError

        def on_up(link: Link, connection: Connection) -> None:
            ups.append(connection)
            if len(ups) == 1:
                raise ZeroDivisionError

        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        link = make(environment, server, hooks=Hooks(prepare=prepare, on_up=on_up))
        link.start()
        await asyncio.sleep(5)
        assert link.up
        assert len(server.transports) == 3
        assert [type(error) for error in reported] == [ZeroDivisionError]
        assert link.counters.lost == 1
        await link.close()

    run_virtually(story)


def test_a_heartbeat_that_fails_ends_the_connection() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server, down = FakeServer(), asyncio.Event()
        settings = LinkSettings(pace=Pace(beat_s=0.25), beat_timeout_s=0.5)
        link = make(environment, server, settings=settings, hooks=Hooks(on_down=lambda link, error: down.set()))
        await link.open(timeout_s=1)
        await asyncio.sleep(10)
        assert sum(command[0] == "PING" for command in server.seen) >= 39
        server.mute = True
        began = environment.now()
        await down.wait()
        assert environment.now() - began < 0.25 + 0.5 + 0.03
        await link.close()

    run_virtually(story)


def test_a_mute_server_is_noticed_by_its_oldest_answer() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        settings = LinkSettings(limits=WireLimits(stall_s=0.5), pace=Pace(beat_s=3600))
        link = make(environment, server, settings=settings)
        await link.open(timeout_s=1)
        server.mute = True
        began = environment.now()
        with pytest.raises(OutcomeUnknownError):
            await link.exchange([("GET", "k")], timeout_s=0.05)
        assert environment.now() - began < 0.07
        assert link.up
        await asyncio.sleep(0.52)
        assert not link.up
        await link.close()

    run_virtually(story)


@pytest.mark.parametrize("code", ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"])
def test_what_was_not_executed_is_asked_again(code: str) -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        link = make(environment, server)
        await link.open(timeout_s=1)
        server.script = [b"-%b no\r\n" % code.encode()] * 3 + [b":1\r\n"]
        assert await link.call("INCR", "k", timeout_s=5) == 1
        assert link.counters.retries == 3
        await link.close()

    run_virtually(story)


@pytest.mark.parametrize("code", ["OOM", "NOAUTH", "NOPERM", "WRONGTYPE", "CROSSSLOT", "ERR", "NOSCRIPT", "BUSYKEY"])
def test_a_mistake_is_raised_and_not_repeated(code: str) -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        link = make(environment, server)
        await link.open(timeout_s=1)
        server.script = [b"-%b no\r\n" % code.encode(), b"+SECOND\r\n"]
        with pytest.raises(ServerReplyError) as caught:
            await link.call("GET", "k", timeout_s=5)
        assert caught.value.code == code
        assert len(server.script) == 1
        await link.close()

    run_virtually(story)


def test_a_demoted_server_is_left_and_the_command_goes_to_another_connection() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server, downs = FakeServer(), []
        link = make(environment, server, hooks=Hooks(on_down=lambda link, error: downs.append(str(error))))
        await link.open(timeout_s=1)
        first = link.connection
        server.script = [b"-READONLY no\r\n", b":1\r\n"]
        assert await link.call("INCR", "k", timeout_s=5) == 1
        assert standing(first).error is not None
        assert link.connection is not first
        assert len(downs) == 1
        await link.close()

    run_virtually(story)


def test_an_unknown_outcome_is_repeated_only_where_that_does_no_harm() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        link = make(environment, server)
        await link.open(timeout_s=1)
        for command, expected in (
            (("GET", "k"), 2),
            (("DEL", "k"), 2),
            (("INCR", "k"), 1),
            (("SET", "k", "v", "NX"), 1),
        ):
            server.seen.clear()
            server.script = [None]
            task = asyncio.ensure_future(link.call(*command, timeout_s=5))
            await asyncio.sleep(0.01)
            server.cut_all()
            if expected == 2:
                assert await task == b"OK"
            else:
                with pytest.raises(OutcomeUnknownError):
                    await task
            assert await link.wait_up(timeout_s=5)
            assert sum(seen[0] == command[0] for seen in server.seen) == expected
            server.script.clear()
        await link.close()

    run_virtually(story)


def test_repeats_stay_within_a_tenth_of_the_traffic() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        link = make(environment, server)
        await link.open(timeout_s=1)
        server.seen.clear()
        server.script = [b"-BUSY no\r\n"] * 10_000
        for _ in range(1000):
            with pytest.raises(ServerReplyError):
                await link.call("GET", "k", timeout_s=1)
        asked = sum(seen[0] == "GET" for seen in server.seen)
        assert 1000 < asked <= 1000 * 1.1 + 10
        assert link.budget.refused > 500
        await link.close()

    run_virtually(story)


def test_repeats_stop_at_the_deadline() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        link = make(environment, server)
        await link.open(timeout_s=1)
        server.script = [b"-LOADING no\r\n"] * 10_000
        began = environment.now()
        with pytest.raises(ServerReplyError):
            await link.call("GET", "k", timeout_s=0.05)
        assert environment.now() - began <= 0.05
        await link.close()

    run_virtually(story)


def test_a_forgotten_script_is_loaded_once_and_run() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server, settled = FakeServer(), []
        link = make(environment, server)
        await link.open(timeout_s=1)
        server.seen.clear()
        server.script = [b"-NOSCRIPT no\r\n", b"+sha\r\n", b":7\r\n"]
        answer = await link.script("sha", "return 7", ["k"], [1], settle=settled.append, timeout_s=1)
        assert answer is None
        assert settled == [7]
        assert [seen[0] for seen in server.seen] == ["EVALSHA", "SCRIPT", "EVALSHA"]
        assert server.seen[0] == ["EVALSHA", "sha", "1", "k", "1"]
        server.script = [b"-NOSCRIPT no\r\n", b"+sha\r\n", b"-NOSCRIPT no\r\n"]
        with pytest.raises(ServerReplyError):
            await link.script("sha", "return 7", ["k"], timeout_s=1)
        await link.close()

    run_virtually(story)


def test_the_wrong_role_is_refused() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        server.role = "replica"
        link = make(environment, server, settings=LinkSettings(role="master"))
        with pytest.raises(BackendUnavailableError, match="replica"):
            await link.open(timeout_s=1)
        server.role = "master"
        assert await link.wait_up(timeout_s=5)
        await link.close()

    run_virtually(story)


def test_after_close_and_before_open_it_says_so() -> None:
    async def story(environment: LoopEnvironment) -> None:
        link = make(environment, FakeServer())
        with pytest.raises(CacheClosedError):
            link.exchange([("PING",)], timeout_s=1)
        await link.open(timeout_s=1)
        waiting = link.exchange([("PING",)], timeout_s=1)
        await link.close()
        with pytest.raises(BackendError):
            await waiting
        with pytest.raises(CacheClosedError):
            link.exchange([("PING",)], timeout_s=1)
        await link.close()
        assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == set()

    run_virtually(story)


def test_another_loop_is_refused_up_or_down() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        server.delay_s = 0.0  # this loop is a real one
        link = make(environment, server)
        await link.open(timeout_s=1)

        async def stranger() -> None:
            link.exchange([("PING",)], timeout_s=1)

        with pytest.raises(WrongLoopError):
            await asyncio.get_running_loop().run_in_executor(None, asyncio.run, stranger())
        server.refuse = OSError("down")
        server.cut_all()
        await asyncio.sleep(0)
        with pytest.raises(WrongLoopError):
            await asyncio.get_running_loop().run_in_executor(None, asyncio.run, stranger())
        await link.close()

    async def patient(environment: LoopEnvironment) -> None:
        await story(environment)

    async def main() -> None:
        await patient(LoopEnvironment(asyncio.get_running_loop()))

    asyncio.run(main())


def test_a_forked_child_is_refused_and_writes_nothing() -> None:
    async def story(environment: LoopEnvironment) -> None:
        server = FakeServer()
        link = make(environment, server)
        await link.open(timeout_s=1)
        server.seen.clear()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                link.exchange([("PING",)], timeout_s=1)
            except WrongLoopError:
                code = 0 if not server.seen else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0  # noqa: ASYNC222
        assert await link.call("PING", timeout_s=1) == b"PONG"
        await link.close()

    run_virtually(story)
