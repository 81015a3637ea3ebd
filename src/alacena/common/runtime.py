"""The process-wide cache: the one global of the library.

`configure` says how it shall be, the first call (or `initialize`) opens it on the running event loop, `close` ends it.
Afterwards it can be configured and opened again, on another loop too; so it can if its loop has ended without `close`.
Tests put a cache of their own in its place with `override`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import contextmanager
from functools import partial
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any

from alacena.common.db import close_supabase_clients
from alacena.constants import DEFAULT_TTL_MAPPING, TTL_STANDARD
from alacena.engine.base.ambient_tenant import outside
from alacena.engine.base.arguments import check_part, wait_seconds
from alacena.engine.base.closing import Closing, Deadline, finish, refuse_opening, take_apart, wait_shared
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import UsageError, WrongLoopError
from alacena.engine.loading.load import in_source

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Mapping

    from alacena.engine import Authority, Cache, CredentialProvider, Environment, Keyring, Observer, Policy, Settings


_log = logging.getLogger("alacena")


class Process:
    """The state of the process-wide cache. There is one instance, `PROCESS`; it is changed and never replaced.

    A memory hit must not cost more than it saves. It asks for the thread and not for the loop, which takes a system
    call in Python 3.11; that the loop has not ended is watched by a task, which ends with it.

    Attributes:
        cache: The open cache, or ``None``.
        closing: The cache under closing.
        loop: The loop it was opened on, or ``None``.
        thread: The thread of that loop while it runs, else ``None``: on it, memory may answer by ``peek``.
        peek: The open cache's look at memory.
        peek_entry: The same look, for callers that hand out the value themselves.
        tasks: Tasks beside the open cache.
        turn: Held while it is decided which loop opens the cache.
        environment: Time and chance, also before a cache is open.
        now: The environment's clock.
    """

    __slots__ = (
        "authority",
        "cache",
        "closing",
        "credentials",
        "environment",
        "keyring",
        "loop",
        "now",
        "observers",
        "opening",
        "peek",
        "peek_entry",
        "policies",
        "settings",
        "tasks",
        "thread",
        "turn",
    )

    def __init__(self) -> None:
        self.turn = Lock()
        self.opening: asyncio.Task[Cache] | None = None
        self.closing: Closing[Cache] = Closing()
        self.tasks: set[asyncio.Task[None]] = set()
        self.set_up(None, {}, SystemEnvironment(), ())
        self.hold(None, None)

    def set_up(
        self,
        settings: Settings | None,
        policies: dict[str, Policy],
        environment: Environment,
        observers: tuple[Observer, ...],
        *,
        authority: Authority | None = None,
        keyring: Keyring | None = None,
        credentials: CredentialProvider | None = None,
    ) -> None:
        """Says how the next cache is made."""
        self.authority, self.keyring, self.credentials = authority, keyring, credentials
        self.settings, self.policies, self.observers = settings, policies, observers
        self.environment, self.now = environment, environment.now

    def hold(self, cache: Cache | None, loop: asyncio.AbstractEventLoop | None) -> None:
        """Makes ``cache`` the process-wide one, on this thread."""
        self.cache, self.loop = cache, loop
        self.peek: Any = None if cache is None else cache.peek
        self.peek_entry: Any = None if cache is None else cache.peek_entry
        self.thread = None if cache is None else get_ident()

    def abandon(self) -> Cache | None:
        """Forgets the cache of an event loop that has ended: its connections and tasks have ended with it."""
        cache, self.opening = self.cache, None
        self.tasks.clear()
        self.hold(None, None)
        return cache


PROCESS = Process()


def _forget_parents_cache() -> None:
    """Forgets the parent's cache in a forked child: its connections, loop and tasks are not ours."""
    # At the fork the parent's lock may have been held by a thread that the child does not have.
    PROCESS.turn = Lock()
    PROCESS.opening, PROCESS.closing = None, Closing()
    PROCESS.tasks = set()
    PROCESS.hold(None, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_cache)


