"""All coordination verbs of one cache, over one store."""

from __future__ import annotations

from alacena.engine.coordination.budgets import Budgets
from alacena.engine.coordination.counters import Counters
from alacena.engine.coordination.flags import Flags
from alacena.engine.coordination.limits import Limits
from alacena.engine.coordination.lists import Lists
from alacena.engine.coordination.locks import Locks
from alacena.engine.coordination.port import Port
from alacena.engine.coordination.queues import Queues
from alacena.engine.coordination.sets import Sets


class Desk:
    """Where a cache's locks, queues, counters and the like are asked for.

    Args:
        port: The store under them.
    """

    def __init__(self, port: Port) -> None:
        self.locks = Locks(port)
        self.queues = Queues(port)
        self.counters = Counters(port)
        self.limits = Limits(port)
        self.budgets = Budgets(port)
        self.lists = Lists(port)
        self.sets = Sets(port)
        self.flags = Flags(port)

    async def close(self) -> None:
        """Finish what was begun."""
        await self.queues.close()
        await self.locks.close()
