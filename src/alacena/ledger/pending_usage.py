"""Usage that was paid for while no server would count it: kept in this process until one does."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from alacena.coordination.background_task_end import ends_a_task
from alacena.coordination.failure_streak import FailureStreak
from alacena.engine.base.ambient_tenant import outside
from alacena.engine.base.closing import finish
from alacena.engine.base.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.engine.base.closing import Deadline
    from alacena.engine.base.environment import Environment
    from alacena.engine.base.health import Health
    from alacena.ledger.usage import Usage

MOST: Final = 10_000
"""Uses that are kept; beyond that the oldest are written to the log with their figures, and no longer kept."""

PART: Final = "alacena: pending usage"
"""Its name among the parts that have faults."""

_LONGEST_PAUSE_S: Final = 5.0
"""Totals should not lag long behind a server that is back; one command every few seconds is little."""

_log = logging.getLogger("alacena")


class PendingUsage:
    """Keeps usage in memory, and has it counted as soon as that can be done, in the order in which it came.

    Each use has its key, so that one of unknown outcome is counted once.

    Args:
        count: Counts one use; raises a ``BackendError`` while it cannot.
        environment: Chance.
        health: Is told while usage cannot be counted.

    Attributes:
        lost: Uses that were given up: there were too many, or the cache was closed; each is in the log.
        refused: Uses that could not be counted, because of their figures; each is in the log.
    """

    def __init__(
        self, count: Callable[[Usage], Awaitable[object]], environment: Environment, health: Health | None = None
    ) -> None:
        self.lost = 0
        self.refused = 0
        self._count = count
        self._environment = environment
        self._kept: deque[Usage] = deque()
        self._sent: Usage | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = FailureStreak(
            "token usage is not counted",
            f"up to {MOST} uses wait in this process; see that Redis takes writes, or set ledger_spill_path",
            health=health,
            part=PART,
        )

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def failing(self) -> str | None:
        """The kind of the failure that keeps it from being counted."""
        return self._failures.kind if self._kept else None

    def keep(self, usage: Usage, error: BaseException | None = None) -> None:
        """Keeps a use until it is counted."""
        if error is not None:
            self._failures.record(error)
        self._kept.append(usage)
        if len(self._kept) > MOST:
            # The oldest that is not on its way: given up, one that is being sent would be counted and said to be lost.
            oldest = 1 if self._kept[0] is self._sent else 0
            self._give_up(self._kept[oldest])
            del self._kept[oldest]
        if self._task is None:
            # For nobody: it counts what every tenant has used.
            self._task = outside(asyncio.get_running_loop().create_task, self._work(), name="alacena: pending usage")

    def refuse(self, what: str, error: BaseException) -> None:
        """Takes note of a use that can never be counted."""
        self.refused += 1
        _log.error("token usage is not counted, and the answer that it was for is kept: %s: %s", what, error)

    async def _work(self) -> None:
        pause_s = 0.5
        try:
            while self._kept:
                await asyncio.sleep(pause_s * (0.5 + self._environment.random()))
                pause_s = await self.flush()
        finally:
            self._task = None

    async def flush(self) -> float:
        """Counts the kept usage, until that fails; returns the seconds to wait before it is worth trying again."""
        while self._kept:
            # Taken off only after the count: if this task is cancelled in between, close() still has the use.
            usage = self._sent = self._kept[0]
            try:
                await self._count(usage)
            except BackendError as error:
                return min(_LONGEST_PAUSE_S, self._failures.record(error))
            except BaseException as error:
                if ends_a_task(error):
                    raise
                self.refuse(f"{usage.tenant_id!r}, {usage.idempotency_key!r}: {usage.figures}", error)
            finally:
                self._sent = None
            self._kept.popleft()
        self._failures.over()
        return 0.0

    async def close(self, deadline: Deadline) -> None:
        """Tries once more, within the deadline; the rest is written to the log with its figures."""
        try:
            if self._task is not None:
                # The task may be in its pause: it is ended, so that the last try comes at once and alone.
                await finish((self._task,), 0.0)
            if self._kept:
                last = asyncio.get_running_loop().create_task(self.flush())
                await finish((last,), deadline.left_s(least=0.5))
        finally:
            while self._kept:
                self._give_up(self._kept.popleft())

    def _give_up(self, usage: Usage) -> None:
        self.lost += 1
        _log.error("token usage was never counted: %s", usage.pack().decode())

    def health(self) -> dict[str, Any]:
        """Returns how many uses wait, were given up, and were refused."""
        return {"pending": len(self._kept), "lost": self.lost, "refused": self.refused}
