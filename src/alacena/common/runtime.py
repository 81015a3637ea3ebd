"""The process-wide cache: the one global of the library.

`configure` says how it shall be, the first call (or `initialize`) opens it on the running event loop, `close` ends it.
Afterwards it can be configured and opened again, on another loop too. Tests put a cache of their own in its place with
`override`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from alacena.common.core.constants import DEFAULT_TTL_MAPPING, TTL_STANDARD
from alacena.engine.environment import SystemEnvironment
from alacena.engine.errors import UsageError, WrongLoopError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from alacena.engine import Cache, Policy, Settings
    from alacena.engine.environment import Environment


class Process:
    """The state of the process-wide cache. There is one instance, `PROCESS`; it is changed and never replaced.

    Attributes:
        cache: The open cache, or ``None``.
        loop: The loop it was opened on, or ``None``: a memory hit compares it with the running one.
        peek: The open cache's look at memory.
    """

    __slots__ = ("cache", "environment", "loop", "observers", "opening", "peek", "policies", "settings")

    def __init__(self) -> None:
        self.cache: Cache | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.peek: Any = None
        self.opening: asyncio.Task[Cache] | None = None
        self.settings: Settings | None = None
        self.policies: dict[str, Policy] = {}
        self.environment: Environment = SystemEnvironment()
        self.observers: tuple[Any, ...] = ()

    def hold(self, cache: Cache | None, loop: asyncio.AbstractEventLoop | None) -> None:
        """Make ``cache`` the process-wide one."""
        self.cache, self.loop = cache, loop
        self.peek = None if cache is None else cache.peek


PROCESS = Process()


def configure(
    *,
    policies: Mapping[str, Policy] | None = None,
    environment: Environment | None = None,
    observers: Iterable[Any] = (),
    **settings: Any,
) -> None:
    """Say how the process-wide cache shall be. Whatever is not given has its default; nothing is opened.

    Without a call, the settings come from the environment (``ALACENA_*``, ``REDIS_URL``).

    Args:
        policies: How long and how entries live, by data type; types not named keep the guide's durations.
        environment: Time and chance, for tests.
        observers: Called with the engine's events.
        **settings: What `Settings` takes, such as ``redis_url``.

    Raises:
        SettingsError: Settings are wrong; the message lists every one of them.
        UsageError: The process-wide cache is open: ``await CacheManager.close()`` first.
    """
    from alacena.engine import Settings

    if PROCESS.cache is not None or PROCESS.opening is not None:
        msg = "the process-wide cache is open: `await CacheManager.close()` before configure()"
        raise UsageError(msg)
    PROCESS.settings = Settings(**settings)
    PROCESS.policies = dict(policies or {})
    PROCESS.environment = environment or SystemEnvironment()
    PROCESS.observers = tuple(observers)


async def opened() -> Cache:
    """The process-wide cache, opened by the first call.

    Raises:
        WrongLoopError: It was opened on another event loop and not closed there.

    Cancellation: a caller that goes does not stop the opening that others wait for.
    """
    loop = asyncio.get_running_loop()
    if PROCESS.cache is not None:
        if PROCESS.loop is not loop:
            raise _wrong_loop()
        return PROCESS.cache
    if PROCESS.opening is None or PROCESS.opening.get_loop() is not loop:
        PROCESS.opening = loop.create_task(_open(loop))
    return await asyncio.shield(PROCESS.opening)


async def close() -> None:
    """Close the process-wide cache; nothing happens where none is open.

    Raises:
        WrongLoopError: It was opened on another event loop that still runs: close it there.
    """
    loop = asyncio.get_running_loop()
    if PROCESS.opening is not None and PROCESS.opening.get_loop() is loop:
        await asyncio.wait({PROCESS.opening})
    cache, owner = PROCESS.cache, PROCESS.loop
    if cache is None:
        return
    if owner is not loop and owner is not None and not owner.is_closed():
        raise _wrong_loop()
    PROCESS.hold(None, None)
    if owner is loop:  # with its loop, a cache's connections and tasks have ended too
        await cache.close()


@contextmanager
def override(cache: Cache) -> Iterator[Cache]:
    """Make an open cache the process-wide one for the length of a block, on the running loop. The caller closes it."""
    before = (PROCESS.cache, PROCESS.loop)
    PROCESS.hold(cache, asyncio.get_running_loop())
    try:
        yield cache
    finally:
        PROCESS.hold(*before)


def default_ttl(data_type: str) -> float | None:
    """Seconds that an entry of the type lives where no ``ttl`` is given; ``None``: it never expires."""
    policy = PROCESS.policies.get(data_type)
    return policy.ttl_s if policy is not None else DEFAULT_TTL_MAPPING.get(data_type, TTL_STANDARD)


async def _open(loop: asyncio.AbstractEventLoop) -> Cache:
    from alacena.engine import Cache, Policy, Settings

    guide = {data_type: Policy(ttl=ttl) for data_type, ttl in DEFAULT_TTL_MAPPING.items()}
    try:
        cache = Cache(
            PROCESS.settings or Settings.from_env(),
            environment=PROCESS.environment,
            observers=PROCESS.observers,
            policies={**guide, **PROCESS.policies},
        )
        await cache.open()
        PROCESS.hold(cache, loop)
    finally:
        PROCESS.opening = None
    return cache


def _wrong_loop() -> WrongLoopError:
    state = "closed" if PROCESS.loop is not None and PROCESS.loop.is_closed() else "other"
    if state == "closed":
        return WrongLoopError(
            "the process-wide cache was opened on an event loop that is closed now: `await CacheManager.close()` "
            "before a loop ends (calling it here drops what is left of the old one)"
        )
    return WrongLoopError(
        "the process-wide cache was opened on another event loop: use it there, or `await CacheManager.close()` there "
        "before opening it here"
    )
