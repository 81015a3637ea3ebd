"""Medians with their spread. Noise on a shared machine only ever adds, so means and extremes say little."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Spread(msgspec.Struct, frozen=True):
    """A median and the quartiles around it.

    Attributes:
        median: Half of the samples are below.
        low: A quarter of them is below.
        high: A quarter of them is above.
        samples: How many there were.
    """

    median: float
    low: float
    high: float
    samples: int

    def times(self, factor: float) -> Spread:
        """The same in another unit."""
        low, high = sorted((self.low * factor, self.high * factor))
        return Spread(self.median * factor, low, high, self.samples)


def spread(samples: Sequence[float]) -> Spread:
    """Median and quartiles (inclusive method: the quartiles of one sample are the sample).

    Raises:
        ValueError: There are no samples.
    """
    if not samples:
        raise ValueError("no samples: measure at least one round")
    if len(samples) == 1:
        return Spread(samples[0], samples[0], samples[0], 1)
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Spread(median, low, high, len(samples))


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Of each round's ratio, so that what slows a whole round down falls out of it.

    Raises:
        ValueError: The two do not come from the same rounds.
    """
    return spread([a / b for a, b in zip(above, below, strict=True)])


def percentile(samples: Sequence[float], part: float) -> float:
    """The sample below or at which ``part`` (0 to 1) of them lie (nearest rank)."""
    if not samples:
        raise ValueError("no samples: measure at least one")
    rank = math.ceil(part * len(samples))
    return sorted(samples)[min(max(rank, 1), len(samples)) - 1]
