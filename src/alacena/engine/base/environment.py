"""The only door to time and chance, so that a simulation can own both."""

from __future__ import annotations

import random
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_BOOTTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Environment(Protocol):
    """Time and chance as the library sees them."""

    now: Callable[[], float]
    """Seconds on a clock that never steps and does not stop while the machine is suspended. Origin arbitrary."""

    wall: Callable[[], float]
    """Seconds since the epoch. Used for figures that people read, never to decide who is right."""

    def random(self) -> float:
        """Returns a float in ``[0, 1)`` for jitter and sampling."""
        ...

    def token(self, size: int) -> bytes:
        """Returns ``size`` unpredictable bytes: nonces, lease tokens, lock owners."""
        ...


class SystemEnvironment:
    """The machine's clocks and its entropy.

    ``CLOCK_BOOTTIME`` counts suspended time; if a platform lacks it, the monotonic clock stands in.
    """

    def __init__(self) -> None:
        self.now: Callable[[], float] = partial(time.clock_gettime, _BOOTTIME)
        self.wall: Callable[[], float] = time.time
        # Its own generator: random.seed() in an application would make all its processes renew at the same moment.
        self.random: Callable[[], float] = random.Random().random  # noqa: S311 - jitter, not secrets

    # The function itself: each load asks for several tokens.
    token = staticmethod(secrets.token_bytes)
    """Returns so many bytes of the operating system's entropy."""
