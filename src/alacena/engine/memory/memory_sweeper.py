"""The timer that frees the memory of expired entries, a little at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from alacena.engine.base.environment import Environment
    from alacena.engine.memory.memory_tier import MemoryTier

_EXPIRY_EVERY_S = 0.1
_EXPIRY_STEP_S: Final = 0.001
_EXPIRY_STEP: Final = 2_000
_EXPIRY_BATCH: Final = 50


class MemorySweeper:
    """Frees the memory of expired entries, for a millisecond in one turn of the loop and on in the next."""

    def __init__(self, memory: MemoryTier, environment: Environment, loop: asyncio.AbstractEventLoop) -> None:
        self._memory = memory
        self._environment = environment
        self._loop = loop
        self._timer = loop.call_later(_EXPIRY_EVERY_S, self._sweep)

    def _sweep(self) -> None:
        now = self._environment.now()
        end, left = now + _EXPIRY_STEP_S, _EXPIRY_STEP
        pause_s = 0.0
        # By number too: by a clock that stands still, as in tests, the time is never up.
        while left and now < end:
            if self._memory.expire(now, _EXPIRY_BATCH) < _EXPIRY_BATCH:
                self._memory.compact()
                pause_s = _EXPIRY_EVERY_S
                break
            left -= _EXPIRY_BATCH
            now = self._environment.now()
        self._timer = self._loop.call_later(pause_s, self._sweep)

    def stop(self) -> None:
        """Stops the timer."""
        self._timer.cancel()
