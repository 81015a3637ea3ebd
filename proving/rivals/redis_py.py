"""redis-py's asyncio client with hiredis, a blocking pool so that callers share connections, msgpack by msgspec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis

from proving.rivals.rival import BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECTIONS = 20
"""More make 100 and 1,000 callers slower: they all share one processor of the client."""


class RedisPy(Drops, BatchRunner):
    """One client."""

    about = f"pool of {CONNECTIONS}, hiredis; msgspec msgpack"

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._ttl_s = place.ttl_s
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder().decode
        pool = BlockingConnectionPool.from_url(place.url, max_connections=CONNECTIONS, timeout=None, protocol=3)
        self._client = Redis.from_pool(pool)

    async def get(self, key: str) -> Any:
        data: Any = await self._client.get(key)
        return None if data is None else self._decode(data)

    async def set(self, key: str, value: Any) -> None:
        await self._client.set(key, self._encode(value), ex=self._ttl_s)

    async def get_or_load(self, key: str) -> Any:
        value = await self.get(key)
        if value is None:
            value = await self._load(key)
            await self.set(key, value)
        return value

    async def delete(self, key: str) -> None:
        await self._client.unlink(key)

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        found: list[Any] = await self._client.mget(keys)
        return [None if data is None else self._decode(data) for data in found]

    async def set_many(self, values: Mapping[str, Any]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(key, self._encode(value), ex=self._ttl_s)
            await pipeline.execute()

    async def close(self) -> None:
        await self._client.aclose()
