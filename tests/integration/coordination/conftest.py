"""Every contract test runs on the store of this process, and on the library's own store on every kind of server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from alacena.engine.api.cache import Cache
from alacena.engine.base.settings import Settings
from proving.servers.redis_server import RedisServer
from proving.servers.topology import RedisCluster, RedisSentinel
from tests.integration.coordination.stand import LossyStore, port_of
from tests.servers.fixtures import require_flavour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from alacena.coordination.coordination_context import CoordinationContext
    from proving.servers.redis_server import Flavour
    from proving.servers.shared import SharedServers

_valkey_with_file = partial(RedisServer, extra=("--appendonly", "yes"))
"""One object, so that the session shares the server."""


@pytest.fixture(params=["valkey", "redis"])
def file_server(request: pytest.FixtureRequest, _servers: SharedServers) -> RedisServer:
    """An emptied server that keeps a file, of each flavour in turn, shared by the session."""
    return _emptied(_servers, request.param)


@pytest.fixture(params=["process", "valkey", "redis", "cluster", "sentinel"])
def place(request: pytest.FixtureRequest, _servers: SharedServers) -> str | None:
    """Where things are: ``None`` for this process, else the URL of an emptied server."""
    if request.param == "process":
        return None
    if request.param == "cluster":
        cluster = _servers.get(RedisCluster, "valkey")
        cluster.reset()
        return f"redis+cluster://127.0.0.1:{cluster.nodes[0].port}"
    if request.param == "sentinel":
        guarded = _servers.get(RedisSentinel, "valkey")
        guarded.primary.reset()
        hosts = ",".join(f"{host}:{port}" for host, port in guarded.addresses)
        return f"redis+sentinel://{hosts}/{guarded.service}"
    return _emptied(_servers, request.param).url


def _emptied(servers: SharedServers, flavour: Flavour) -> RedisServer:
    require_flavour(flavour)
    server = servers.get(_valkey_with_file, flavour)
    server.reset()
    return server


@pytest.fixture
async def cache(place: str | None) -> AsyncIterator[Cache]:
    async with Cache(Settings(redis_url=place)) as cache:
        yield cache


@pytest.fixture
async def store(cache: Cache) -> LossyStore:
    return LossyStore(port_of(cache).store)


@pytest.fixture
async def port(cache: Cache, store: LossyStore) -> CoordinationContext:
    """What the cache's own objects stand on, with a store that can lose replies."""
    return port_of(cache, store)
