"""Time and chance of a simulated process: `alacena.engine.base.environment.Environment`, owned by a seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WALL_ORIGIN = 1_750_000_000.0
"""What a wall clock without skew shows when the virtual clock shows zero, in epoch seconds."""


class SimEnvironment:
    """An `Environment` whose clocks follow the virtual time and whose chance comes from a seed.

    Two processes of one simulation have one environment each: their wall clocks may disagree, and one machine may be
    suspended while the other runs.

    Args:
        clock: The virtual time in seconds, usually ``loop.time``.
        seed: Names the sequence of random numbers and tokens. Equal seeds give equal sequences.
        wall_skew_s: How far this machine's wall clock is ahead of the true one, in seconds.
    """

    def __init__(self, clock: Callable[[], float], *, seed: str, wall_skew_s: float = 0.0) -> None:
        self.now: Callable[[], float] = self._now
        self.wall: Callable[[], float] = self._wall
        self.wall_skew_s = wall_skew_s
        self._clock = clock
        self._suspended_s = 0.0
        self._random = random.Random(seed)

    def _now(self) -> float:
        return self._clock() + self._suspended_s

    def _wall(self) -> float:
        return WALL_ORIGIN + self._clock() + self._suspended_s + self.wall_skew_s

    def random(self) -> float:
        """A float in ``[0, 1)`` from the seed."""
        return self._random.random()

    def token(self, size: int) -> bytes:
        """``size`` bytes from the seed."""
        return self._random.randbytes(size)

    def suspend(self, seconds: float) -> None:
        """Let the machine have slept: ``now`` and ``wall`` jump ahead, the loop's timers do not.

        That is what ``CLOCK_BOOTTIME`` does across a suspend while ``CLOCK_MONOTONIC`` stands still.
        """
        self._suspended_s += seconds

    def step_wall(self, seconds: float) -> None:
        """Let somebody set the wall clock: ``wall`` jumps, ``now`` does not."""
        self.wall_skew_s += seconds
