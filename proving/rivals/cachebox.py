"""cachebox: a TTLCache in Rust, called without await, and its decorator for coroutines."""

from __future__ import annotations

from typing import Any

import cachebox

from proving.rivals.rival import Ask, Drops, Place


def _key_of(key: str) -> str:
    return key


class InMemory(Drops):
    """A TTLCache."""

    about = "TTLCache, called without await; @cached without copies"

    async def open(self, place: Place) -> None:
        self._cache: Any = cachebox.TTLCache(place.entries, place.ttl_s)

        async def through(key: str) -> Any:
            return await place.load(key)

        decorator = cachebox.cached(self._cache, key_maker=_key_of, postprocess=None)
        self.get_or_load = decorator(through)  # type: ignore[method-assign]

    async def get(self, key: str) -> Any:
        return self._cache.get(key)

    async def set(self, key: str, value: Any) -> None:
        self._cache.insert(key, value)

    async def get_or_load(self, key: str) -> Any:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        self._cache.pop(key, None)

    async def close(self) -> None:
        self._cache.clear()

    def hit(self, key: str) -> Ask:
        return Ask(self._cache.get, (key,), awaited=False)
