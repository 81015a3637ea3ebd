"""Ours and other caches behind the same verbs, in a process that does what it is told."""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from alacena.engine import Cache, Settings
from proving.reliability.place import OURS
from proving.reliability.truth import Truth
from proving.rivals.rival import Drops, Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Sequence

    from proving.reliability.place import Effort
    from proving.stand.workers import Talk


class _Rival(NamedTuple):
    """Where another cache's adapter is.

    Attributes:
        package: What has to be installed.
        adapter: Module and class.
    """

    package: str
    adapter: str


RIVALS = {
    "aiocache": _Rival("aiocache", "aiocache:OnRedis"),
    "cashews": _Rival("cashews", "cashews:OnRedis"),
    "dogpile": _Rival("dogpile", "dogpile:OnRedis"),
    "coredis": _Rival("coredis", "coredis:Tracked"),
    "redis-py": _Rival("redis", "redis_py:RedisPy"),
}
"""Other caches, each with the best that it has for several processes; the last, a client, with a cache-aside by hand."""

THREADED = ("dogpile",)
"""Those whose calls run in threads: nobody can cancel them, nor give them up."""

_TENANT = "acme"
_KIND = "document"


class Ours(Drops):
    """Our cache, straight."""

    about = "Cache"

    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        self._settings = settings or {}

    async def open(self, place: Place) -> None:
        self._load = place.load
        self._cache = Cache(Settings(**{"redis_url": place.url, **self._settings}))
        await self._cache.open()

    async def get(self, key: str) -> Any:
        return await self._cache.get(_KIND, key, _TENANT)

    async def set(self, key: str, value: Any) -> None:
        await self._cache.set(_KIND, key, value, _TENANT)

    async def get_or_load(self, key: str) -> Any:
        return await self._cache.load(_KIND, key, _TENANT, lambda: self._load(key))

    async def delete(self, key: str) -> None:
        await self._cache.delete(_KIND, key, _TENANT)

    async def invalidate(self, key: str, how: str) -> None:
        """End a key by what covers it: its resource, its type or its tenant."""
        wide: dict[str, tuple[str, ...]] = {"resource": (_KIND, key), "type": (_KIND,), "tenant": ()}
        await self._cache.invalidate(_TENANT, *wide[how])

    async def close(self) -> None:
        await self._cache.close()


def others(effort: Effort, *, but: Container[str] = ()) -> list[str]:
    """The other caches, where they are wanted and installed."""
    return [who for who, rival in RIVALS.items() if effort.peers and who not in but and find_spec(rival.package)]


def contender(who: str, settings: dict[str, Any] | None = None) -> Drops:
    """One of them, not open yet."""
    if who == OURS:
        return Ours(settings)
    module, _, cls = RIVALS[who].adapter.partition(":")
    made: Drops = getattr(import_module(f"proving.rivals.{module}"), cls)()
    return made


class Contender:
    """The verbs."""

    def __init__(self, cache: Drops) -> None:
        self._cache = cache
        self._started: list[asyncio.Task[Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reading = 0

    async def begin(self, keys: Sequence[int], callers: int) -> None:
        """Begin reads whose source, once it was asked, answers only after :meth:`finish`."""
        self.gate.clear()
        self.reading = 0
        self._started = [asyncio.create_task(self._read(key)) for key in keys for _ in range(callers)]
        async with asyncio.timeout(20):
            while self.reading < len(keys):
                await asyncio.sleep(0.001)

    async def finish(self) -> list[int]:
        """Let the source answer; what the readers got."""
        self.gate.set()
        return list(await asyncio.gather(*self._started))

    async def delete(self, keys: Sequence[int]) -> None:
        """Forget entries, as users of this cache do when the source has changed."""
        for key in keys:
            await self._cache.delete(f"d{key}")

    async def invalidate(self, keys: Sequence[int], how: str) -> None:
        """Ours only: end entries by what covers them."""
        assert isinstance(self._cache, Ours)
        for key in keys:
            await self._cache.invalidate(f"d{key}", how)

    async def read(self, keys: Sequence[int]) -> list[int]:
        """Read, loading where need be."""
        return [await self._read(key) for key in keys]

    async def look(self, keys: Sequence[int]) -> list[int]:
        """What the cache has, without loading; 0 where it has nothing, or fails."""
        found = []
        for key in keys:
            try:
                found.append(await self._cache.get(f"d{key}") or 0)
            except Exception:
                found.append(0)
        return found

    async def _read(self, key: int) -> int:
        version: int = await self._cache.get_or_load(f"d{key}")
        return version


def source_of(truth: Truth, contender: Contender) -> Callable[[str], Awaitable[int]]:
    """What the cache loads from."""

    async def load(key: str) -> int:
        version = truth.load(int(key[1:]))
        contender.reading += 1
        await contender.gate.wait()
        return version

    return load


async def obey(talk: Talk, *, who: str, path: str, truth: str) -> None:
    """Open a cache and do what is said, until nothing is said any more."""
    cache = contender(who)
    with Truth(truth) as source:
        verbs = Contender(cache)
        await cache.open(Place(source_of(source, verbs), path))
        try:
            talk.say("ready")
            while word := await talk.hear():
                verb, arguments, options = msgspec.json.decode(word)
                try:
                    talk.say({"answer": await getattr(verbs, verb)(*arguments, **options)})
                except Exception as error:
                    talk.say({"error": repr(error)})
        finally:
            await cache.close()
