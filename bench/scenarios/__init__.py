"""The questions: one a file, said in its docstring."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from proving.figures.tables import Result
    from proving.stand.effort import Effort
    from proving.stand.server import Server

NAMES = (
    "memory_hit",
    "writes",
    "faces",
    "redis_hit",
    "promoted",
    "misses",
    "batches",
    "stampede",
    "invalidate_tenant",
    "lineage",
    "ingestion",
    "embeddings",
    "llm_transport",
    "stale_fill",
    "outage",
    "source_trouble",
    "cancellation",
    "noisy_tenant",
    "bytes_per_entry",
    "expiry",
    "pauses",
    "service",
)
"""In the order in which they are run and shown."""

JUDGED = ("memory_hit", "writes", "faces", "promoted", "misses", "batches", "pauses", "service")
"""Those that say what each thing costs, with a bar for it."""


class Scenario(Protocol):
    """A module of this package."""

    __doc__: str | None

    async def measure(self, server: Server, effort: Effort) -> Result:
        """Ask the question."""
        ...


def scenario(name: str) -> Scenario:
    """One scenario by its name."""
    return cast("Scenario", import_module(f"bench.scenarios.{name}"))


def question(name: str) -> str:
    """What a scenario asks: the first line of its docstring."""
    return (scenario(name).__doc__ or name).strip().splitlines()[0]


def loops(name: str) -> tuple[str, ...]:
    """On which event loops a scenario is asked."""
    return tuple(getattr(scenario(name), "LOOPS", ("asyncio",)))
