"""The trials: one a file, its number and question in its docstring."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from proving.reliability.place import Effort, Finding

NAMES = (
    "stale_fill",
    "same_segment",
    "fuzz",
    "staleness",
    "stampede",
    "failover",
    "lost_invalidation",
    "half_open",
    "storm",
    "outage",
    "eviction",
    "lost_keys",
    "local_copies",
    "restart",
    "wide",
    "pauses",
    "zombies",
    "cancellation",
    "own_writes",
    "upgrade",
    "error_grid",
    "slot_moves",
    "tracking",
    "round_trips",
)
"""In the order in which they are run and shown."""


class Trial(Protocol):
    """A module of this package."""

    __doc__: str | None
    NUMBERS: tuple[str, ...]

    async def run(self, effort: Effort) -> list[Finding]:
        """Put it to the test."""
        ...


def trial(name: str) -> Trial:
    """One trial by its name."""
    return cast("Trial", import_module(f"proving.reliability.trials.{name}"))


def question(name: str) -> str:
    """What a trial asks: the first line of its docstring."""
    return (trial(name).__doc__ or name).strip().splitlines()[0]
