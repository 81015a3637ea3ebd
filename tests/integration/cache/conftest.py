"""Caches on the server at hand: what one process or several would hold."""

from contextlib import AsyncExitStack

import pytest

from alacena.engine import Cache, Settings


@pytest.fixture
async def open_cache(redis_url):
    """A factory of caches on one server, each as good as a process of its own."""
    async with AsyncExitStack() as stack:

        async def opened(**settings):
            options = {"redis_url": redis_url, "ttl_jitter_ratio": 0.0, "redis_budget_s": 5.0, **settings}
            policies = options.pop("policies", None)
            return await stack.enter_async_context(Cache(Settings(**options), policies=policies))

        yield opened


@pytest.fixture
async def cache(open_cache):
    return await open_cache()


@pytest.fixture
async def other(open_cache):
    return await open_cache()
