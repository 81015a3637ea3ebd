"""coredis: RESP3, connections shared by many callers, msgpack by msgspec. `Tracked` adds its client-side cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import coredis
import msgspec
from coredis.patterns.cache import LRUCache

from proving.rivals.rival import BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Coredis(Drops, BatchRunner):
    """One client."""

    about = "default pool; msgspec msgpack"

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._ttl_s = place.ttl_s
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder().decode
        self._client: Any = await self._made(place).__aenter__()

    def _made(self, place: Place) -> Any:
        return coredis.Redis(**_address(place))

    async def get(self, key: str) -> Any:
        data = await self._client.get(key)
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
        await self._client.unlink([key])

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        found = await self._client.mget(keys)
        return [None if data is None else self._decode(data) for data in found]

    async def set_many(self, values: Mapping[str, Any]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(key, self._encode(value), ex=self._ttl_s)

    async def close(self) -> None:
        await self._client.__aexit__(None, None, None)


class Tracked(Coredis):
    """With its cache in front, kept up to date by the server's tracking."""

    about = "LRUCache with client tracking; msgspec msgpack"

    def _made(self, place: Place) -> Any:
        return coredis.Redis(**_address(place), cache=LRUCache(max_keys=place.entries))


def _address(place: Place) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": place.port} if place.port else {"unix_socket_path": place.path}
