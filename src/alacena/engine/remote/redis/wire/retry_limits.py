"""Retry limits: how often, and how soon, something may be tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alacena.engine.base.environment import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBackoff:
    """Exponential pauses with full jitter, so that a crowd disperses: each is between nothing and its ceiling.

    Attributes:
        base_s: The ceiling of the first pause.
        cap_s: The ceiling of all.
    """

    base_s: float = 0.05
    cap_s: float = 2.0

    def pause_s(self, attempt: int, environment: Environment) -> float:
        """Returns how long to wait before attempt number ``attempt`` (from 0) is repeated, in seconds."""
        # The exponent is bounded first: `2.0 ** 1024` is an OverflowError, and a server may be away for thousands of
        # attempts.
        ceiling: float = min(self.cap_s, self.base_s * 2.0 ** min(attempt, 32))
        return ceiling * environment.random()


class RetryBudget:
    """A token bucket fed by first attempts: repeats stay a small share of the traffic, in every outage.

    Without it, retries multiply the load on a server that is down because of its load, and keep it down.

    Args:
        ratio: Tokens that one first attempt brings; one repeat costs one.
        burst: Tokens that can be saved up.
    """

    __slots__ = ("_burst", "_ratio", "_tokens", "refused")

    def __init__(self, ratio: float = 0.1, burst: float = 10.0) -> None:
        self._ratio = ratio
        self._burst = burst
        self._tokens = burst
        self.refused = 0

    def earn(self) -> None:
        """Notes that a first attempt was made."""
        self._tokens = min(self._burst, self._tokens + self._ratio)

    def spend(self) -> bool:
        """Returns whether one repeat may be made; it is paid for."""
        if self._tokens < 1.0:
            self.refused += 1
            return False
        self._tokens -= 1.0
        return True
