"""Locks of other libraries behind one shape: a block under a lock, and a number that grows with every owner."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alacena.engine import Cache, Settings
from proving.coordination.peers import installed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    Role = Literal["ours", "floor", "peer"]
    Take = Callable[[], AbstractAsyncContextManager[int | None]]
    Connect = Callable[[str, float], AbstractAsyncContextManager[Take]]

NAME = "l"


@dataclass(frozen=True, slots=True)
class LockPeer:
    """One contender.

    Attributes:
        name: As it is shown.
        package: What must be installed; empty for ours.
        connect: ``connect(url, ttl_s)`` gives a function that gives blocks under the lock; a block knows its fence.
        sends: The commands that it sends and its scripts do not call.
        role: For the table.
    """

    name: str
    package: str
    connect: Connect
    sends: tuple[str, ...] = ("set", "evalsha", "eval")
    role: Role = "peer"

    @property
    def absent(self) -> bool:
        """Whether it cannot take part."""
        return bool(self.package) and installed(self.package) is None


@asynccontextmanager
async def _ours(url: str, ttl_s: float) -> AsyncIterator[Take]:
    async with Cache(Settings(redis_url=url)) as cache:

        @asynccontextmanager
        async def take() -> AsyncIterator[int | None]:
            async with cache.locks.acquire(NAME, tenant_id="acme", ttl_s=ttl_s) as lock:
                yield lock.fence

        yield take


@asynccontextmanager
async def _redis_py(url: str, ttl_s: float) -> AsyncIterator[Take]:
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(url, max_connections=500)
    yield _without_fence(lambda: client.lock(NAME, timeout=ttl_s, thread_local=False))
    await client.aclose()


@asynccontextmanager
async def _coredis(url: str, ttl_s: float) -> AsyncIterator[Take]:
    import coredis

    client: Any = coredis.Redis(unix_socket_path=url.removeprefix("unix://"))
    async with client:
        yield _without_fence(lambda: client.lock(NAME, timeout=ttl_s))


@asynccontextmanager
async def _aiocache(url: str, ttl_s: float) -> AsyncIterator[Take]:
    import redis.asyncio
    from aiocache import RedisCache  # type: ignore[import-untyped]
    from aiocache.lock import RedLock  # type: ignore[import-untyped]

    cache = RedisCache()
    cache.client = redis.asyncio.Redis.from_url(url, max_connections=500)
    yield _without_fence(lambda: RedLock(cache, NAME, ttl_s))
    await cache.client.aclose()


def _without_fence(block: Callable[[], Any]) -> Take:
    @asynccontextmanager
    async def take() -> AsyncIterator[int | None]:
        async with block():
            yield None

    return take


PEERS = (
    LockPeer("alacena", "", _ours, ("evalsha", "subscribe", "unsubscribe"), "ours"),
    LockPeer("redis-py", "redis", _redis_py),
    LockPeer("coredis", "coredis", _coredis),
    LockPeer("aiocache RedLock", "aiocache", _aiocache),
)