def configure(
    *,
    policies: Mapping[str, Policy] | None = None,
    environment: Environment | None = None,
    observers: Iterable[Observer] = (),
    authority: Authority | None = None,
    keyring: Keyring | None = None,
    credentials: CredentialProvider | None = None,
    **settings: Any,
) -> None:
    """Says how the process-wide cache shall be; nothing is opened.

    If a call names no setting, or there is none, all settings come from the environment (``ALACENA_*``, ``REDIS_URL``).
    If it names one, code decides alone: a setting that is not given has its default.

    Args:
        policies: How long and how entries live, by data type; types not named keep the guide's durations.
        environment: Time and chance, for tests.
        observers: Told of the engine's events, by their ``observe`` method.
        authority: Where token usage is kept for good, such as `alacena.sources.ledger.PostgresAuthority`.
        keyring: Encrypts every value on the server.
        credentials: Gives user and password at each connect, for passwords and tokens that change. See `Cache`.
        **settings: The arguments of `Settings`, such as ``redis_url``.

    Raises:
        SettingsError: Settings or parts are wrong; the message lists every one of them.
        UsageError: The process-wide cache is open: ``await CacheManager.close()`` first.
    """
    from alacena.engine import Settings
    from alacena.engine.api.part_checks import check_parts

    if PROCESS.loop is not None and PROCESS.loop.is_closed():
        PROCESS.abandon()
    if PROCESS.cache is not None or PROCESS.opening is not None:
        msg = "the process-wide cache is open: `await CacheManager.close()` before configure()"
        raise UsageError(msg)
    by_type, observers = check_parts(
        policies=policies,
        observers=observers,
        credentials=credentials,
        environment=environment,
        authority=authority,
        keyring=keyring,
    )
    PROCESS.set_up(
        # Without the environment, and not `Settings(...)`: an unknown name is answered with the one that was meant.
        Settings.from_env({}, **settings) if settings else None,
        by_type,
        environment or SystemEnvironment(),
        observers,
        authority=authority,
        keyring=keyring,
        credentials=credentials,
    )


async def opened() -> Cache:
    """Returns the process-wide cache, opened by the first call.

    A cache whose event loop has ended without closing it is let go of, and a new one is opened.

    Raises:
        CacheClosedError: It was closed before it was open.
        WrongLoopError: It was opened, or is being opened, on another event loop that has not ended.

    Cancellation: a caller that goes does not stop the opening that others wait for.
    """
    loop = asyncio.get_running_loop()
    with PROCESS.turn:  # two threads that start together must not open one cache each
        if PROCESS.cache is not None and PROCESS.loop is loop:
            return PROCESS.cache
        owner = PROCESS.loop if PROCESS.opening is None else PROCESS.opening.get_loop()
        if owner is not None and owner is not loop and not owner.is_closed():
            raise _wrong_loop()
        if PROCESS.closing.of is not None and PROCESS.closing.is_here and in_source():
            return PROCESS.closing.of  # the work that a closing waits for must not open another cache
        abandoned = PROCESS.abandon() if owner is not loop else None
        if PROCESS.opening is None:
            PROCESS.opening = outside(loop.create_task, _open(loop))
        opening = PROCESS.opening
    if abandoned is not None:
        _log.info("the process-wide cache is opened anew: the event loop that it was opened on has ended")
        # Outside of the lock: this waits, and a thread that wants the lock meanwhile would stand still with its loop.
        await abandoned.close()
    return await wait_shared(opening, refuse_opening)


async def close(*, timeout_s: float = 5.0) -> None:
    """Closes the process-wide cache and this loop's Supabase clients; nothing happens where no cache is open.

    Args:
        timeout_s: As for `Cache.close`: it ends in time.

    Raises:
        WrongLoopError: It was opened on another event loop that still runs: close it there.

    Cancellation: the closing goes on without the caller; closing again waits for it.
    """
    loop, timeout_s = asyncio.get_running_loop(), wait_seconds(timeout_s, "timeout_s")
    if PROCESS.opening is not None and PROCESS.opening.get_loop() is loop:
        await finish((PROCESS.opening,), timeout_s)
    cache, owner = PROCESS.cache, PROCESS.loop
    if cache is not None:
        if owner is not loop and owner is not None and not owner.is_closed():
            raise _wrong_loop()
        if owner is not loop:
            PROCESS.abandon()
            await cache.close(timeout_s=timeout_s)
            return
        # Before the closing begins: a new caller must not be given a cache that is being taken apart. Its tasks are taken
        # here and not in the closing's first step, before which a new caller may begin the next cache's.
        PROCESS.hold(None, None)
        PROCESS.closing.begin(cache, _close(cache, tuple(PROCESS.tasks), timeout_s))
    # Also if no cache is held: an earlier close, whose caller was cancelled, may still be under way.
    await PROCESS.closing.wait()


