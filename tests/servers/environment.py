"""Time and chance under the hand of the test."""

from __future__ import annotations

import random

START_NOW_S = 1_000.0
START_WALL_S = 1_700_000_000.0


class FakeEnvironment:
    """An ``alacena.engine.environment.Environment`` whose clocks move only when told, and whose chance has a seed.

    Args:
        seed: What every ``random()`` and ``token()`` follows from.
        now: First reading of the steady clock, seconds.
        wall: First reading of the wall clock, seconds since the epoch.
    """

    def __init__(self, seed: int = 0, *, now: float = START_NOW_S, wall: float = START_WALL_S) -> None:
        self.seed = seed
        self._now = now
        self._wall = wall
        self._random = random.Random(seed)

    def now(self) -> float:
        """Seconds on the steady clock."""
        return self._now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def random(self) -> float:
        """The next float in ``[0, 1)``."""
        return self._random.random()

    def token(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        return self._random.randbytes(size)

    def advance(self, seconds: float) -> None:
        """Time passes: both clocks move forward."""
        if seconds < 0:
            raise ValueError(f"time does not go back: advance({seconds}); use step_wall() for a wall clock that does")
        self._now += seconds
        self._wall += seconds

    def step_wall(self, seconds: float) -> None:
        """Somebody set the wall clock, forward or back; the steady clock does not notice."""
        self._wall += seconds
