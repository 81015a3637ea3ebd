"""Context of generators: a block entered inside one counts while it runs, and not for its consumer.

A generator runs in the context of its consumer, so what a block sets in it stays set between its steps. Such a block
sets a `GeneratorValue` in place of the value, and every reader asks whether the generator is running. One that
`contextlib` or a test framework drives, as a context manager or a fixture, means to set something for its caller.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Final

from alacena.engine.base.errors import UsageError

if TYPE_CHECKING:
    from contextvars import ContextVar
    from types import FrameType

_GENERATORS: Final = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_MANAGERS: Final = frozenset({"contextlib", "_pytest", "pytest_asyncio", "anyio", "alacena"})
"""Packages that drive generators on behalf of a block; ours gives each generator a context of its own."""


class GeneratorValue:
    """The value of one field inside a generator.

    Args:
        value: The field's value while the generator runs.
        before: The variable's value before.
        frame: The generator's frame.
    """

    __slots__ = ("_frame", "_task", "_value", "before", "ended")

    def __init__(self, value: str | None, before: str | GeneratorValue | None, frame: FrameType) -> None:
        self._value = value
        self._frame = frame
        self._task = _get_running_task()
        self.before = before
        self.ended = False

    @property
    def running(self) -> bool:
        """Whether the generator runs: a suspended one has no caller."""
        # CPython links a generator's frame to its caller for as long as it runs, and unlinks it at a yield.
        return self._frame.f_back is not None

    def current(self) -> str | None:
        """Returns the field's value for the running code.

        Raises:
            UsageError: The code is a task that was started while the block was open. It cannot be told whether the
                generator started it or its consumer.
        """
        values = self.possible()
        if len(values) > 1:
            name = self._frame.f_code.co_qualname
            raise UsageError(
                f"this task was started while the generator {name} was inside `with Context(...)`, so its tenant "
                "is not known: decorate the generator with @with_context in place of the block"
            )
        return values[0]

    def possible(self) -> tuple[str | None, ...]:
        """Returns the field's possible values for the running code: more than one value for a task of an open block."""
        if self.ended:
            return possible(self.before)
        if self.running:
            return (self._value,)
        # The task that entered the block runs and the generator does not: this is its consumer.
        if _get_running_task() is self._task:
            return possible(self.before)
        # Another task has a copy of the variables, from either side. If both sides say the same, there is no doubt.
        return tuple(dict.fromkeys((self._value, *possible(self.before))))


def possible(value: str | GeneratorValue | None) -> tuple[str | None, ...]:
    """Returns a variable's possible values for the running code."""
    return value.possible() if isinstance(value, GeneratorValue) else (value,)


def settle_value(value: str | GeneratorValue | None) -> str | None:
    """Returns a variable's value for the running code."""
    return value.current() if isinstance(value, GeneratorValue) else value


def ambient(variable: ContextVar[str | GeneratorValue | None]) -> str | None:
    """Returns the value of a field for the running code, or ``None``."""
    return settle_value(variable.get())


def find_entering_generator() -> FrameType | None:
    """Returns the frame of the generator that enters a block right now, unless it is driven to set something."""
    # 0 is this function, 1 is Context.__enter__, 2 is the code that enters the block.
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") in {
        "contextlib",
        "alacena.common.context.context",
    }:
        frame = frame.f_back
    flags = frame.f_code.co_flags
    # types.coroutine makes generators that are awaited and never iterated: they are no generators here.
    if not flags & _GENERATORS or flags & inspect.CO_ITERABLE_COROUTINE or frame.f_back is None:
        return None
    driver = str(frame.f_back.f_globals.get("__name__", ""))
    return None if driver.partition(".")[0] in _MANAGERS else frame


def _get_running_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
