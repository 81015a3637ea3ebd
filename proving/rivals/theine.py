"""theine: W-TinyLFU, called without await, without its thread locks; and its decorator with the key said by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from theine import Cache, Memoize

from proving.rivals.rival import Ask, Drops, Place


class InMemory(Drops):
    """A Cache, and a Memoize beside it: its decorator keeps its entries apart."""

    about = "Cache(nolock=True), called without await; Memoize(nolock=True) with a key function"

    async def open(self, place: Place) -> None:
        self._cache: Cache[str, Any] = Cache(place.entries, nolock=True)

        async def through(key: str) -> Any:
            return await place.load(key)

        self._life = timedelta(seconds=place.ttl_s)
        self._memoize = Memoize(place.entries, self._life, nolock=True)
        memoized: Any = self._memoize(through)
        memoized.key(lambda key: key)
        self.get_or_load = memoized  # type: ignore[method-assign]

    async def get(self, key: str) -> Any:
        return self._cache.get(key)[0]

    async def set(self, key: str, value: Any) -> None:
        self._cache.set(key, value, self._life)

    async def get_or_load(self, key: str) -> Any:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        self._cache.delete(key)

    async def close(self) -> None:
        self._cache.close()
        self._memoize.cache.close()

    def hit(self, key: str) -> Ask:
        return Ask(self._cache.get, (key,), awaited=False)
