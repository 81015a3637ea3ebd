"""cachetools: a TTLCache, synchronous and called without await; its users write the load around it themselves."""

from __future__ import annotations

from typing import Any

from cachetools import TTLCache

from proving.rivals.rival import Ask, Drops, Place


class InMemory(Drops):
    """A TTLCache."""

    about = "TTLCache, called without await"

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._cache: TTLCache[str, Any] = TTLCache(place.entries, place.ttl_s)

    async def get(self, key: str) -> Any:
        return self._cache.get(key)

    async def set(self, key: str, value: Any) -> None:
        self._cache[key] = value

    async def get_or_load(self, key: str) -> Any:
        value = self._cache.get(key)
        if value is None:
            value = self._cache[key] = await self._load(key)
        return value

    async def delete(self, key: str) -> None:
        self._cache.pop(key, None)

    async def close(self) -> None:
        self._cache.clear()

    def hit(self, key: str) -> Ask:
        return Ask(self._cache.get, (key,), awaited=False)