async def _close(cache: Cache, tasks: tuple[asyncio.Task[None], ...], timeout_s: float) -> None:
    """Closes a cache with the tasks beside it; one that is opened meanwhile has tasks of its own, which must run on."""
    # The last one runs first: renewals and the watch, then the cache, then Supabase, which loads may still ask.
    steps = (close_supabase_clients, partial(cache.close, timeout_s=timeout_s), partial(finish, tasks, 0.0))
    await take_apart(steps, Deadline(timeout_s))


def own(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Runs something beside the process-wide cache; it is cancelled when the cache is closed."""
    task = asyncio.get_running_loop().create_task(work)
    PROCESS.tasks.add(task)
    task.add_done_callback(PROCESS.tasks.discard)
    return task


@contextmanager
def override(cache: Cache) -> Iterator[Cache]:
    """Makes an open cache the process-wide one for the length of a block, on the running loop. The caller closes it.

    Raises:
        ArgumentError: It is no cache.
    """
    check_part(cache, "cache", "peek", "a Cache that is open")
    before = (PROCESS.cache, PROCESS.loop, PROCESS.peek, PROCESS.peek_entry, PROCESS.thread)
    PROCESS.hold(cache, asyncio.get_running_loop())
    try:
        yield cache
    finally:
        PROCESS.cache, PROCESS.loop, PROCESS.peek, PROCESS.peek_entry, PROCESS.thread = before


def default_ttl(data_type: str) -> float | None:
    """Returns seconds that an entry of the type lives where no ``ttl`` is given; ``None``: it never expires."""
    policy = PROCESS.policies.get(data_type)
    return policy.ttl_s if policy is not None else DEFAULT_TTL_MAPPING.get(data_type, TTL_STANDARD)


def settings() -> Settings:
    """Returns the settings of the open cache, or of the one that the next call opens."""
    from alacena.engine import Settings

    return PROCESS.settings or Settings.from_env() if PROCESS.cache is None else PROCESS.cache.settings


async def _open(loop: asyncio.AbstractEventLoop) -> Cache:
    # Imported at the first opening: at the top, importing any helper of this package would load the whole engine.
    from alacena.engine import Cache, Policy, Settings

    guide = {data_type: Policy(ttl=ttl) for data_type, ttl in DEFAULT_TTL_MAPPING.items()}
    try:
        cache = Cache(
            PROCESS.settings or Settings.from_env(),
            environment=PROCESS.environment,
            observers=PROCESS.observers,
            policies={**guide, **PROCESS.policies},
            authority=PROCESS.authority,
            keyring=PROCESS.keyring,
            credentials=PROCESS.credentials,
        )
        # As a block: a closing cancels this task, and the cache's own opening must not go on for nobody.
        await cache.__aenter__()
        PROCESS.hold(cache, loop)
        own(_watch(cache))
    finally:
        # Another loop may have abandoned this opening and begun its own, which must not be forgotten.
        if PROCESS.opening is asyncio.current_task():
            PROCESS.opening = None
    return cache


async def _watch(cache: Cache) -> None:
    """Ends with the loop, and let memory answer no more from then on."""
    try:
        # Nobody completes it: asyncio.run() cancels the task with all that are left, just before it closes the loop.
        await asyncio.get_running_loop().create_future()
    finally:
        if PROCESS.cache is cache:
            PROCESS.thread = None


def _wrong_loop() -> WrongLoopError:
    return WrongLoopError(
        "the process-wide cache belongs to another event loop, which has not ended: use it there, or `await "
        "CacheManager.close()` there before opening it here; threads with loops of their own each take a `Cache`"
    )
