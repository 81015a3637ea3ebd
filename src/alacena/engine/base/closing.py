"""Closing within a time: a step that hangs is cancelled, and one that ignores the cancellation is left behind and named."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from alacena.engine.base.errors import CacheClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

T = TypeVar("T")

_log = logging.getLogger("alacena")

_TAIL_S = 0.5
"""How long what was cancelled may take to end, each of the two times that it is."""
_OVER_S = 2.0
"""What a step gets beyond the deadline that it knows itself: room to cancel what it waits for."""


class Deadline:
    """An instant by which something has ended.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self._at = asyncio.get_running_loop().time() + seconds

    def left_s(self, *, least: float = 0.0) -> float:
        """Returns the seconds that are left, but ``least`` for a step that must be tried."""
        return max(self._at - asyncio.get_running_loop().time(), least)

    def pull_in(self) -> None:
        """Makes now the instant: the closing caller was cancelled itself, and the rest is cut short, but taken apart."""
        self._at = asyncio.get_running_loop().time()


class Closing(Generic[T]):
    """One closing that all concurrent closers share, and that goes on without a cancelled caller.

    Attributes:
        of: The cache under closing; ``None`` before, and when it has ended.
    """

    def __init__(self) -> None:
        self.of: T | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, of: T, closing: Coroutine[Any, Any, None]) -> None:
        """Begins to close something."""
        self.of = of
        self._task = asyncio.get_running_loop().create_task(closing, name="alacena: close")
        self._task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self.of = None
        _mark_heard(task)

    @property
    def is_here(self) -> bool:
        """Whether something is being closed on the running loop."""
        return self.of is not None and self._task is not None and self._task.get_loop() is asyncio.get_running_loop()

    async def wait(self) -> None:
        """Waits for the end of the closing on the running loop."""
        if self._task is not None and self.is_here:
            # One caller of close() who gives up must not stop the closing that the others wait for.
            await asyncio.shield(self._task)


async def wait_shared(step: asyncio.Future[T], ended: Callable[[], Exception]) -> T:
    """Waits for a step that goes on without its caller: others wait for it too, or it must come to its end.

    Args:
        step: The step.
        ended: Makes the error to raise if the step itself was cancelled, as a closing does with the rest.
    """
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        here = asyncio.current_task()
        # A caller that nobody cancelled must not end like one that was: its own caller would take that for an order.
        if step.cancelled() and not (here is not None and here.cancelling()):
            raise ended() from None
        raise


def refuse_opening() -> CacheClosedError:
    """Returns the error of an opening that a closing ended."""
    return CacheClosedError("the cache was closed while it was being opened: open it again")


async def finish(tasks: Iterable[asyncio.Future[Any]], timeout_s: float | None) -> None:
    """Waits for tasks, then cancels those that are left. Their errors are theirs.

    Cancellation: the tasks are cancelled at once, and have a moment to end.
    """
    left = {task for task in tasks if not task.done()}
    if not left:
        return
    try:
        _, left = await asyncio.wait(left, timeout=timeout_s)
    finally:
        for _ in range(2):  # A cancelled task may be caught in a wait of its own, such as a pool's for a connection.
            left = await _cancel(left)
        for task in left:
            _log.warning("%s does not end though it was cancelled: it is left behind", name_of(task))


async def _cancel(tasks: set[asyncio.Future[Any]]) -> set[asyncio.Future[Any]]:
    """Cancels tasks and returns those that have not ended a moment later."""
    if not (left := {task for task in tasks if not task.done()}):
        return left
    for task in left:
        task.cancel()
        task.add_done_callback(_mark_heard)
    return (await asyncio.wait(left, timeout=_TAIL_S))[1]


def _mark_heard(task: asyncio.Future[Any]) -> None:
    """Marks the exception as retrieved, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


async def end(step: Coroutine[Any, Any, Any], timeout_s: float) -> None:
    """Runs one step of a closing for at most ``timeout_s``; how it fails is logged, and stops no other step.

    Cancellation: the step is cancelled, and has a moment to end.
    """
    task = asyncio.get_running_loop().create_task(step, name=f"alacena: {getattr(step, '__qualname__', step)}")
    await finish((task,), timeout_s)
    if not task.done() or task.cancelled():
        _log.warning("%s was not done within %g s: closing goes on without it", name_of(task), timeout_s)
    elif error := task.exception():
        _log.warning("closing goes on without %s, which failed: %r", name_of(task), error)


def name_of(task: asyncio.Future[Any]) -> str:
    """Returns a task's name, and the function that it runs, for people: not its address and state."""
    if not isinstance(task, asyncio.Task):
        return repr(task)
    name, runs = task.get_name(), getattr(task.get_coro(), "__qualname__", "")
    return f"the task {name!r}" if not runs or runs in name else f"the task {name!r} ({runs})"


async def take_apart(closers: Sequence[Callable[[], Coroutine[Any, Any, Any]]], deadline: Deadline) -> None:
    """Runs every closer, the last one first, also if others fail.

    Cancellation: the rest is still done, quickly; then it is raised.
    """
    cancelled: asyncio.CancelledError | None = None
    for closer in reversed(closers):
        try:
            await end(closer(), deadline.left_s() + _OVER_S)
        except asyncio.CancelledError as error:
            deadline.pull_in()
            cancelled = error
    if cancelled is not None:
        raise cancelled
