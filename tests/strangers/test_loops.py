"""One event loop after another, and several at once: jobs of Celery, suites of tests, threads."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, configure
from alacena.common.runtime import PROCESS
from alacena.engine import WrongLoopError
from alacena.engine.remote.redis import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def configured(url: str | None) -> Iterator[None]:
    """The process-wide cache in this mode, without a loop of the fixture's own."""
    configure(redis_url=url, ttl_jitter_ratio=0.0, redis_budget_s=5.0)
    yield
    asyncio.run(CacheManager.close())
    configure()


async def job(number: int) -> int:
    await CacheManager.set("document", "d", number, "acme")
    value: int = await CacheManager.get("document", "d", "acme")
    return value


def in_a_loop_that_ends(number: int) -> int:
    """What Celery does for each task."""
    return asyncio.run(job(number))


@pytest.fixture
def collected() -> Iterator[None]:
    """Sockets of loops that ended are closed by the garbage collector, which says so: here, not in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("collected")
def test_a_second_loop_opens_the_cache_anew(configured: None, caplog: pytest.LogCaptureFixture) -> None:
    """aio-libs/aiocache#1056, django/channels_redis#332: the second asyncio.run failed although nothing could be lost."""
    caplog.set_level(logging.INFO, "alacena")
    assert [in_a_loop_that_ends(number) for number in (1, 2, 3)] == [1, 2, 3]
    assert caplog.text.count("is opened anew") == 2


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("collected")
def test_the_settings_can_be_changed_when_the_loop_has_ended(configured: None) -> None:
    """pytest-dev/pytest-asyncio#413: each test has a loop of its own, and a fixture that configures anew."""
    in_a_loop_that_ends(1)
    configure(ttl_jitter_ratio=0.0)
    assert in_a_loop_that_ends(2) == 2


def test_a_loop_that_still_runs_keeps_its_cache(configured: None) -> None:
    """redis/redis-py#3048: where something could be lost, the error is clear, and the first loop is not disturbed."""

    async def first() -> int:
        await job(1)
        other = asyncio.to_thread(lambda: asyncio.run(job(2)))
        with pytest.raises(WrongLoopError, match="has not ended"):
            await other
        value: int = await CacheManager.get("document", "d", "acme")
        await CacheManager.close()
        return value

    assert asyncio.run(first()) == 1


def test_threads_that_start_together_have_one_cache_or_an_error(configured: None) -> None:
    """redis/redis-py#3048: three threads opened three caches, and two of them failed from their second read on."""
    opened, ready, done = [], threading.Barrier(3), threading.Barrier(3)
    failed: list[BaseException] = []

    async def work() -> None:
        ready.wait(30)
        try:
            for number in range(3):
                assert await job(number) == number
            opened.append(PROCESS.cache)
        except WrongLoopError as error:
            failed.append(error)
        await asyncio.to_thread(done.wait, 30)
        if PROCESS.loop is asyncio.get_running_loop():
            await CacheManager.close()

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(opened) == 1
    assert len(failed) == 2


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("collected")
def test_no_embedded_servers_pile_up(caplog: pytest.LogCaptureFixture) -> None:
    """aio-libs/aiocache#1056, with ``embedded://``: each job left a server that lived as long as the process."""
    configure(redis_url="embedded://", redis_budget_s=5.0)
    guards: list[Any] = []

    async def task() -> None:
        await CacheManager.initialize()
        guards.extend(server._guard for server in embedded._running if server._guard not in guards)

    try:
        for _ in range(3):
            asyncio.run(task())
        asyncio.run(CacheManager.close())
        assert len([guard for guard in guards if guard is not None]) == 3
        for guard in guards:
            if guard is not None:
                guard.wait(30)  # it ends by itself, or this raises
    finally:
        configure()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.usefixtures("collected")
def test_the_end_of_a_loop_is_no_fault_of_a_task(configured: None, caplog: pytest.LogCaptureFixture) -> None:
    """basicmachines-co/basic-memory#842: a background task that ended with its loop was reported as a failure."""
    caplog.set_level(logging.WARNING, "alacena")
    assert [in_a_loop_that_ends(number) for number in (1, 2)] == [1, 2]
    assert caplog.messages == []
