"""Rounds take turns, the relay counts, processes answer, the server tells about itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proving.rivals.bare import BareProtocol
from proving.rivals.rival import Ask
from proving.stand.asking import beside, seconds_a_call
from proving.stand.effort import FULL, QUICK
from proving.stand.relay import Relay
from proving.stand.rounds import Stopwatch, interleaved
from proving.stand.workers import Talk, Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proving.stand.server import Server


async def test_every_contender_has_one_sample_a_round_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def contender(name: str) -> Callable[[], Awaitable[int]]:
        async def sample() -> int:
            calls.append(name)
            return len(calls)

        return sample

    found = await interleaved({name: contender(name) for name in "abc"}, 4)
    assert {name: len(samples) for name, samples in found.items()} == {"a": 4, "b": 4, "c": 4}
    assert min(min(samples) for samples in found.values()) == 4
    assert all(sorted(calls[start : start + 3]) == ["a", "b", "c"] for start in range(0, 15, 3))


@pytest.mark.parametrize("awaited", [True, False])
async def test_a_call_is_made_as_often_as_asked_for(awaited: bool) -> None:
    calls: list[tuple[int, str]] = []

    async def awaitable(number: int, text: str) -> None:
        calls.append((number, text))

    def plain(number: int, text: str) -> None:
        calls.append((number, text))

    await seconds_a_call(Ask(awaitable if awaited else plain, (1, "x"), awaited), 30)
    assert calls == [(1, "x")] * 30


async def test_a_call_and_its_floor_take_turns() -> None:
    order: list[str] = []
    await beside(Ask(order.append, ("floor",), awaited=False), Ask(order.append, ("call",), awaited=False), 100)
    assert order[:20] == ["floor"] * 10 + ["call"] * 10
    assert order.count("floor") == order.count("call") == 100


def test_a_stopwatch_measures_the_block() -> None:
    with Stopwatch() as watch:
        sum(range(100_000))
    assert watch.wall_s > 0
    assert watch.cpu_s >= 0


def test_quick_is_less_than_full() -> None:
    assert QUICK.of(10, 1) == 1
    assert FULL.of(10, 1) == 10
    assert QUICK.rounds < FULL.rounds


async def test_the_relay_counts_round_trips_bytes_and_commands(server: Server) -> None:
    with Relay(server.path) as relay:
        _, bare = await asyncio.get_running_loop().create_unix_connection(BareProtocol, relay.path)
        await bare.call("SET", "k", "v")
        await bare.call("GET", "k")
        assert (relay.round_trips, relay.asked) == (2, 2)
        await asyncio.gather(*(bare.call("GET", "k") for _ in range(5)))
        assert (relay.round_trips, relay.asked) == (3, 7)
        assert relay.received_bytes == len(b"+OK\r\n") + 6 * len(b"$1\r\nv\r\n")
        relay.reset()
        await bare.call("EVAL", "return redis.call('GET', KEYS[1])", 1, "k")
        assert (relay.round_trips, relay.asked) == (1, 1), "what a script executes was not sent"
        await bare.call("INFO", "server")
        await bare.call("PEXPIRE", "alacena:canary:01:{x}", 100)
        assert (relay.asked, relay.heartbeats) == (1, 2), "heartbeats are counted apart"
        bare.transport.close()


async def test_a_worker_hears_and_answers() -> None:
    worker = await Worker.start("tests.unit.bench.test_stand:echo", twice=True)
    assert await worker.hear() == {"ready": True}
    worker.tell("word")
    assert await worker.hear() == ["word", "word"]
    assert await worker.ended() == 0
    assert await worker.hear() is None


async def test_a_killed_worker_is_heard_no_more() -> None:
    worker = await Worker.start("tests.unit.bench.test_stand:echo", twice=False)
    assert await worker.hear() == {"ready": True}
    worker.kill()
    assert await worker.hear() is None
    assert await worker.ended() < 0


async def echo(talk: Talk, twice: bool) -> None:
    """What the worker of these tests does."""
    talk.say({"ready": True})
    while word := await talk.hear():
        talk.say([word, word] if twice else word)


def test_the_server_tells_about_itself(server: Server) -> None:
    assert "." in server.version()
    before = server.used_bytes()
    server.ask_all([("SET", f"k{number}", "x" * 1000) for number in range(100)])
    assert server.used_bytes() - before > 100_000
    assert server.cpu_s() > 0
    server.flush()
    assert server.ask("DBSIZE") == 0
