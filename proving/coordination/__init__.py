"""Coordination under faults: what is lost, what is doubled, and how long it takes, beside the peers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from proving.figures.tables import Result
    from proving.stand.effort import Effort

NAMES = (
    "million",
    "kills",
    "speed",
    "zombies",
    "poison",
    "ledger",
    "unplugged",
    "keys",
    "liveness",
    "fences",
    "failovers",
    "margins",
    "budgets",
    "lost_replies",
    "rounds",
)
"""In the order in which they are run and shown."""


class Show(Protocol):
    """A module of this package."""

    __doc__: str | None

    async def measure(self, effort: Effort, seed: int) -> Result:
        """Ask the question."""
        ...


def show(name: str) -> Show:
    """One show by its name."""
    return cast("Show", import_module(f"proving.coordination.{name}"))


def question(name: str) -> str:
    """What it asks: the first line of its docstring."""
    return (show(name).__doc__ or name).strip().splitlines()[0]
