"""aiocache: a serializer of msgspec's msgpack (faster than any it brings), or pickle where values hold arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from aiocache import SimpleMemoryCache, cached, cached_stampede
from aiocache.backends.redis import RedisCache
from aiocache.serializers import BaseSerializer, JsonSerializer, PickleSerializer
from redis.asyncio import BlockingConnectionPool, Redis

from proving.rivals.rival import Ask, BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECTIONS = 20
_PROTOCOL = 5
"""Of pickle: the first that keeps an array in one piece."""


class Msgpack(BaseSerializer):  # type: ignore[misc]
    """msgspec's msgpack as a serializer of aiocache."""

    DEFAULT_ENCODING = None

    def __init__(self) -> None:
        super().__init__()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder().decode

    def dumps(self, value: Any) -> bytes:
        """Encode."""
        return self._encode(value)

    def loads(self, value: bytes | None) -> Any:
        """Decode."""
        return None if value is None else self._decode(value)


class _Aiocache(Drops, BatchRunner):
    """What both tiers share."""

    def _made(self, place: Place) -> Any:
        raise NotImplementedError

    def _decorator(self) -> Any:
        raise NotImplementedError

    async def open(self, place: Place) -> None:
        self._ttl_s = place.ttl_s
        self._cache = self._made(place)

        async def through(key: str) -> Any:
            return await place.load(key)

        decorator = self._decorator()
        decorator.cache = self._cache
        decorated = decorator(through)
        decorator.cache = decorated.cache = self._cache
        self.get_or_load = decorated  # type: ignore[method-assign]

    async def get(self, key: str) -> Any:
        return await self._cache.get(key)

    async def set(self, key: str, value: Any) -> None:
        await self._cache.set(key, value, ttl=self._ttl_s)

    async def get_or_load(self, key: str) -> Any:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        await self._cache.delete(key)

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        return list(await self._cache.multi_get(keys))

    async def set_many(self, values: Mapping[str, Any]) -> None:
        await self._cache.multi_set(list(values.items()), ttl=self._ttl_s)

    async def close(self) -> None:
        await self._cache.close()

    def hit(self, key: str) -> Ask:
        return Ask(self._cache.get, (key,))


def _key_of(_: object, key: str) -> str:
    return key


class InMemory(_Aiocache):
    """Its memory backend."""

    about = "SimpleMemoryCache, timeout=None; @cached"

    def _made(self, place: Place) -> Any:
        return SimpleMemoryCache(timeout=None)

    def _decorator(self) -> Any:
        return cached(ttl=self._ttl_s, key_builder=_key_of)


class OnRedis(_Aiocache):
    """Its Redis backend."""

    about = f"pool of {CONNECTIONS}, timeout=None; @cached_stampede; msgspec msgpack"

    def _made(self, place: Place) -> Any:
        cache = RedisCache(timeout=None, serializer=self._serializer())
        pool = BlockingConnectionPool.from_url(place.url, max_connections=CONNECTIONS, timeout=None)
        cache.client = Redis.from_pool(pool)
        return cache

    def _decorator(self) -> Any:
        return cached_stampede(lease=5, ttl=self._ttl_s, key_builder=_key_of)

    def _serializer(self) -> BaseSerializer:
        return Msgpack()


class Pickled(OnRedis):
    """With pickle, which keeps arrays in one piece."""

    about = f"pool of {CONNECTIONS}, timeout=None; pickle protocol {_PROTOCOL}"

    def _serializer(self) -> BaseSerializer:
        return PickleSerializer(protocol=_PROTOCOL)


class Jsoned(OnRedis):
    """With JSON, as its documentation shows it."""

    about = f"pool of {CONNECTIONS}, timeout=None; JSON"

    def _serializer(self) -> BaseSerializer:
        return JsonSerializer()


class Documented(OnRedis):
    """As its documentation sets it up: JSON, and a time-out for each call."""

    about = f"pool of {CONNECTIONS}, its defaults: timeout=5, JSON; @cached_stampede"

    def _made(self, place: Place) -> Any:
        cache = RedisCache()
        pool = BlockingConnectionPool.from_url(place.url, max_connections=CONNECTIONS, timeout=None)
        cache.client = Redis.from_pool(pool)
        return cache
