"""A simulated database: rows with versions, transactions that commit or crash, and replicas that lag."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.simulator.runner import Simulation


class Row(NamedTuple):
    """A row as a reader gets it.

    Attributes:
        version: Counts the commits of the key, from 1; 0 where there is no row.
        value: What was written, ``None`` where there is no row.
    """

    version: int
    value: object


class SourceCrashError(Exception):
    """The writer's connection died; with ``committed``, after its commit.

    Attributes:
        committed: Whether the transaction is in the database.
    """

    def __init__(self, *, committed: bool) -> None:
        self.committed = committed
        super().__init__("the connection died " + ("after the commit" if committed else "before the commit"))


class Transaction:
    """Writes that become visible together at the commit."""

    def __init__(self) -> None:
        self.writes: dict[str, object] = {}

    def put(self, key: str, value: object) -> None:
        """Write a row."""
        self.writes[key] = value


class SimSource:
    """The source of truth of a simulation.

    A read takes a snapshot at a random instant within its latency, so a value may be old by the time it arrives: that
    is the race which a cache must survive.

    Args:
        simulation: What it belongs to.
        read_s: Shortest and longest time of a read.
        commit_s: Shortest and longest time of a commit; it happens at a random instant within.
        lag_s: How far behind the primary replicas are, shortest and longest.
        crash_ratio: Chance that a transaction's connection dies, half of the time after the commit.

    Attributes:
        reads: How many reads were answered.
    """

    def __init__(
        self,
        simulation: Simulation,
        *,
        read_s: tuple[float, float] = (0.001, 0.05),
        commit_s: tuple[float, float] = (0.001, 0.01),
        lag_s: tuple[float, float] = (0.0, 0.0),
        crash_ratio: float = 0.0,
    ) -> None:
        self.read_s = read_s
        self.commit_s = commit_s
        self.lag_s = lag_s
        self.crash_ratio = crash_ratio
        self.reads = 0
        self._simulation = simulation
        self._chance = random.Random(f"source/{simulation.seed}")
        self._history: dict[str, list[tuple[float, Row]]] = {}

    def version(self, key: str) -> int:
        """The version that is committed now; for the scenario, not for the code under test."""
        return self._at(key, self._simulation.now()).version

    async def read(self, key: str, *, replica: bool = False) -> Row:
        """Read a row, from the primary or from a replica that lags."""
        before, after = self._split(self.read_s)
        await asyncio.sleep(before)
        lag_s = self._chance.uniform(*self.lag_s) if replica else 0.0
        row = self._at(key, self._simulation.now() - lag_s)
        await asyncio.sleep(after)
        self.reads += 1
        return row

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Write rows and commit at the end of the block; an exception in the block rolls back.

        Raises:
            SourceCrashError: The connection died.
        """
        transaction = Transaction()
        yield transaction
        before, after = self._split(self.commit_s)
        await asyncio.sleep(before)
        crashes = self._chance.random() < self.crash_ratio
        if crashes and self._chance.random() < 0.5:
            raise SourceCrashError(committed=False)
        self.commit(transaction.writes)
        await asyncio.sleep(after)
        if crashes:
            raise SourceCrashError(committed=True)

    def commit(self, writes: dict[str, object]) -> dict[str, int]:
        """Commit at once; returns the new version of every key."""
        versions: dict[str, int] = {}
        for key, value in writes.items():
            history = self._history.setdefault(key, [])
            versions[key] = len(history) + 1
            history.append((self._simulation.now(), Row(versions[key], value)))
            self._simulation.trace.note("commit", key, f"version {versions[key]}")
        return versions

    def _at(self, key: str, instant: float) -> Row:
        for committed_at, row in reversed(self._history.get(key, [])):
            if committed_at <= instant:
                return row
        return Row(0, None)

    def _split(self, span: tuple[float, float]) -> tuple[float, float]:
        total = self._chance.uniform(*span)
        before = total * self._chance.random()
        return before, total - before
