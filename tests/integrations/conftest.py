"""What tests of integrations have: a cache in memory or on a server, and room for a second one on the same server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine import Cache, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.servers.redis_server import RedisServer


@pytest.fixture(params=("memory", "server"))
def url(request: pytest.FixtureRequest) -> str | None:
    """The server's URL; ``None``: the cache keeps its entries in memory alone."""
    if request.param == "memory":
        return None
    server: RedisServer = request.getfixturevalue("valkey_server")
    return server.url


@pytest.fixture
async def open_cache(url: str | None) -> AsyncIterator[Callable[..., Awaitable[Cache]]]:
    """A factory of caches; on a server each is as good as a process of its own."""
    async with AsyncExitStack() as stack:

        async def opened(**settings: Any) -> Cache:
            options = {"redis_url": url, "ttl_jitter_ratio": 0.0, "redis_budget_s": 5.0, **settings}
            return await stack.enter_async_context(Cache(Settings(**options)))

        yield opened


@pytest.fixture
async def cache(open_cache: Callable[..., Awaitable[Cache]]) -> Cache:
    """One cache."""
    return await open_cache()
