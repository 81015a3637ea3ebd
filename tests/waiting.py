"""The one place where tests wait: they look at a condition until it holds, and nothing is asserted on how long it took.

A deadline here costs nothing when the condition comes true, so it is far away: a busy machine is no fault.
`tests/architecture/test_waiting.py` counts every other real sleep in the tests.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, NoReturn

from proving.waiting import DEADLINE_S, LOOK_AGAIN_S, wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["DEADLINE_S", "for_ever", "pace", "until", "wait_for"]


async def until(
    condition: Callable[[], Awaitable[Any] | Any], what: str = "it never came about", deadline_s: float = DEADLINE_S
) -> Any:
    """Looks again and again until the condition, a function or a coroutine function, is true; returns its answer."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert loop.time() < end, f"{what} (not within {deadline_s} s)"
        await asyncio.sleep(LOOK_AGAIN_S)


async def for_ever() -> NoReturn:
    """Waits for nothing: only a cancellation ends it."""
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def pace(pause_s: float) -> None:
    """Slows down a process that makes load. For programs beside the tests, never for a test."""
    await asyncio.sleep(pause_s)
