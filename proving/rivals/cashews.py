"""cashews: its decorator with a lock across processes, as its documentation recommends, and its default serializer.

That one is pickle, written in C and the fastest of those it brings; arrays go through it as one buffer.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from cashews import Cache
from cashews.backends.redis import Redis
from cashews.picklers import PicklerType
from cashews.wrapper.backend_settings import register_backend

from proving.rivals.rival import Ask, BatchRunner, Drops, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECTIONS = 20


class _Cashews(Drops, BatchRunner):
    """What both tiers share.

    Attributes:
        options: What its decorator is given against a stampede.
        cache: The cache itself, once it is open.
    """

    cache: Cache
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def _set_up(self, cache: Cache, place: Place) -> None:
        raise NotImplementedError

    async def open(self, place: Place) -> None:
        self._ttl_s = place.ttl_s
        self.cache = Cache()
        self._set_up(self.cache, place)
        await self.cache.init()
        self.get = self.cache.get  # type: ignore[method-assign]

        async def through(key: str) -> Any:
            return await place.load(key)

        self.get_or_load = self._decorated(through, place)  # type: ignore[method-assign]

    def _decorated(self, through: Any, place: Place) -> Any:
        return self.cache(ttl=place.ttl_s, key="{key}", **self.options)(through)

    async def get(self, key: str) -> Any:
        return await self.cache.get(key)

    async def set(self, key: str, value: Any) -> None:
        await self.cache.set(key, value, expire=self._ttl_s)

    async def get_or_load(self, key: str) -> Any:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        await self.cache.delete(key)

    async def get_many(self, keys: Sequence[str]) -> list[Any]:
        return list(await self.cache.get_many(*keys))

    async def set_many(self, values: Mapping[str, Any]) -> None:
        await self.cache.set_many(values, expire=self._ttl_s)

    async def close(self) -> None:
        await self.cache.close()

    def hit(self, key: str) -> Ask:
        return Ask(self.cache.get, (key,))


class InMemory(_Cashews):
    """Its memory backend."""

    about = "mem://; decorator with protected=True"
    options = MappingProxyType({"protected": True})

    def _set_up(self, cache: Cache, place: Place) -> None:
        cache.setup("mem://", size=place.entries)


class Early(InMemory):
    """Its decorator that renews behind."""

    about = "mem://; @cache.early"

    def _decorated(self, through: Any, place: Place) -> Any:
        return self.cache.early(ttl=place.ttl_s + place.stale_s, early_ttl=place.ttl_s, key="{key}")(through)


class Soft(InMemory):
    """Its decorator that keeps what expired in case of a failure."""

    about = "mem://; @cache.soft"

    def _decorated(self, through: Any, place: Place) -> Any:
        return self.cache.soft(ttl=place.ttl_s + place.stale_s, soft_ttl=place.ttl_s, key="{key}")(through)


class Failover(InMemory):
    """Its decorator for failures, around the plain one."""

    about = "mem://; @cache.failover around @cache"

    def _decorated(self, through: Any, place: Place) -> Any:
        return self.cache.failover(ttl=place.ttl_s + place.stale_s, key="{key}")(super()._decorated(through, place))


class OnRedis(_Cashews):
    """Its Redis backend."""

    about = f"pool of {CONNECTIONS}; decorator with lock=True; pickle"
    options = MappingProxyType({"lock": True})
    pickler = PicklerType.DEFAULT

    def _set_up(self, cache: Cache, place: Place) -> None:
        register_backend("unix", Redis, pass_uri=True, pickler=self.pickler)
        cache.setup(place.url, max_connections=CONNECTIONS, suppress=False)


class Jsoned(OnRedis):
    """With JSON, the other one of its own that holds lists of numbers."""

    about = f"pool of {CONNECTIONS}; JSON"
    pickler = PicklerType.JSON


class ClientSide(OnRedis):
    """Its Redis backend with copies in this process, of whose ends the server tells.

    Its lock across processes is taken for hits too, and costs them twenty times as much: the one within a process is used.
    """

    about = f"client_side=True, pool of {CONNECTIONS}; decorator with protected=True; pickle"
    options = MappingProxyType({"protected": True})

    def _set_up(self, cache: Cache, place: Place) -> None:
        cache.setup(place.url, client_side=True, max_connections=CONNECTIONS, suppress=False)
