"""What a stranger has: the process-wide cache in memory or on a server, and an engine of his own on the same server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, configure
from alacena.engine import Cache, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from proving.servers.redis_server import RedisServer

MODES = ("memory", "server")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Where the cache keeps its entries: ``memory`` alone, or a ``server`` behind it."""
    return str(request.param)


@pytest.fixture
def url(mode: str, request: pytest.FixtureRequest) -> str | None:
    """The server's URL, ``None`` in memory mode."""
    if mode == "memory":
        return None
    server: RedisServer = request.getfixturevalue("valkey_server")
    return server.url


@pytest.fixture
async def manager(url: str | None) -> AsyncIterator[type[CacheManager]]:
    """The process-wide cache, opened in this mode; closed at the end. Times to live have no jitter."""
    configure(redis_url=url, ttl_jitter_ratio=0.0, redis_budget_s=5.0)
    await CacheManager.initialize()
    try:
        yield CacheManager
    finally:
        await CacheManager.close()
        configure()  # as in a new process: the next test that names no setting must not find this one's


@pytest.fixture
async def open_cache(url: str | None) -> AsyncIterator[Callable[..., Awaitable[Cache]]]:
    """A factory of engine caches; on a server each is as good as a process of its own."""
    async with AsyncExitStack() as stack:

        async def opened(**settings: Any) -> Cache:
            parts = {name: settings.pop(name) for name in ("policies", "keyring", "observers") if name in settings}
            options = {"redis_url": url, "ttl_jitter_ratio": 0.0, "redis_budget_s": 5.0, **settings}
            return await stack.enter_async_context(Cache(Settings(**options), **parts))

        yield opened


@pytest.fixture
async def cache(open_cache: Callable[..., Awaitable[Cache]]) -> Cache:
    """One engine cache."""
    return await open_cache()
