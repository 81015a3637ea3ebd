"""Alacena, through the door its users take: `CacheManager`, `get_with_cache_aside`. Its own codec, its defaults."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena import Cache, CacheManager, Settings, configure, get_with_cache_aside
from alacena.common import runtime
from alacena.engine import Policy
from proving.rivals.rival import Ask, BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KIND = "document"
TENANT = "acme"
_ROOM_BYTES = 2_000


class _Alacena(Drops, BatchRunner):
    """What both doors share."""

    async def open(self, place: Place) -> None:
        self._load = place.load
        configure(
            redis_url=place.url if place.path else None,
            memory_max_bytes=place.entries * _ROOM_BYTES,
            memory_max_entries=place.entries,
            policies={KIND: self._policy(place)},
        )
        await CacheManager.initialize()
        self._cache = await runtime.opened()

    def _policy(self, place: Place) -> Policy:
        return Policy(ttl=place.ttl_s)

    async def set(self, key: str, value: Any) -> None:
        await CacheManager.set(KIND, key, value, TENANT)

    async def get_or_load(self, key: str) -> Any:
        value, _ = await get_with_cache_aside(KIND, key, TENANT, self._load)
        return value

    async def delete(self, key: str) -> None:
        await CacheManager.delete(KIND, key, TENANT)

    async def set_many(self, values: Mapping[str, Any]) -> None:
        await CacheManager.set_many(KIND, values, TENANT)

    async def settle(self) -> None:
        # Not by `stats`, which walks through memory: asked in each turn, it would be a part of what is measured.
        flights = self._cache._open_parts().flights
        while len(flights):
            await asyncio.sleep(0)

    async def close(self) -> None:
        await CacheManager.close()

    def loaded_hit(self, key: str) -> Ask:
        return Ask(get_with_cache_aside, (KIND, key, TENANT, self._load))


class InMemory(_Alacena):
    """Memory in front; the server behind it where there is one."""

    about = "CacheManager, both tiers"

    async def get(self, key: str) -> Any:
        return await CacheManager.get(KIND, key, TENANT)

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        found = await CacheManager.get_many(KIND, keys, TENANT)
        return [found.get(key) for key in keys]

    def hit(self, key: str) -> Ask:
        return Ask(CacheManager.get, (KIND, key, TENANT))


class FailSafe(InMemory):
    """An expired value where the source fails, or takes longer than a tenth of the time to live."""

    about = "stale_if_error_s, soft_timeout_s, retry_after_s of one time to live"

    def _policy(self, place: Place) -> Policy:
        return Policy(
            ttl=place.ttl_s,
            stale_if_error_s=place.stale_s,
            soft_timeout_s=place.ttl_s / 10,
            retry_after_s=place.ttl_s,
        )


class Behind(InMemory):
    """An expired value at once, renewed behind."""

    about = "stale_while_revalidate_s, retry_after_s of one time to live"

    def _policy(self, place: Place) -> Policy:
        return Policy(ttl=place.ttl_s, stale_while_revalidate_s=place.stale_s, retry_after_s=place.ttl_s)


class OnRedis(_Alacena):
    """Each read asks the server; memory keeps nothing."""

    about = "CacheManager.get(use_memory=False)"

    async def get(self, key: str) -> Any:
        return await CacheManager.get(KIND, key, TENANT, use_memory=False)

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        found = await self._cache.get_many(KIND, keys, TENANT, use_memory=False)
        return [found.get(key) for key in keys]

    def hit(self, key: str) -> Ask:
        return Ask(CacheManager.get, (KIND, key, TENANT, None, None, None, False))


class Promoted(Drops):
    """Each read finds nothing in memory, asks the server, and keeps a copy that the next key displaces."""

    about = "Cache.get, memory of one entry: every hit is promoted"

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._cache = Cache(Settings(redis_url=place.url, memory_max_entries=1, ttl_default_s=place.ttl_s))
        await self._cache.open()

    async def get(self, key: str) -> Any:
        return await self._cache.get(KIND, key, TENANT)

    async def set(self, key: str, value: Any) -> None:
        await self._cache.set(KIND, key, value, TENANT)

    async def get_or_load(self, key: str) -> Any:
        return await self._cache.load(KIND, key, TENANT, lambda _: self._load(key))

    async def delete(self, key: str) -> None:
        await self._cache.delete(KIND, key, TENANT)

    async def close(self) -> None:
        await self._cache.close()

    def hit(self, key: str) -> Ask:
        return Ask(self._cache.get, (KIND, key, TENANT))
