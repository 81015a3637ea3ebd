"""All coordination verbs of one cache, over one store."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from alacena.coordination.background_task_end import ends_a_task, watch_end
from alacena.coordination.budgets import Budgets
from alacena.coordination.counters import Counters
from alacena.coordination.failure_streak import FailureStreak
from alacena.coordination.flags import Flags
from alacena.coordination.limits import Limits
from alacena.coordination.lists import Lists
from alacena.coordination.locks import Locks
from alacena.coordination.queues import Queues
from alacena.coordination.sets import Sets
from alacena.engine.base.closing import Deadline, finish, take_apart
from alacena.engine.base.errors import BackendUnavailableError
from alacena.ledger.ledger import Ledger
from alacena.ledger.pending_usage import PART as PENDING
from alacena.ledger.relay import PART as RELAY
from alacena.ledger.relay import Relay
from alacena.ledger.spool import Spool

_DRAIN_EVERY_S = 5.0
_DRAIN: Final = "alacena: spilled usage"
_log = logging.getLogger("alacena")

if TYPE_CHECKING:
    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.ledger.ledger import Authority


class Coordination:
    """The locks, queues, counters and the like of one cache.

    Args:
        port: The store under them.
        authority: Where token usage is kept for good; with it, a relay carries the ledger's outbox there.
        spill_path: A file in which token usage waits while Redis is away.
    """

    def __init__(
        self, port: CoordinationContext, *, authority: Authority | None = None, spill_path: str | None = None
    ) -> None:
        self.locks = Locks(port)
        self.queues = Queues(port)
        self.counters = Counters(port)
        self.limits = Limits(port)
        self.budgets = Budgets(port)
        self.lists = Lists(port)
        self.sets = Sets(port)
        self.flags = Flags(port)
        spill = None if spill_path is None else Spool(spill_path)
        self.ledger = Ledger(port, authority=authority, spill=spill)
        self._relay = None if authority is None else Relay(port, self.ledger, authority)
        self._spill = spill
        self._environment = port.environment
        self._failures = FailureStreak(
            "spilled token usage is not counted",
            "it waits in the file; see that its disk and Redis take writes",
            health=port.health,
            part=_DRAIN,
        )
        self._health = port.health
        self._background: list[asyncio.Task[object]] = []

    def start(self) -> None:
        """Starts the background tasks: the relay to the authority, and the counting of spilled usage."""
        loop = asyncio.get_running_loop()
        if self._relay is not None:
            self._background.append(loop.create_task(self._relay.run(), name=RELAY))
        if self._spill is not None:
            self._background.append(loop.create_task(self._drain(), name=_DRAIN))
        for task in self._background:
            # A desk that was closed has none left.
            watch_end(task, partial(self._is_listed, task), self._health, task.get_name())

    def _is_listed(self, task: asyncio.Task[object]) -> bool:
        return task in self._background

    async def _drain(self) -> None:
        while True:
            pause_s = _DRAIN_EVERY_S
            try:
                await self.ledger.drain()
                self._failures.over()
            # An outage of the server is no trouble of this part: only other failures are reported as one.
            except BackendUnavailableError as error:
                _log.debug("spilled usage waits on: %s", error)
            except BaseException as error:  # it must not end while there may be something to count
                if ends_a_task(error):
                    raise
                pause_s = max(pause_s, self._failures.record(error) * (0.5 + self._environment.random()))
            await asyncio.sleep(pause_s)

    def health(self) -> dict[str, Any]:
        """Returns whether the work in the background is alive, and its failure.

        Returns:
            ``dead``: the names of background tasks that have ended by themselves; ``failing``: by the name of
            each part that is failing, the kind of its last failure; ``ledger``: the ledger's own figures; with an authority
            ``relay``: the records carried there; with a spill file ``spill``: whether something waits in it.
        """
        relay = None if self._relay is None else self._relay.health()
        kinds = {RELAY: relay and relay["failing"], _DRAIN: self._failures.kind, PENDING: self.ledger.failing}
        found: dict[str, Any] = {
            "dead": [task.get_name() for task in self._background if task.done()],
            "failing": {name: kind for name, kind in kinds.items() if kind is not None},
            "ledger": self.ledger.health(),
        }
        if relay is not None:
            found["relay"] = relay
        if self._spill is not None:
            found["spill"] = {"holds_any": self._spill.holds_any, "failures": self._failures.count}
        return found

    async def close(self, deadline: Deadline | None = None) -> None:
        """Finishes work that was begun, in 5 s or by the deadline; the rest is cancelled, and the next process takes it up again.

        Cancellation: everything is cancelled at once.
        """
        deadline = deadline or Deadline(5.0)
        # Emptied first: `watch_end` takes a task that is still listed for one that nobody ended.
        background, self._background = self._background, []
        if self._relay is not None:
            self._relay.stop()
        for task in background:
            if task.get_name() == _DRAIN:
                task.cancel()
        steps = (
            partial(self.locks.close, deadline),
            partial(self.queues.close, deadline),
            partial(self.ledger.close, deadline),
            partial(_finish, background, deadline),
        )
        try:
            await take_apart(steps, deadline)
        finally:
            if self._spill is not None:
                # After the ledger, which may write into it until its own end.
                self._spill.close()


async def _finish(tasks: list[asyncio.Task[object]], deadline: Deadline) -> None:
    await finish(tasks, deadline.left_s())
