"""Celery: a task works for the tenant of the code that sent it, and waits for the cache on a loop that stays.

Tasks are synchronous and a cache belongs to one event loop: `asyncio.run` in each task would end that loop each time.
So every worker process has one loop, in a thread of its own, from its first use until the process ends.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from alacena import CacheManager, UsageError, configure
from alacena.engine.base.errors import show
from alacena.integrations.caller import AMBIENT, LABEL, Serving, ambient_ids, ids_in, labels_of
from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.celery", "celery", ("celery", "5.4", "6")):
    from celery import signals

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

T = TypeVar("T")

_UID: Final = "alacena"


class LoopThread:
    """An event loop in a thread of its own, for code that cannot await.

    It starts with the first `run`, and once more in a forked child, which does not have its parent's thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def run(self, work: Coroutine[Any, Any, T], *, timeout_s: float | None = None) -> T:
        """Runs a coroutine on the loop, with the ambient tenant of the code that calls, and returns its result.

        Args:
            work: The coroutine.
            timeout_s: Seconds to wait; then the coroutine is cancelled.

        Raises:
            TimeoutError: It took longer.
            UsageError: This is called on the loop's own thread, which would wait for itself for ever.
            Exception: The coroutine's own.
        """
        if not asyncio.iscoroutine(work):
            raise UsageError(f"run() takes a coroutine, such as run(CacheManager.get(...)), not {show(work)}")
        loop = self._start_loop()
        if threading.current_thread() is self._thread:
            work.close()
            raise UsageError("run() waits for its loop and this is the loop's own thread: await the coroutine instead")
        return _result(asyncio.run_coroutine_threadsafe(work, loop), timeout_s)

    @property
    def is_running(self) -> bool:
        """Whether the loop runs in this process."""
        return self._loop is not None and self._pid == os.getpid()

    def close(self) -> None:
        """Ends the loop and its thread, if they run in this process."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None or self._pid != os.getpid():
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._loop, self._pid = asyncio.new_event_loop(), os.getpid()
                self._thread = threading.Thread(target=self._loop.run_forever, name="alacena-loop", daemon=True)
                self._thread.start()
            return self._loop


def _result(future: Future[T], timeout_s: float | None) -> T:
    try:
        return future.result(timeout_s)
    finally:
        # After a timeout or an interrupt nobody waits for the work. If it is done, this changes nothing.
        future.cancel()


_THREAD: Final = LoopThread()
_SERVED: Final[dict[str, Serving]] = {}


def run(work: Coroutine[Any, Any, T], *, timeout_s: float | None = None) -> T:
    """Runs a coroutine for a task, on the loop that the process-wide cache lives on.

    ::

        @app.task
        def ingest(document_id):
            return run(CacheManager.get("document", document_id))

    Args:
        work: The coroutine.
        timeout_s: Seconds to wait.

    Raises:
        TimeoutError: It took longer; the coroutine is cancelled.
        UsageError: This is the loop's own thread.
    """
    return _THREAD.run(work, timeout_s=timeout_s)


def install(**configuration: Any) -> None:
    """Connects Celery's signals: the tenant travels with each message, and the cache lives as long as a worker process.

    Call it where the Celery application is made, in workers and in senders of tasks. Calling it twice is no error.
    A task that is sent with a header ``alacena_tenant_id`` which names another tenant than the ambient one runs for no tenant:
    Celery logs the error and sends the message.

    Prefork workers open the cache in the child. Other pools open it with the first `run`.

    Args:
        configuration: The arguments of `configure`; without any, the earlier configuration, else the environment.

    Raises:
        SettingsError: Settings are wrong.
        UsageError: The process-wide cache is open already, and there is something to configure.
    """
    if configuration:
        configure(**configuration)
    signals.before_task_publish.connect(_label, weak=False, dispatch_uid=_UID)
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid=_UID)
    signals.task_postrun.connect(_end, weak=False, dispatch_uid=_UID)
    signals.worker_process_init.connect(_open, weak=False, dispatch_uid=_UID)
    signals.worker_process_shutdown.connect(_close, weak=False, dispatch_uid=_UID)
    # Only prefork sends worker_process_shutdown: other pools have the cache in the worker's own process.
    signals.worker_shutdown.connect(_close, weak=False, dispatch_uid=_UID)


def uninstall() -> None:
    """Undoes `install`, and closes the cache and its loop."""
    signals.before_task_publish.disconnect(dispatch_uid=_UID)
    signals.task_prerun.disconnect(dispatch_uid=_UID)
    signals.task_postrun.disconnect(dispatch_uid=_UID)
    signals.worker_process_init.disconnect(dispatch_uid=_UID)
    signals.worker_process_shutdown.disconnect(dispatch_uid=_UID)
    signals.worker_shutdown.disconnect(dispatch_uid=_UID)
    _close()


def _label(*, headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is None:
        return
    # Taken out before they are judged: Celery logs what a signal's handler raises and sends the message, then for nobody.
    named = _take_labels(headers)
    # Sentry puts a copy of the headers among them, under this name, and Celery gives it to the task as `request.headers`.
    if isinstance(copied := headers.get("headers"), dict):
        headers["headers"] = copied = dict(copied)
        named = {**_take_labels(copied), **named}
    headers.update(labels_of(ambient_ids(), named))


def _take_labels(headers: dict[str, Any]) -> dict[str, Any]:
    return {name: headers.pop(name) for name in [f"{LABEL}{field}" for field in AMBIENT] if name in headers}


def _begin(*, task_id: str, task: Any, **_: Any) -> None:
    request = task.request
    if request.is_eager:  # it runs where it was sent, in the context of who sent it
        return
    serving = Serving(ids_in({**(request.headers or {}), **vars(request)}))
    serving.__enter__()
    # By the task: a pool of threads or greenlets runs several at one time.
    _SERVED[task_id] = serving


def _end(*, task_id: str, **_: Any) -> None:
    serving = _SERVED.pop(task_id, None)
    if serving is not None:
        serving.__exit__()


def _open(**_: Any) -> None:
    _THREAD.run(CacheManager.initialize())


def _close(**_: Any) -> None:
    if _THREAD.is_running:
        _THREAD.run(CacheManager.close())
        _THREAD.close()
