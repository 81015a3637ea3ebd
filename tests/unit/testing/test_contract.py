"""The contract, kept by the memory-only cache, by the whole cache in a simulation, and on a server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from alacena.engine.api.cache import Cache
from alacena.engine.base.settings import Settings
from alacena.testing.contract import CacheContract
from tests.simulator import LinkProfile, SimOptions, SimServer, Simulation, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from proving.servers.redis_server import RedisServer


class TestMemoryOnly(CacheContract):
    @asynccontextmanager
    async def open_cache(self) -> AsyncIterator[Cache]:
        async with Cache() as cache:
            yield cache


class TestSimulated(CacheContract):
    @asynccontextmanager
    async def open_cache(self) -> AsyncIterator[Cache]:
        settings = Settings(redis_url="redis://redis:6379")
        async with Cache(settings, environment=self.simulation.environment) as cache:
            yield cache

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def main(sim: Simulation) -> None:
            self.simulation = sim
            SimServer(sim)
            await test()

        for seed in range(3):
            run(main, seed=seed, options=SimOptions(profile=LinkProfile(split_ratio=0.3)))


class TestOnServer(CacheContract):
    @pytest.fixture(autouse=True)
    def _server(self, valkey_server: RedisServer) -> None:
        self.url = valkey_server.url

    @asynccontextmanager
    async def open_cache(self) -> AsyncIterator[Cache]:
        async with Cache(Settings(redis_url=self.url)) as cache:
            yield cache
