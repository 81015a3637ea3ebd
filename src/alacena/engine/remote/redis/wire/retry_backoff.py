"""Pauses between attempts."""

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
