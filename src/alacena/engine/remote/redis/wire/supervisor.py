"""The supervisor, which keeps the connection established."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alacena.engine.base.errors import BackendError, BackendUnavailableError
from alacena.engine.remote.redis.wire.handshake import words_of_timeout
from alacena.engine.remote.redis.wire.retry_backoff import RetryBackoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from alacena.engine.base.environment import Environment
    from alacena.engine.remote.redis.wire.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The times that a supervisor keeps.

    Attributes:
        connect_timeout_s: For socket, ``HELLO`` and preparation together.
        beat_s: Between two heartbeats.
        settled_s: A connection that lived this long makes the next reconnection start afresh.
        backoff: Pauses between attempts to connect.
    """

    connect_timeout_s: float = 2.0
    beat_s: float = 5.0
    settled_s: float = 1.0
    backoff: RetryBackoff = field(default_factory=RetryBackoff)


class Supervisor:
    """Dials, watches the connection's heart, and dials again when it is lost, with full jitter, for ever.

    Args:
        pace: Times.
        environment: Time and chance.
        dial: Makes one prepared connection, or raises.
        rise: Told of each connection that stands.
        failed: Told of each attempt that failed.
        beat: One heartbeat; if it raises, the connection is given up.
    """

    def __init__(
        self,
        pace: Pace,
        environment: Environment,
        dial: Callable[[], Coroutine[object, object, Connection]],
        rise: Callable[[Connection], None],
        failed: Callable[[BaseException], None],
        beat: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self.first_attempt_is_over = False
        self._pace = pace
        self._environment = environment
        self._dial = dial
        self._rise = rise
        self._failed = failed
        self._beat = beat
        self._task: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()

    def start(self) -> None:
        """Begins, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="alacena: keep connected")

    async def stop(self) -> None:
        """Stops dialling; return when everything that was started here has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def note_loss(self) -> None:
        """Notes that the connection that stood is gone."""
        self._lost.set()

    async def _run(self) -> None:
        attempt = 0
        while True:
            connection = await self._try_once()
            if connection is not None:
                began = self._environment.now()
                await self._live(connection)
                # Only after it stood for a while: a server that hangs up right after the greeting would else be dialled
                # in a tight loop.
                if self._environment.now() - began >= self._pace.settled_s:
                    attempt = 0
            await asyncio.sleep(self._pace.backoff.pause_s(attempt, self._environment))
            attempt += 1

    async def _try_once(self) -> Connection | None:
        """Makes one attempt, in a task of its own: its error is recorded, and the supervisor survives it."""
        # 1. The attempt succeeds: the connection rises, inside the attempt's task.
        # 2. It is lost before this task runs again, and `lost` sets the event.
        # 3. Cleared behind the attempt, the event would be gone, and `_live` would wait for it for ever.
        self._lost.clear()
        attempt = asyncio.get_running_loop().create_task(self._dial_in_time(), name="alacena: connect")
        await _finish(attempt)
        self.first_attempt_is_over = True
        error = _error_of(attempt)
        if error is None:
            return attempt.result()
        self._failed(error)
        _report(error, "connecting failed for a reason that is not the server's")
        return None

    async def _dial_in_time(self) -> Connection:
        limit_s = self._pace.connect_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                connection = await self._dial()
                # Inside the time limit of the dial: a connection that stands and whose first heartbeat hangs is no
                # connection.
                try:
                    self._rise(connection)
                except BaseException:
                    connection.close(BackendUnavailableError("the first user of the connection failed"))
                    raise
                return connection
        except TimeoutError as error:
            reason = words_of_timeout(error, f"it did not answer within {limit_s:g} s")
            raise BackendUnavailableError(reason) from error

    async def _live(self, connection: Connection) -> None:
        heart = asyncio.get_running_loop().create_task(self._keep_beating(connection), name="alacena: heartbeat")
        heart.add_done_callback(lambda task: _on_heart_stopped(task, connection))
        try:
            await self._lost.wait()
        finally:
            heart.cancel()
            await asyncio.wait({heart})

    async def _keep_beating(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(self._pace.beat_s)
            await self._beat(connection)


def _error_of(attempt: asyncio.Task[Connection]) -> BaseException | None:
    if attempt.cancelled():
        return BackendUnavailableError("connecting was cancelled")
    return attempt.exception()


def _on_heart_stopped(heart: asyncio.Task[None], connection: Connection) -> None:
    """Gives the connection up if the heart stands still, unless it was stopped."""
    if heart.cancelled():
        return
    error = heart.exception()
    if error is not None:
        connection.close(BackendUnavailableError(f"the heartbeat failed: {error}"))
        _report(error, "the heartbeat failed for a reason that is not the server's")


def _report(error: BaseException, message: str) -> None:
    if not isinstance(error, BackendError | OSError):
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


async def _finish(task: asyncio.Task[Connection]) -> None:
    """Waits for the task's end; if the wait is cancelled, so is the task, and its end is waited for all the same."""
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        # It may have succeeded in the very moment of the cancellation: nobody else would ever close that connection.
        if not task.cancelled() and task.exception() is None:
            task.result().close()
        raise
