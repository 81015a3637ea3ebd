"""The end of a background task: ordered, or a fault that is reported."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.engine.base.health import Health

_log = logging.getLogger("alacena")

_LOOP_ENDS_S: Final = 1.0
_ENDED: Final = "has ended, though nobody ended it: close the cache and open it anew"


def watch_end(task: asyncio.Task[Any], is_ours: Callable[[], bool], health: Health, part: str) -> None:
    """Reports the end of a task that should not end, if it is still ours then: to health at once, and to the log.

    Args:
        task: A task of the background.
        is_ours: Whether its end is unexpected.
        health: Is told at once.
        part: The name under which it is told.
    """

    def tell() -> None:
        if is_ours():
            error = None if task.cancelled() else task.exception()
            _log.error(
                "the task %r has ended, though nobody ended it: close the cache and open it anew",
                task.get_name(),
                exc_info=error,
            )

    def note(_: asyncio.Task[Any]) -> None:
        if is_ours() and health.report(part, _ENDED):
            # asyncio.run() cancels every task that is left and closes the loop: such an end is no fault, and nobody could
            # do what the line says. On a loop that goes on, the line comes a moment later.
            task.get_loop().call_later(_LOOP_ENDS_S, tell)

    task.add_done_callback(note)


def ends_a_task(error: BaseException) -> bool:
    """Returns whether an error is an order to end, and not a failure.

    A cancellation that was not asked of this task is a failure of the code that it called.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
