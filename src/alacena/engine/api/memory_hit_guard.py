"""On which thread a cache may answer from memory without asking which event loop runs."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.remote_tier import MISSING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from alacena.engine.base.keys import Ident
    from alacena.engine.memory import MemoryEntry


class MemoryHitGuard:
    """Holds the thread of a cache's event loop for as long as that loop lasts.

    In Python 3.11, asking for the running loop takes a system call, which is dearer than the hit itself. A thread costs
    little to ask for. So a hit compares threads, and the loop says when it ends: every loop ends its asynchronous
    generators, and this class keeps one.

    Attributes:
        thread: The thread on which memory may answer; ``None``: every read goes the long way, which checks the loop.
    """

    __slots__ = ("__weakref__", "_watch", "thread")

    def __init__(self) -> None:
        self.thread: int | None = None
        self._watch: AsyncGenerator[None, None] | None = None
        _GUARDS.add(self)

    async def open(self) -> None:
        """Lets memory answer on this thread, until the running loop ends."""
        self._watch = _watch(weakref.ref(self))
        # A loop is told of a generator at its first step, and ends only those that it was told of.
        await anext(self._watch)
        self.thread = get_ident()

    def close(self) -> None:
        """Lets memory answer no more."""
        watch, self._watch, self.thread = self._watch, None, None
        if watch is not None:
            # The generator is suspended and holds nothing, so its end is one step, which awaits nothing.
            with suppress(StopIteration):
                watch.aclose().send(None)


async def _watch(guard: weakref.ref[MemoryHitGuard]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if (held := guard()) is not None:
            held.thread = None


_GUARDS: Final[weakref.WeakSet[MemoryHitGuard]] = weakref.WeakSet()


def _forget_parents_loops() -> None:
    """Forgets the parent's loops in a forked child: its only thread has the identity of the parent's."""
    # 1. The parent holds the guard of its loop, by its thread. 2. It forks: the child's thread has the same identity.
    # 3. The child reads from memory, past the check of the loop, what no push will ever invalidate there.
    for guard in tuple(_GUARDS):
        guard.thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_loops)


def peek_nothing(_: Ident) -> Any:
    """Returns the contents of memory of a cache that is not open."""
    return MISSING


def peek_no_entry(_: Ident, __: float) -> MemoryEntry | None:
    """Returns the entry that memory has of a cache that is not open."""
    return None
