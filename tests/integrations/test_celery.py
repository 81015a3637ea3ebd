"""Celery: the tenant travels with a message, and tasks wait for the cache on one loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("celery")

from celery import Celery, signals
from celery.contrib.testing.worker import start_worker

from alacena import CacheManager, Context, UsageError, configure, get_current_tenant_id
from alacena.common.context import get_current_user_id
from alacena.common.runtime import PROCESS
from alacena.integrations import celery as integration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("test", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=False)
    app.conf.broker_transport_options = {"polling_interval": 0.01}  # a whole second by default, for each message
    configure()  # a test before may have left a server behind, which holds what others stored
    integration.install()
    integration.install()  # twice is no error
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield app
    integration.uninstall()
    app.close()
    # A worker sets up logging for the whole process, and for good.
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.captureWarnings(capture=False)


async def read_and_write(value: str) -> list[Any]:
    before = await CacheManager.get("document", "d1")
    await CacheManager.set("document", "d1", value)
    return [get_current_tenant_id(), get_current_user_id(), before, await CacheManager.get("document", "d1")]


def test_task_works_for_who_sent_it(app: Celery) -> None:
    @app.task
    def see() -> list[str | None]:
        return [get_current_tenant_id(), get_current_user_id()]

    @app.task
    def cached(value: str) -> list[Any]:
        return integration.run(read_and_write(value))

    @app.task
    def relay() -> Any:
        cached.apply_async(("relayed",), task_id="relayed")

    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=60):
        with Context("acme", user_id="u1"):
            assert see.delay().get(timeout=60, interval=0.01) == ["acme", "u1"]
            assert cached.delay("x").get(timeout=60, interval=0.01) == ["acme", "u1", None, "x"]
            assert cached.delay("y").get(timeout=60, interval=0.01) == ["acme", "u1", "x", "y"]
            relay.delay().get(timeout=60, interval=0.01)
        assert app.AsyncResult("relayed").get(timeout=60, interval=0.01) == ["acme", "u1", "y", "relayed"]
        assert see.delay().get(timeout=60, interval=0.01) == [None, None]
        with Context("umbrella"):
            assert cached.delay("z").get(timeout=60, interval=0.01) == ["umbrella", None, None, "z"]
            assert see.apply_async(headers={"alacena_tenant_id": "umbrella"}).get(timeout=60, interval=0.01) == [
                "umbrella",
                None,
            ]
            assert see.apply_async(headers={"alacena_tenant_id": "acme"}).get(timeout=60, interval=0.01) == [None, None]
            for tenant, seen in (("umbrella", "umbrella"), ("acme", None)):
                label = {"alacena_tenant_id": tenant}
                # Sentry's integration sends a second set of headers under this name, which tasks see as theirs.
                for headers in ({"headers": {**label}}, {**label, "headers": {**label}}):
                    assert see.apply_async(headers=headers).get(timeout=60, interval=0.01) == [seen, None]


def test_eager_task_works_in_the_surroundings_of_its_caller(app: Celery) -> None:
    @app.task
    def see() -> list[str | None]:
        return [get_current_tenant_id(), get_current_user_id()]

    with Context("acme", user_id="u1"):
        assert see.apply().get() == ["acme", "u1"]
        assert get_current_tenant_id() == "acme"


def test_worker_process_opens_the_cache_and_closes_it(app: Celery) -> None:
    configure(namespace="celery-test")
    signals.worker_process_init.send(sender=None)
    assert PROCESS.cache is not None
    assert PROCESS.cache.settings.namespace == "celery-test"

    signals.worker_process_shutdown.send(sender=None, pid=0, exitcode=0)

    assert PROCESS.cache is None
    assert not [thread for thread in threading.enumerate() if thread.name == "alacena-loop"]
    configure()


def test_loop_thread_returns_raises_and_gives_up(app: Celery) -> None:
    thread = integration.LoopThread()
    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def fail() -> None:
        raise LookupError("own")

    async def inside() -> None:
        thread.run(asyncio.sleep(0))

    assert thread.run(asyncio.sleep(0, "result")) == "result"
    with pytest.raises(LookupError, match="own"):
        thread.run(fail())
    with pytest.raises(TimeoutError):
        thread.run(hang(), timeout_s=0.01)
    assert cancelled.wait(60)
    with pytest.raises(UsageError, match="await the coroutine"):
        thread.run(inside())
    thread.close()
    thread.close()
    assert thread.run(asyncio.sleep(0, "again")) == "again"
    thread.close()


def test_missing_framework_is_named_with_its_extra(import_without: Callable[[str, str], Any]) -> None:
    with pytest.raises(ImportError, match=r"pip install 'alacena\[celery\]'"):
        import_without("alacena.integrations.celery", "celery")
