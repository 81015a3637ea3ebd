"""How much is measured: everything, or enough to see the order of things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effort:
    """Full or quick.

    Attributes:
        quick: Whether it is the quick one.
        rounds: How many rounds count.
    """

    quick: bool
    rounds: int

    def of(self, full: T, quick: T) -> T:
        """One of two sizes."""
        return quick if self.quick else full


FULL = Effort(quick=False, rounds=7)
QUICK = Effort(quick=True, rounds=3)
