"""Steps that must be finished even if their caller was cancelled."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from alacena.engine.base.closing import finish, wait_shared
from alacena.engine.base.errors import AlacenaError, BackendError, OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from alacena.engine.base.closing import Deadline

T = TypeVar("T")

_MOST_TASKS: Final = 10_000
"""How many steps may wait for the backend at once."""

_FIRST_PAUSE_S: Final = 0.05
# close() cuts no pause short: a longer one would use up the time that is left for the last try.
_LONGEST_PAUSE_S: Final = 2.0
_log = logging.getLogger("alacena")


class BackgroundTasks:
    """Owns small tasks that outlive their callers.

    A cancelled caller leaves at once; its commands are awaited here, and undone if that is needed.

    Attributes:
        is_closing: Whether a closing cache waits for all of them: a failed step gets no pause then.
    """

    def __init__(self) -> None:
        self.is_closing = False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def finish(self, step: Coroutine[Any, Any, T], undo: Callable[[T | None], Awaitable[Any]] | None = None) -> T:
        """Runs a step to its end.

        Cancellation: the caller leaves, the step goes on; ``undo`` then gets its result, or ``None`` if it failed.

        Raises:
            OutcomeUnknownError: A closing ended the step.
        """
        task = self._own(step)
        try:
            # Without the shield, a cancellation would end the step before the reply that says what is to be undone.
            return await wait_shared(task, _say_closed)
        except (asyncio.CancelledError, OutcomeUnknownError) as error:
            if not isinstance(error, asyncio.CancelledError) and not task.cancelled():
                raise  # The step's own.
            if undo is not None:
                self._own(_undo(task, undo))
            raise

    def start(self, step: Coroutine[Any, Any, Any]) -> None:
        """Runs a step without waiting for it."""
        self._own(_quietly(step))

    def keep_trying(self, step: Callable[[], Awaitable[Any]], what: str) -> bool:
        """Runs a step again and again until the backend has taken it, without a caller that waits for it.

        Args:
            step: May be run several times. Any other error than a failing backend ends it.
            what: Its name for the log, if it has to be given up because of the cache's end.

        Returns:
            Whether there was room for it: waiting steps are bounded.
        """
        if len(self._tasks) >= _MOST_TASKS:
            return False
        self._own(_quietly(self._try_again(step, what)))
        return True

    async def _try_again(self, step: Callable[[], Awaitable[Any]], what: str) -> None:
        pause_s, is_over = _FIRST_PAUSE_S, False
        try:
            while True:
                if not self.is_closing:
                    await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                # 1. The step is sent while nobody closes. 2. close() begins. 3. The step fails. Read after the step,
                # the flag would end the tries here. Read before it, one more follows at once.
                was_last = self.is_closing
                try:
                    await step()
                except BackendError:
                    if was_last:
                        return
                else:
                    is_over = True
                    return
        except Exception as error:
            is_over = True
            _log.error("it was refused: %s: %r", what, error)
            raise
        finally:
            if not is_over:
                _log.error("given up at the cache's end: %s", what)

    def _own(self, step: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(step)
        # The loop refers to its tasks weakly: one that nobody else refers to may be collected before it ends.
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever waited has seen it; who has gone does not want to.

    async def close(self, deadline: Deadline | None = None) -> None:
        """Waits until every step has come to its end, or the deadline: the rest is cancelled."""
        self.is_closing = True
        try:
            # A loop, as steps are still started meanwhile: a caller that is cancelled now has its step undone.
            while self._tasks and (deadline is None or deadline.left_s()):
                await asyncio.wait(set(self._tasks), timeout=None if deadline is None else deadline.left_s())
        finally:
            await finish(tuple(self._tasks), 0.0)


def _say_closed() -> OutcomeUnknownError:
    return OutcomeUnknownError("the cache was closed before the answer came: it may or may not have been done")


async def _quietly(step: Awaitable[Any]) -> None:
    """Runs a step without a caller: if the backend is away, its leftovers expire by themselves."""
    try:
        await step
    except AlacenaError:
        return


async def _undo(task: asyncio.Task[T], undo: Callable[[T | None], Awaitable[Any]]) -> None:
    try:
        result = await task
    except (AlacenaError, asyncio.CancelledError):
        result = None  # It may have been executed all the same.
    await _quietly(undo(result))
