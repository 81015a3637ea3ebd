"""valkey-glide: a client in Rust, one multiplexed connection, msgpack by msgspec."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import glide
import msgspec

from proving.rivals.rival import BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Glide(Drops, BatchRunner):
    """One client."""

    about = "default settings; msgspec msgpack"

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._ttl_s = place.ttl_s
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder().decode
        glide.Logger.set_logger_config(glide.LogLevel.OFF)
        addresses = [
            glide.NodeAddress("127.0.0.1", place.port) if place.port else glide.NodeAddress(unix_socket_path=place.path)
        ]
        settings = glide.GlideClientConfiguration(addresses, request_timeout=5_000, inflight_requests_limit=4_000)
        self._client = await glide.GlideClient.create(settings)

    async def get(self, key: str) -> Any:
        data = await self._client.get(key)
        return None if data is None else self._decode(data)

    async def set(self, key: str, value: Any) -> None:
        await self._client.set(key, self._encode(value), expiry=glide.ExpirySet(glide.ExpiryType.SEC, self._ttl_s))

    async def get_or_load(self, key: str) -> Any:
        value = await self.get(key)
        if value is None:
            value = await self._load(key)
            await self.set(key, value)
        return value

    async def delete(self, key: str) -> None:
        await self._client.unlink([key])

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        found = await self._client.mget(list(keys))
        return [None if data is None else self._decode(data) for data in found]

    async def set_many(self, values: Mapping[str, Any]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values.items()))

    async def close(self) -> None:
        await self._client.close()
