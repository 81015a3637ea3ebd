"""The second tiers and the two faces, every pair of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from alacena import CacheManager, configure, get_with_cache_aside
from alacena.common import runtime
from alacena.engine import UNSET, Policy
from proving.servers.redis_server import RedisServer
from tests.servers.fixtures import _emptied, require_flavour
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alacena import Cache
    from proving.servers.shared import SharedServers

POLICIES = {
    "note": Policy(ttl=600, jitter_ratio=0),
    "negative": Policy(ttl=600, negative_ttl_s=600, jitter_ratio=0),
    "unkept": Policy(ttl=600, use_memory=False, jitter_ratio=0),
}


class EngineFace:
    """The engine's own verbs."""

    name = "Cache"

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.get = cache.get
        self.set = cache.set
        self.delete = cache.delete
        self.get_many = cache.get_many
        self.set_many = cache.set_many
        self.ttl = cache.ttl

    async def invalidate(self, *args: Any, document_id: str | None = None, **options: Any) -> int:
        documents = () if document_id is None else (document_id,)
        return await self.cache.invalidate(*args, document_ids=documents, **options)

    async def load(self, data_type: str, resource_id: str, tenant_id: str, loader: Any, ttl: Any = UNSET) -> Any:
        return await self.cache.load(data_type, resource_id, tenant_id, loader, ttl=ttl)


class ManagerFace:
    """The guide's verbs."""

    name = "CacheManager"

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.get = CacheManager.get
        self.set = CacheManager.set
        self.delete = CacheManager.delete
        self.invalidate = CacheManager.invalidate
        self.get_many = CacheManager.get_many
        self.set_many = CacheManager.set_many
        self.ttl = CacheManager.ttl

    async def load(self, data_type: str, resource_id: str, tenant_id: str, loader: Any, ttl: Any = None) -> Any:
        value, metrics = await get_with_cache_aside(data_type, resource_id, tenant_id, loader, ttl=ttl)
        assert metrics["resource_id"] == resource_id
        return value


@pytest.fixture(params=["memory", "valkey", "redis", *(["embedded"] if os.environ.get("TESTS_CHAOS") else [])])
def second_tier(request: pytest.FixtureRequest, _servers: SharedServers) -> str | None:
    """What ``redis_url`` is set to."""
    if request.param == "memory":
        return None
    if request.param == "embedded":
        return "embedded://"
    require_flavour(request.param)
    return _emptied(_servers.get(RedisServer, request.param)).url


@pytest.fixture
async def cache(second_tier: str | None) -> AsyncIterator[Cache]:
    """The process-wide cache over the remote tier, open."""
    configure(redis_url=second_tier, policies=POLICIES, ttl_jitter_ratio=0.0, redis_budget_s=5.0)
    try:
        yield await runtime.opened()
    finally:
        await runtime.close()
        configure()


@pytest.fixture(params=[EngineFace, ManagerFace], ids=lambda face: face.name)
def face(request: pytest.FixtureRequest, cache: Cache) -> Any:
    """One of the two faces."""
    return request.param(cache)


@pytest.fixture
def settled(cache: Cache) -> Any:
    """Waits until the work behind the answers is done."""

    async def wait() -> None:
        await until(lambda: cache._parts is None or not cache._parts.flights.tasks)

    return wait
