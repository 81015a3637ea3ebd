"""The store on Redis: bells that survive their connection, fsyncs that are shared, and an end that tells everybody."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.api.cache import Cache
from alacena.engine.base.errors import (
    BackendUnavailableError,
    CacheClosedError,
    LockTimeoutError,
    OutcomeUnknownError,
    WrongLoopError,
)
from alacena.engine.base.settings import Settings
from tests.integration.coordination.stand import port_of
from tests.waiting import DEADLINE_S, for_ever, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proving.servers.redis_server import RedisServer

CHANNEL = "channel"


def _calls(server: RedisServer, command: str) -> int:
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", server.call("INFO", "commandstats"))
    return 0 if found is None else int(found[1])


async def _listening(server: RedisServer, count: int) -> None:
    async def listens() -> bool:
        return int(server.call("PUBSUB", "NUMSUB", CHANNEL)[1]) == count

    await until(listens)


async def test_a_bell_is_given_only_when_the_server_listens(file_server: RedisServer) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache:
        store = port_of(cache).store
        async with store.listen(CHANNEL) as first, store.listen("other"), store.listen(CHANNEL) as second:
            assert file_server.call("PUBLISH", CHANNEL, "1") == 1
            assert await first.wait(DEADLINE_S)
            assert await second.wait(DEADLINE_S)
            assert not await first.wait(0.01)
        await _listening(file_server, 0)


async def test_many_channels_listened_to_while_the_connection_is_being_made_are_all_heard(
    file_server: RedisServer,
) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache:
        store = port_of(cache).store

        async def rung(number: int) -> bool:
            for _ in range(number):
                await asyncio.sleep(0)
            async with store.listen(f"c{number}") as bell:
                assert file_server.call("PUBLISH", f"c{number}", "1") == 1
                return await bell.wait(DEADLINE_S)

        assert all(await asyncio.gather(*(rung(number) for number in range(50))))


async def test_a_bell_whose_connection_was_cut_rings_for_what_it_missed_and_hears_again(
    file_server: RedisServer,
) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache, port_of(cache).store.listen(CHANNEL) as bell:
        for _ in range(3):
            file_server.call("CLIENT", "KILL", "TYPE", "pubsub")
            assert await bell.wait(DEADLINE_S)
            await _listening(file_server, 1)
            file_server.call("PUBLISH", CHANNEL, "1")
            assert await bell.wait(DEADLINE_S)


async def test_a_channel_left_and_listened_to_again_at_once_is_heard(file_server: RedisServer) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache:
        store = port_of(cache).store
        for _ in range(20):
            leaving = asyncio.create_task(_listen(store, CHANNEL))
            await asyncio.sleep(0)
            leaving.cancel()
            async with store.listen(CHANNEL) as bell:
                assert file_server.call("PUBLISH", CHANNEL, "1") == 1
                assert await bell.wait(DEADLINE_S)
            await asyncio.wait([leaving])
        await _listening(file_server, 0)


async def _listen(store: Any, channel: str) -> None:
    async with store.listen(channel):
        await for_ever()


async def test_waiters_of_a_lock_whose_bells_were_cut_still_get_it_in_time(file_server: RedisServer) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache:
        async with cache.locks.acquire("l", tenant_id="t"):
            waiters = [asyncio.create_task(cache.locks.take("l", tenant_id="t")) for _ in range(3)]
            line = port_of(cache).key("lock", "t", "l", "line")

            async def in_line() -> bool:
                return bool(await port_of(cache).call("ZCARD", line) == 3)

            await until(in_line)
            file_server.call("CLIENT", "KILL", "TYPE", "pubsub")
        for waiter in asyncio.as_completed(waiters):
            await (await waiter).release()


async def test_whoever_waits_for_the_file_at_the_same_time_is_answered_together(valkey_server: RedisServer) -> None:
    valkey_server.call("CONFIG", "SET", "appendonly", "yes")
    try:
        async with Cache(Settings(redis_url=valkey_server.url)) as cache:
            store, before = port_of(cache).store, _calls(valkey_server, "waitaof")
            confirmed = await asyncio.gather(*(store.wait_aof(f"k{number}", timeout_s=60) for number in range(100)))
            assert confirmed == [True] * 100
            assert 1 <= _calls(valkey_server, "waitaof") - before <= 3
    finally:
        valkey_server.call("CONFIG", "SET", "appendonly", "no")


@pytest.mark.parametrize(
    ("policy", "confirmed", "pauses"), [("always", True, 0), ("everysec", True, 2), ("no", False, 0)]
)
async def test_waitaof_is_believed_alone_only_where_each_write_is_synced(
    policy: str, confirmed: bool, pauses: int, start_redis: Callable[..., RedisServer]
) -> None:
    server = start_redis(extra=("--appendonly", "yes", "--appendfsync", policy))
    async with Cache(Settings(redis_url=server.url)) as cache:
        assert await port_of(cache).store.wait_aof("k", timeout_s=10) is confirmed
    assert _calls(server, "blpop") == pauses


async def test_a_user_who_may_not_ask_for_the_policy_is_confirmed_and_one_who_may_not_wait_is_not(
    start_redis: Callable[..., RedisServer],
) -> None:
    users = ["plain on >pw ~* &* +@all -config", "shy on >pw ~* &* +@all -blpop"]
    server = start_redis(users=users, extra=("--appendonly", "yes", "--appendfsync", "always"))
    for user, confirmed in (("plain", True), ("shy", True)):
        async with Cache(Settings(redis_url=f"unix://{user}:pw@{server.socket_path}")) as cache:
            assert await port_of(cache).store.wait_aof("k", timeout_s=10) is confirmed
    server.call("CONFIG", "SET", "appendfsync", "everysec")
    async with Cache(Settings(redis_url=f"unix://shy:pw@{server.socket_path}")) as cache:
        assert not await port_of(cache).store.wait_aof("k", timeout_s=10)


async def test_a_server_without_a_file_or_without_an_answer_does_not_confirm(
    redis_server: RedisServer, start_redis: Callable[..., RedisServer]
) -> None:
    async with Cache(Settings(redis_url=redis_server.url)) as cache:
        assert not await port_of(cache).store.wait_aof("k")
        redis_server.process.pause()
        try:
            assert not await port_of(cache).store.wait_aof("k", timeout_s=0.2)
        finally:
            redis_server.process.resume()
    own = start_redis()
    async with Cache(Settings(redis_url=own.url)) as cache:
        own.crash()
        assert not await port_of(cache).store.wait_aof("k", timeout_s=0.5)
        with pytest.raises((BackendUnavailableError, OutcomeUnknownError)):
            await cache.counters.increment("c", tenant_id="t")
        own.start()


async def test_the_end_of_the_cache_tells_whoever_waits_and_leaves_nothing(file_server: RedisServer) -> None:
    cache = await Cache(Settings(redis_url=file_server.url)).open()
    queue, locks, store = cache.queues("q", tenant_id="t"), cache.locks, port_of(cache).store
    lock = await locks.take("l", tenant_id="t")
    waiting = [
        asyncio.create_task(queue.reserve(wait_s=600)),
        asyncio.create_task(cache.queues.any("q").reserve(wait_s=600)),
        asyncio.create_task(locks.take("l", tenant_id="t")),
    ]
    fsync = asyncio.create_task(store.wait_aof("k", timeout_s=30))

    async def settled() -> bool:
        return len(file_server.call("PUBSUB", "CHANNELS")) == 3

    await until(settled)
    async with asyncio.timeout(DEADLINE_S):
        await cache.close()
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, CacheClosedError)
        await asyncio.wait([fsync])
    assert lock.lost.is_set()
    for verb in (queue.reserve(), locks.take("l", tenant_id="t", wait_s=1), lock.release(), store.wait_aof("k")):
        with pytest.raises(CacheClosedError):
            await verb
    with pytest.raises(CacheClosedError):
        async with store.listen(CHANNEL):
            pytest.fail("a bell of a closed cache")


async def test_another_loop_is_refused(file_server: RedisServer) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache:
        queue, locks = cache.queues("q", tenant_id="t"), cache.locks
        await queue.push(1)
        await locks.try_acquire("m", tenant_id="t", token="x")

        def elsewhere(verb: Callable[[], Coroutine[Any, Any, Any]]) -> None:
            with pytest.raises(WrongLoopError):
                asyncio.run(verb())

        for verb in (
            lambda: queue.push(2),
            lambda: queue.reserve(wait_s=1),
            lambda: locks.take("l", tenant_id="t"),
            lambda: locks.release("m", tenant_id="t", token="x"),
        ):
            await asyncio.to_thread(elsewhere, verb)
        assert [item.value for item in await queue.reserve(5)] == [1]


async def test_a_lock_acquired_by_a_cancelled_task_is_given_back_whenever_the_cancel_comes(
    file_server: RedisServer,
) -> None:
    async with Cache(Settings(redis_url=file_server.url)) as cache:
        for turns in range(12):
            taking = asyncio.create_task(cache.locks.take("l", tenant_id="t", ttl_s=30))
            for _ in range(turns):
                await asyncio.sleep(0)
            for _ in range(turns // 4):
                await cache.counters.get("c", tenant_id="t")
            taking.cancel()
            await asyncio.wait([taking])
            if not taking.cancelled():
                await taking.result().release()
            await cache.locks.close()
            assert await cache.locks.try_acquire("l", tenant_id="t", token="next") is not None
            with pytest.raises(LockTimeoutError):
                await cache.locks.take("l", tenant_id="t", wait_s=0)
            assert await cache.locks.release("l", tenant_id="t", token="next")
