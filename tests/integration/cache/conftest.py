"""Caches on the server at hand: what one process or several would hold."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from alacena.engine import Cache, Settings


async def until(condition, deadline_s=5.0):
    """Wait for what a server does in its own time, and fail where it never does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while True:
        outcome = condition()
        if asyncio.iscoroutine(outcome):
            outcome = await outcome
        if outcome:
            return
        assert loop.time() < end, "it never came"
        await asyncio.sleep(0.002)


@pytest.fixture
async def open_cache(redis_url):
    """A factory of caches on one server, each as good as a process of its own."""
    async with AsyncExitStack() as stack:

        async def opened(**settings):
            options = {"redis_url": redis_url, "ttl_jitter_ratio": 0.0, **settings}
            policies = options.pop("policies", None)
            return await stack.enter_async_context(Cache(Settings(**options), policies=policies))

        yield opened


@pytest.fixture
async def cache(open_cache):
    return await open_cache()


@pytest.fixture
async def other(open_cache):
    return await open_cache()
