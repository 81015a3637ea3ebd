"""A hit in memory asks for the thread and not for the event loop: it still answers on the cache's own loop alone."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

from alacena.engine import Cache, CacheClosedError, Policy, Settings, WrongLoopError
from alacena.testing.doubles import RecordingObserver

_TENANT = "acme"


async def _filled(**options: Any) -> Cache:
    cache = await Cache(Settings(), **options).open()
    await cache.set("note", "n", "v", _TENANT)
    return cache


async def _load(_: object) -> str:
    return "loaded"


def _reads(cache: Cache) -> tuple[Any, ...]:
    acme = cache.tenant(_TENANT)
    return (
        lambda: cache.get("note", "n", _TENANT),
        lambda: cache.load("note", "n", _TENANT, _load),
        lambda: acme.get("note", "n"),
        lambda: acme.load("note", "n", _load),
    )


def test_memory_answers_on_its_loop() -> None:
    async def scenario() -> None:
        cache = await _filled()
        for read in _reads(cache):
            assert await read() == "v"
        await cache.close()
        for read in _reads(cache):
            with pytest.raises(CacheClosedError):
                await read()

    asyncio.run(scenario())


def test_a_loop_that_comes_after_the_caches_own_gets_an_error() -> None:
    cache = asyncio.run(_filled())

    async def scenario() -> None:
        for read in _reads(cache):
            with pytest.raises(WrongLoopError):
                await read()

    asyncio.run(scenario())
    cache._parts = None


def test_another_threads_loop_gets_an_error() -> None:
    async def scenario() -> None:
        cache = await _filled()
        errors: list[BaseException] = []

        def other() -> None:
            for read in _reads(cache):
                try:
                    asyncio.run(read())
                except WrongLoopError as error:
                    errors.append(error)

        thread = threading.Thread(target=other)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert len(errors) == 4
        await cache.close()

    asyncio.run(scenario())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_child_gets_no_answer_from_its_parents_memory() -> None:
    async def scenario() -> None:
        cache = await _filled()
        assert cache._guard.thread is not None
        child = os.fork()
        if child == 0:
            os._exit(0 if cache._guard.thread is None else 1)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - the child ends at once
        assert os.waitstatus_to_exitcode(status) == 0
        assert await cache.get("note", "n", _TENANT) == "v"
        await cache.close()

    asyncio.run(scenario())


def test_hits_are_told_of_where_somebody_listens() -> None:
    async def scenario() -> None:
        seen = RecordingObserver()
        cache = await _filled(observers=(seen,))
        for read in _reads(cache):
            assert await read() == "v"
        assert len([event for event in seen.events if type(event).__name__ == "LookupFinished"]) == 4
        await cache.close()

    asyncio.run(scenario())


def test_a_type_that_memory_does_not_keep_and_one_that_renews_early_go_the_long_way() -> None:
    async def scenario() -> None:
        policies = {"note": Policy(early_refresh_beta=1.0), "row": Policy(use_memory=False)}
        cache = await _filled(policies=policies)
        assert cache._unpeeked == {"note", "row"}
        for read in _reads(cache):
            assert await read() == "v"
        await cache.close()

    asyncio.run(scenario())


def test_what_is_wrong_with_a_call_is_said_on_a_hit_too() -> None:
    async def scenario() -> None:
        cache = await _filled()
        with pytest.raises(ValueError, match="greater than 0"):
            await cache.load("note", "n", _TENANT, _load, ttl=0)
        with pytest.raises(ValueError, match="tag"):
            await cache.load("note", "n", _TENANT, _load, tags=[""])
        assert await cache.load("note", "n", _TENANT, _load, tags=["a"]) == "v"
        await cache.close()

    asyncio.run(scenario())
