"""The process-wide cache, in memory and on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alacena import Cache, Settings, configure
from alacena.common import runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def server_url(request: pytest.FixtureRequest) -> str:
    """Where an emptied server of the session is."""
    url: str = request.getfixturevalue("valkey_server").url
    return url


@pytest.fixture(params=["memory", "server"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Memory only, and a server, in turn. No jitter, so that times to live can be compared."""
    url = None if request.param == "memory" else request.getfixturevalue("server_url")
    return Settings(redis_url=url, ttl_jitter_ratio=0.0, redis_budget_s=5.0)


@pytest.fixture
async def unopened() -> AsyncIterator[None]:
    """No process-wide cache is open; the test configures its own. Closed and forgotten afterwards."""
    yield
    await runtime.close()
    configure()


@pytest.fixture
async def cache(settings: Settings, unopened: None) -> Cache:
    """The process-wide cache, open."""
    configure(redis_url=settings.redis_url, ttl_jitter_ratio=settings.ttl_jitter_ratio, redis_budget_s=5.0)
    return await runtime.opened()


@pytest.fixture
async def server_cache(server_url: str, unopened: None) -> Cache:
    """The process-wide cache on a server, for what only a server can show."""
    configure(redis_url=server_url, ttl_jitter_ratio=0.0, redis_budget_s=5.0)
    return await runtime.opened()


@pytest.fixture
async def neighbour(server_url: str, server_cache: Cache) -> AsyncIterator[Cache]:
    """What another process with a cache on the same server would be."""
    async with Cache(Settings(redis_url=server_url, ttl_jitter_ratio=0.0, redis_budget_s=5.0)) as cache:
        yield cache
