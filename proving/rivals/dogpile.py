"""dogpile.cache: synchronous; in memory called directly, on a server in a thread, as its users in asyncio must."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
from dogpile.cache import make_region
from dogpile.cache.api import NO_VALUE

from proving.rivals.rival import Ask, BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_THREADS = 64


class InMemory(Drops):
    """Its memory backend: a dict."""

    about = "dogpile.cache.memory, called without await"

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._region = make_region().configure("dogpile.cache.memory", expiration_time=place.ttl_s)

    async def get(self, key: str) -> Any:
        value = self._region.get(key)
        return None if value is NO_VALUE else value

    async def set(self, key: str, value: Any) -> None:
        self._region.set(key, value)

    async def get_or_load(self, key: str) -> Any:
        value = await self.get(key)
        if value is None:
            value = await self._load(key)
            await self.set(key, value)
        return value

    async def delete(self, key: str) -> None:
        self._region.delete(key)

    async def close(self) -> None:
        self._region = make_region()

    def hit(self, key: str) -> Ask:
        return Ask(self._region.get, (key,), awaited=False)

    def loaded_hit(self, key: str) -> Ask:
        return Ask(self._region.get_or_create, (key, _impossible), awaited=False)


class _InThreads(Drops):
    """What its users in asyncio must do: call it in a thread, whose creator asks the loop for the value."""

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, "dogpile")
        self._region = self._made(place)

    def _made(self, place: Place) -> Any:
        raise NotImplementedError

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._loop.run_in_executor(self._threads, function, *arguments)

    async def get(self, key: str) -> Any:
        value = await self._in_thread(self._region.get, key)
        return None if value is NO_VALUE else value

    async def set(self, key: str, value: Any) -> None:
        await self._in_thread(self._region.set, key, value)

    async def get_or_load(self, key: str) -> Any:
        def create() -> Any:
            return asyncio.run_coroutine_threadsafe(self._wait_for_change(key), self._loop).result()

        return await self._in_thread(self._region.get_or_create, key, create)

    async def _wait_for_change(self, key: str) -> Any:
        return await self._load(key)

    async def delete(self, key: str) -> None:
        await self._in_thread(self._region.delete, key)

    async def close(self) -> None:
        self._threads.shutdown(wait=False)


class Threaded(_InThreads):
    """Its memory backend: whoever comes while one thread renews an expired value is given that value."""

    about = f"dogpile.cache.memory, get_or_create in {_THREADS} threads"

    def _made(self, place: Place) -> Any:
        return make_region().configure("dogpile.cache.memory", expiration_time=place.ttl_s)


class OnRedis(_InThreads, BatchRunner):
    """Its Redis backend."""

    about = f"distributed_lock, in {_THREADS} threads; msgspec msgpack"

    def _made(self, place: Place) -> Any:
        return make_region(
            serializer=msgspec.msgpack.Encoder().encode, deserializer=msgspec.msgpack.Decoder().decode
        ).configure(
            "dogpile.cache.redis",
            expiration_time=place.ttl_s,
            arguments={
                "url": place.url,
                "redis_expiration_time": place.ttl_s,
                "distributed_lock": True,
                "thread_local_lock": False,
                "lock_timeout": 5,
            },
        )

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        found = await self._in_thread(self._region.get_multi, keys)
        return [None if value is NO_VALUE else value for value in found]

    async def set_many(self, values: Mapping[str, Any]) -> None:
        await self._in_thread(self._region.set_multi, dict(values))

    async def close(self) -> None:
        await super().close()
        backend: Any = self._region.actual_backend
        backend.reader_client.close()
        backend.writer_client.close()


def _impossible() -> Any:
    raise AssertionError("the entry was there")
