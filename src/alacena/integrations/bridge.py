"""A cache on an event loop of its own, in a thread: how sync code, and code of other loops, reach it."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from alacena.common import runtime
from alacena.engine import Cache, CacheClosedError, UsageError, WrongLoopError
from alacena.engine.base.arguments import check_part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")

Work: TypeAlias = "Coroutine[Any, Any, T]"
"""What a bridge runs: the coroutine of a verb, not awaited yet."""

Ask: TypeAlias = "Callable[..., Coroutine[Any, Any, Any]]"
"""A loader that asks a source that lives outside of the cache's loop."""


class Bridge:
    """A cache that lives on an event loop of its own, in a thread, for sync code and for code of any other loop.

    ::

        with Bridge(Cache(Settings(redis_url="redis://localhost"))) as bridge:
            bridge.run(bridge.cache.get("document", "d1", "acme"))            # in sync code
            await bridge.wait(bridge.cache.get("document", "d1", "acme"))     # in a coroutine

    Context variables, so also the ambient tenant, are those of the caller. Every adapter of `alacena.integrations` takes a
    bridge in place of a cache; its sync verbs need one.

    Args:
        cache: A cache that is not open; the bridge opens and closes it. ``None``: the process-wide one, which then
            belongs to the bridge: `CacheManager` and its helpers are called through the bridge too.
    """

    def __init__(self, cache: Cache | None = None) -> None:
        if cache is not None:
            check_part(cache, "cache", "load", "a Cache or None")
        self._given = cache
        self._cache: Cache | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._thread: Thread | None = None
        self._pid = 0

    def start(self) -> Self:
        """Opens the cache on its thread, and returns when it is open. Starting twice is no error.

        Raises:
            SettingsError: The URL is wrong, or an extra that it needs is not installed.
            ServerReplyError: The server refuses us.
            WrongLoopError: The cache is open on another loop.
        """
        if self._thread is not None and self._pid == os.getpid():
            return self
        ready: Future[None] = Future()
        self._pid = os.getpid()
        self._thread = Thread(target=self._serve, args=(ready,), name="alacena-bridge", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            # An interrupt of this wait would leave a thread whose cache nobody closes.
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Finishes the work under way (5 s at most), closes the cache and ends the thread. Stopping twice is no error.

        Raises:
            WrongLoopError: It is called on the bridge's own loop, which would wait for itself.
        """
        self._refuse_own_loop("stop()", "from another thread")
        thread, self._thread = self._thread, None
        if thread is None or self._pid != os.getpid():
            return
        loop, ended = self._loop, self._ended
        if loop is not None and ended is not None and not loop.is_closed():
            loop.call_soon_threadsafe(ended.set)
        thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def cache(self) -> Cache:
        """The open cache. Its verbs are called here, and awaited by `run` or `wait`.

        Raises:
            CacheClosedError: The bridge is not started, or belongs to the parent of this process.
        """
        if self._cache is None or self._pid != os.getpid():
            raise CacheClosedError(
                "the bridge is not started in this process: call start(), after the fork if there is one"
            )
        return self._cache

    def run(self, work: Work[T]) -> T:
        """Waits for a verb from sync code, and returns its answer.

        Args:
            work: The verb's coroutine.

        Raises:
            WrongLoopError: It is called on the bridge's own loop, which would wait for itself for ever.
            CacheClosedError: The bridge is not started, or was stopped meanwhile.
            Exception: Any error that the verb raises.
        """
        try:
            self._refuse_own_loop("run()", "with await, without the bridge")
            future = self._send(work)
        except UsageError:
            work.close()
            raise
        try:
            return future.result()
        except CancelledError:
            raise _make_stopped_error() from None
        except BaseException:
            # After an interrupt nobody waits for the verb. After an error of its own this changes nothing.
            future.cancel()
            raise

    async def wait(self, work: Work[T]) -> T:
        """Waits for a verb in a coroutine of any loop, without holding that loop up.

        Args:
            work: The verb's coroutine.

        Raises:
            CacheClosedError: The bridge is not started, or was stopped meanwhile.
            Exception: Any error that the verb raises.

        Cancellation: the verb is cancelled.
        """
        if asyncio.get_running_loop() is self._loop:
            return await work
        try:
            future = self._send(work)
        except UsageError:
            work.close()
            raise
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # A bridge that stops cancels the verb alone: a cancellation of this task shows in cancelling().
            if future.cancelled() and task is not None and not task.cancelling():
                raise _make_stopped_error() from None
            raise

    def run_with(self, source: Callable[..., Any], verb: Callable[[Ask], Work[T]]) -> T:
        """As `run`, for a verb that loads from a sync source: the calling thread, which waits anyway, asks the source.

        Args:
            source: Asks the source; called in the calling thread if, and as often as, the verb calls its loader.
            verb: ``verb(loader)`` gives the coroutine; the loader passes its arguments on to the source.

        Raises:
            WrongLoopError: As for `run`.
            CacheClosedError: As for `run`.
            Exception: Any error that the source or the verb raises.
        """
        window = _Window(source)
        self._refuse_own_loop("run_with()", "with await, without the bridge")
        work = verb(window.ask)
        try:
            future = self._send(work)
        except UsageError:
            work.close()
            raise
        try:
            return window.serve(future)
        except CancelledError:
            raise _make_stopped_error() from None
        finally:
            future.cancel()
            window.close()

    def _send(self, work: Work[T]) -> Future[T]:
        loop = self._loop
        assert self.cache is not None
        assert loop is not None
        try:
            return asyncio.run_coroutine_threadsafe(work, loop)
        except RuntimeError:
            raise _make_stopped_error() from None

    def _refuse_own_loop(self, verb: str, remedy: str) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            return
        if here is self._loop:
            raise WrongLoopError(f"{verb} on the bridge's own loop would wait for itself: call it {remedy}")

    def _serve(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._live(ready))
        finally:
            self._cache = self._loop = self._ended = None

    async def _live(self, ready: Future[None]) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        try:
            cache = await runtime.opened() if self._given is None else await self._given.open()
        except BaseException as error:  # noqa: BLE001 - it is raised where the bridge was started
            ready.set_exception(error)
            return
        try:
            self._cache = cache
            ready.set_result(None)
            await self._ended.wait()
        finally:
            await (runtime.close() if self._given is None else cache.close())


class _Window:
    """The requests to a thread that waits for a verb, for values that only it can get."""

    def __init__(self, source: Callable[..., Any]) -> None:
        self._source = source
        self._asked: SimpleQueue[tuple[Context, tuple[Any, ...], Future[Any]] | None] = SimpleQueue()
        self._closed = False

    async def ask(self, *arguments: Any) -> Any:
        """Asks the thread, from the cache's loop: the loader."""
        answer: Future[Any] = Future()
        # The context of the load goes along, so that what the source reads from the cache is noted for its value.
        self._asked.put((copy_context(), arguments, answer))
        # After the put: close() sets the flag first and empties the queue then, so one of the two refuses this request.
        if self._closed:
            self._refuse()
        return await asyncio.wrap_future(answer)

    def serve(self, outcome: Future[T]) -> T:
        """Answers in this thread until the verb has an outcome, and returns that."""
        outcome.add_done_callback(lambda _: self._asked.put(None))
        while (asked := self._asked.get()) is not None:
            context, arguments, answer = asked
            # The load was cancelled before its turn came, and needs no answer.
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                made = context.run(self._source, *arguments)
            except Exception as error:  # noqa: BLE001 - the source's fault is the load's
                answer.set_exception(error)
            # An interrupt is this thread's own. The load, which others may have joined, hears that the thread has gone.
            except BaseException:
                answer.set_exception(_make_gone_error())
                raise
            else:
                answer.set_result(made)
        return outcome.result()

    def close(self) -> None:
        """Ends every wait for a thread that has gone."""
        self._closed = True
        self._refuse()

    def _refuse(self) -> None:
        with suppress(Empty):
            while True:
                asked = self._asked.get_nowait()
                if asked is not None and asked[2].set_running_or_notify_cancel():
                    asked[2].set_exception(_make_gone_error())


class Access:
    """The way of an adapter to its cache: on the caller's loop, or over a bridge.

    Args:
        cache: An open cache, a started bridge, or ``None``: the process-wide cache.
    """

    def __init__(self, cache: Cache | Bridge | None = None) -> None:
        if cache is not None and not isinstance(cache, Bridge):
            check_part(cache, "cache", "load", "an open Cache, a Bridge or None")
        self._cache = cache

    async def call(self, verb: Callable[[Cache], Work[T]]) -> T:
        """Awaits a verb. Raises: `WrongLoopError` for a cache of another loop that has no bridge."""
        if isinstance(self._cache, Bridge):
            return await self._cache.wait(verb(self._cache.cache))
        return await verb(self._cache or await runtime.opened())

    def call_now(self, verb: Callable[[Cache], Work[T]], name: str) -> T:
        """Waits for a verb from sync code. Raises: `UsageError` without a bridge, with the ``name`` of the call."""
        bridge = self._bridge(name)
        return bridge.run(verb(bridge.cache))

    async def load(self, source: Callable[..., Awaitable[Any]], verb: Callable[[Cache, Ask], Work[T]]) -> T:
        """Awaits a verb that loads; the source is asked on the caller's loop."""
        ask = _on_this_loop(source)
        return await self.call(lambda cache: verb(cache, ask))

    def load_now(self, source: Callable[..., Any], verb: Callable[[Cache, Ask], Work[T]], name: str) -> T:
        """Waits for a verb that loads; the source is asked in the calling thread."""
        bridge = self._bridge(name)
        cache = bridge.cache
        return bridge.run_with(source, lambda ask: verb(cache, ask))

    def _bridge(self, name: str) -> Bridge:
        if isinstance(self._cache, Bridge):
            return self._cache
        raise UsageError(
            f"{name} is sync, and a cache lives on an event loop: use the async verb, or give the adapter a bridge "
            "(alacena.integrations.bridge), as in cache=Bridge(Cache(Settings(...))).start()"
        )


def _on_this_loop(source: Callable[..., Awaitable[Any]]) -> Ask:
    """Returns a loader that asks the source on the loop that runs here, whichever loop the load runs on."""
    home = asyncio.get_running_loop()

    async def ask(*arguments: Any) -> Any:
        return await source(*arguments)

    async def hop(*arguments: Any) -> Any:
        if asyncio.get_running_loop() is home:
            return await source(*arguments)
        # The task there has a copy of this context, the load's: what the source reads is noted for its value.
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(ask(*arguments), home))

    return hop


def _make_gone_error() -> UsageError:
    return UsageError("the thread that was to ask the source has stopped waiting")


def _make_stopped_error() -> CacheClosedError:
    return CacheClosedError("the bridge was stopped while this call waited for it: call start() again")
