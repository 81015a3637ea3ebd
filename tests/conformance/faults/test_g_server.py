"""G: the way to the server, as it looks from the facade."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, configure, get_with_cache_aside
from alacena.common import runtime
from alacena.engine.base.errors import UsageError, WrongLoopError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("unopened")


async def test_g1_concurrent_first_calls_open_one_cache(server_url: str) -> None:
    configure(redis_url=server_url)
    await asyncio.gather(*(CacheManager.get("document", "d", "t") for _ in range(10)))
    opened = {id(cache) for cache in await asyncio.gather(*(runtime.opened() for _ in range(10)))}
    assert len(opened) == 1
    await CacheManager.close()
    await CacheManager.close()
    assert runtime.PROCESS.cache is None


async def test_g1_a_cancelled_first_caller_does_not_stop_the_opening_for_the_others() -> None:
    first = asyncio.create_task(CacheManager.get("document", "d", "t"))
    second = asyncio.create_task(CacheManager.get("document", "d", "t"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is None
    assert first.cancelled() or first.done()


async def test_g1_it_can_be_configured_only_while_it_is_closed() -> None:
    await CacheManager.initialize()
    with pytest.raises(UsageError, match="close"):
        configure(redis_url=None)
    await CacheManager.close()
    configure(memory_max_bytes=1024)


@pytest.fixture
def _forgotten() -> Iterator[None]:
    yield
    runtime.PROCESS.hold(None, None)
    runtime.PROCESS.tasks.clear()


@pytest.mark.usefixtures("_forgotten")
def test_g1_another_event_loop_that_runs_is_an_error_that_says_so_and_an_ended_one_makes_room() -> None:
    async def use() -> Any:
        await CacheManager.set("document", "d", 1, "t")
        return await CacheManager.get("document", "d", "t")

    assert asyncio.run(use()) == 1
    assert asyncio.run(_get()) is None
    assert asyncio.run(use()) == 1

    async def reopen() -> Any:
        await use()
        there = await asyncio.to_thread(_on_a_loop_of_its_own)
        await CacheManager.close()
        return there

    with pytest.raises(WrongLoopError, match="another event loop"):
        asyncio.run(reopen())


async def _get() -> Any:
    return await CacheManager.get("document", "d", "t")


def _on_a_loop_of_its_own() -> Any:
    return asyncio.run(_get())


async def test_g2_a_server_that_is_away_is_asked_briefly_and_the_source_answers() -> None:
    configure(redis_url="redis://127.0.0.1:1", redis_connect_timeout_s=0.2)
    calls = []
    for _ in range(20):
        value, metrics = await get_with_cache_aside("x", "d", "t", lambda: calls.append(1) or "v")
        assert (value, metrics["cache_hit"]) == ("v", False)
    assert len(calls) == 20


async def test_g3_failures_are_counted_and_told_to_observers() -> None:
    events: list[Any] = []
    observer = SimpleNamespace(observe=events.append)
    configure(redis_url="redis://127.0.0.1:1", redis_connect_timeout_s=0.1, observers=[observer])
    await CacheManager.get("x", "d", "t")
    assert (await runtime.opened()).stats()["backend_failures"] >= 1
    assert any(type(event).__name__ == "BackendFailed" for event in events)
