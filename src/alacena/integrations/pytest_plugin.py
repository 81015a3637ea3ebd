"""pytest: a cache for each test, a server for the session, and a process-wide cache that no test leaves to the next.

It is loaded by its entry point, and imports nothing of the cache until a fixture is used. Its fixtures work under
pytest-asyncio (strict and auto) and anyio.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from contextlib import AbstractAsyncContextManager

    from alacena import Cache
    from alacena.testing.doubles import RecordingObserver

_RUNTIME = "alacena.common.runtime"


@pytest.fixture
def alacena_settings() -> dict[str, Any]:
    """Returns the settings of `alacena_cache`; override it, such as with ``{"redis_url": alacena_server}``."""
    return {}


@pytest.fixture
def alacena_events() -> RecordingObserver:
    """Returns the events of `alacena_cache` and of the caches of `alacena_open` in this test: ``events.of(Invalidated)``."""
    from alacena.testing.doubles import RecordingObserver

    return RecordingObserver()


@pytest.fixture
def alacena_tenant(request: pytest.FixtureRequest) -> str:
    """Returns a tenant of this test alone; make it ambient with ``with Context(alacena_tenant)``."""
    # Not hash(): it differs from process to process, and so from one run of a test to the next.
    return f"tenant-{zlib.crc32(request.node.nodeid.encode()):08x}"


@pytest.fixture
def alacena_open(
    alacena_events: RecordingObserver,
) -> Callable[..., AbstractAsyncContextManager[Cache]]:
    """Opens caches on the loop that runs, for any scope of a test's loop.

    ``async with alacena_open(redis_url=..., policies=...) as cache`` makes it the process-wide cache for the block.
    It waits 5 s for a reply of the server, longer than ``Settings``' defaults, unless ``redis_budget_s`` (reads) and
    ``redis_timeout_s`` (all else) say otherwise.
    """

    @asynccontextmanager
    async def open_cache(**options: Any) -> AsyncIterator[Cache]:
        from alacena import Cache, Settings
        from alacena.common.core.constants import DEFAULT_TTL_MAPPING
        from alacena.common.runtime import override
        from alacena.engine import Policy

        guide = {data_type: Policy(ttl=ttl) for data_type, ttl in DEFAULT_TTL_MAPPING.items()}
        policies = {**guide, **options.pop("policies", {})}
        parts = {name: options.pop(name) for name in ("environment", "authority", "keyring") if name in options}
        observers = (alacena_events, *options.pop("observers", ()))
        # A busy machine answers late, and a read over its budget is a miss: a test would fail by chance.
        settings = Settings(**{"redis_budget_s": 5.0, "redis_timeout_s": 5.0, **options})
        async with Cache(settings, policies=policies, observers=observers, **parts) as cache:
            with override(cache):
                yield cache

    return open_cache


@pytest.fixture
def alacena_cache(request: pytest.FixtureRequest) -> Cache:
    """Yields a cache for this test, in memory unless `alacena_settings` says otherwise; process-wide meanwhile.

    It is opened on the loop of function-scoped fixtures. A test with a loop of a longer life uses `alacena_open`.
    """
    plugin = "anyio" if "anyio_backend" in request.fixturenames else "asyncio"
    cache: Cache = request.getfixturevalue(f"_alacena_cache_of_{plugin}")
    return cache


def _cache_of_loop() -> Callable[..., AsyncIterator[Cache]]:
    """Makes a new function each time: pytest-asyncio marks the one that it is given."""

    async def open_cache(
        alacena_open: Callable[..., AbstractAsyncContextManager[Cache]], alacena_settings: dict[str, Any]
    ) -> AsyncIterator[Cache]:
        async with alacena_open(**alacena_settings) as cache:
            yield cache

    return open_cache


def pytest_configure(config: pytest.Config) -> None:
    """Adds the async fixtures behind `alacena_cache`: pytest-asyncio and anyio each run their own alone.

    Not before, and without importing pytest-asyncio: ahead of pytest that is a warning, an error in some projects.
    """
    of_asyncio: Any = getattr(sys.modules.get("pytest_asyncio"), "fixture", pytest.fixture)
    late = ModuleType(f"{__name__}.late")
    for plugin, fixture in {"asyncio": of_asyncio, "anyio": pytest.fixture}.items():
        name = f"_alacena_cache_of_{plugin}"
        setattr(late, name, fixture(name=name)(_cache_of_loop()))
    config.pluginmanager.register(late, late.__name__)


@pytest.fixture(scope="session")
def alacena_server() -> Iterator[str]:
    """Yields the URL of a private Valkey, one a session and process. Needs the extra ``embedded``.

    Tests share it: give each a ``namespace`` of its own, or a tenant, such as `alacena_tenant`.
    """
    from alacena import Cache, Settings

    loop = asyncio.new_event_loop()
    cache = Cache(Settings(redis_url="embedded://"))

    async def start() -> str:
        await cache.open()
        assert cache.url is not None
        return cache.url

    try:
        yield loop.run_until_complete(start())
    finally:
        loop.run_until_complete(cache.close())
        # asyncio.run() would do this: a loop that is run by hand leaves the threads of its executor behind.
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """Closes the process-wide cache if the test's body has opened it; a cache of a fixture is the fixture's to close."""
    before = _process_cache()
    try:
        return (yield)
    finally:
        cache = _process_cache()
        if cache is not None and cache is not before:
            _close_process_cache()


def _process_cache() -> Any:
    """Returns the process-wide cache of now; ``None`` also if nothing has imported that part of the library yet."""
    runtime = sys.modules.get(_RUNTIME)
    return None if runtime is None else runtime.PROCESS.cache


def _close_process_cache() -> None:
    runtime = sys.modules[_RUNTIME]
    loop = runtime.PROCESS.loop
    if loop.is_running():  # a loop in a thread, which the test has left: its owner closes the cache
        return
    if not loop.is_closed():
        loop.run_until_complete(runtime.close())
        return
    with asyncio.Runner() as runner:
        runner.run(runtime.close())
