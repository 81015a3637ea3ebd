"""A cache on a loop of its own: reached from sync code and from other loops, and never waiting for itself."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import TYPE_CHECKING, Any

import pytest

from alacena import Cache, CacheClosedError, CacheManager, Context, Settings, UsageError, WrongLoopError
from alacena.common.context import get_current_tenant_id
from alacena.integrations.bridge import Access, Bridge

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    with Bridge(Cache(Settings())) as bridge:
        yield bridge


def test_sync_code_reads_what_it_wrote(bridge: Bridge) -> None:
    assert bridge.run(bridge.cache.set("document", "d1", {"n": 1}, "acme"))

    assert bridge.run(bridge.cache.get("document", "d1", "acme")) == {"n": 1}


async def test_coroutine_of_another_loop_waits_without_holding_it_up(bridge: Bridge) -> None:
    came, went = asyncio.Event(), asyncio.Event()
    here = asyncio.get_running_loop()

    async def load() -> str:
        here.call_soon_threadsafe(came.set)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(went.wait(), here))
        return "made"

    waiting = asyncio.create_task(bridge.wait(bridge.cache.load("document", "d1", "acme", load)))
    await came.wait()
    went.set()

    assert await waiting == "made"


def test_ambient_tenant_is_the_callers(bridge: Bridge) -> None:
    async def tenant() -> str | None:
        return get_current_tenant_id()

    with Context(tenant_id="acme"):
        assert bridge.run(tenant()) == "acme"
    assert bridge.run(tenant()) is None


def test_sync_verb_on_the_bridges_own_loop_is_an_error_that_says_what_to_do(bridge: Bridge) -> None:
    async def nested() -> Any:
        return bridge.run(bridge.cache.get("document", "d1", "acme"))

    async def nested_load() -> Any:
        return bridge.run_with(lambda _: 1, lambda ask: bridge.cache.load("document", "d1", "acme", ask))

    async def stopping() -> None:
        bridge.stop()

    for verb in (nested, nested_load, stopping):
        with pytest.raises(WrongLoopError, match="would wait for itself"):
            bridge.run(verb())


def test_source_of_a_sync_load_is_asked_in_the_calling_thread_in_its_context(bridge: Bridge) -> None:
    seen = []

    def source(context: Any) -> str:
        seen.append((get_ident(), get_current_tenant_id(), context.resource_id))
        return "made"

    with Context(tenant_id="acme"):
        for _ in range(2):
            assert bridge.run_with(source, lambda ask: bridge.cache.load("document", "d1", "acme", ask)) == "made"

    assert seen == [(get_ident(), "acme", "d1")]


def test_sync_loads_within_sync_loads_need_no_thread_each(bridge: Bridge) -> None:
    def deep(depth: int) -> int:
        if depth == 0:
            return 0
        return 1 + int(
            bridge.run_with(lambda _: deep(depth - 1), lambda ask: bridge.cache.load("n", str(depth), "a", ask))
        )

    assert deep(40) == 40


def test_equal_sync_loads_of_many_threads_ask_the_source_once(bridge: Bridge) -> None:
    asked = []

    def load(_: int) -> Any:
        return bridge.run_with(lambda _: asked.append(1) or "made", lambda ask: bridge.cache.load("d", "1", "a", ask))

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(load, range(32))) == {"made"}
    assert len(asked) == 1


def test_error_of_a_sync_source_is_the_callers(bridge: Bridge) -> None:
    def source(_: Any) -> str:
        raise LookupError("no such document")

    with pytest.raises(LookupError, match="no such document"):
        bridge.run_with(source, lambda ask: bridge.cache.load("document", "d1", "acme", ask))


def test_bridge_that_is_not_started_or_stopped_says_so() -> None:
    bridge = Bridge(Cache(Settings()))
    with pytest.raises(CacheClosedError, match=r"start\(\)"):
        bridge.run(asyncio.sleep(0))
    with bridge:
        bridge.start()
        cache = bridge.cache
    bridge.stop()

    with pytest.raises(CacheClosedError):
        bridge.run(cache.get("document", "d1", "acme"))


def test_failure_to_open_is_raised_where_the_bridge_was_started() -> None:
    with pytest.raises(ValueError, match="redis_url"):
        Bridge(Cache(Settings(redis_url="http://nowhere"))).start()


def test_process_wide_cache_can_live_on_a_bridge() -> None:
    with Bridge() as bridge, Context(tenant_id="acme"):
        assert bridge.run(CacheManager.set("document", "d1", "v", "acme"))
        assert bridge.run(bridge.cache.get("document", "d1", "acme")) == "v"


async def test_sync_verb_of_an_adapter_without_a_bridge_is_an_error_that_says_what_to_do() -> None:
    async with Cache(Settings()) as cache:
        with pytest.raises(UsageError, match=r"mget is sync.*use the async verb, or give the adapter a bridge"):
            Access(cache).call_now(lambda one: one.get("document", "d1", "acme"), "mget")


async def test_async_source_is_asked_on_the_callers_loop(bridge: Bridge) -> None:
    async def source(_: Any) -> Any:
        return asyncio.get_running_loop() is here

    here = asyncio.get_running_loop()

    assert await Access(bridge).load(source, lambda cache, ask: cache.load("document", "d1", "acme", ask)) is True
