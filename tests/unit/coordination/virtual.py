"""Virtual time: a loop that jumps to its next timer, and an environment that lives on it."""

from __future__ import annotations

import asyncio
import heapq
import random
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while something runs, and jumps when nothing can."""

    _scheduled: list[asyncio.TimerHandle]
    _ready: Any

    def __init__(self) -> None:
        super().__init__()
        self._virtual = 1_000.0

    def time(self) -> float:
        return self._virtual

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False  # type: ignore[attr-defined]
            self._timer_cancelled_count = max(getattr(self, "_timer_cancelled_count", 0) - 1, 0)
        if not self._ready and self._scheduled:
            self._virtual = max(self._virtual, self._scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


class VirtualEnvironment:
    """Time of a loop, chance of a seed."""

    def __init__(self, clock: Callable[[], float], seed: int = 7) -> None:
        self.now = clock
        self.wall = lambda: 1_700_000_000.0 + clock()
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def token(self, size: int) -> bytes:
        return self._random.randbytes(size)


def run_virtual(test: Callable[[VirtualEnvironment], Coroutine[Any, Any, T]], seed: int = 7) -> T:
    """Run a test on a virtual loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(test(VirtualEnvironment(loop.time, seed)))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
