"""All coordination verbs of one cache, over one store."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from alacena.engine.coordination.budgets import Budgets
from alacena.engine.coordination.counters import Counters
from alacena.engine.coordination.flags import Flags
from alacena.engine.coordination.ledger import Ledger
from alacena.engine.coordination.limits import Limits
from alacena.engine.coordination.lists import Lists
from alacena.engine.coordination.locks import Locks
from alacena.engine.coordination.queues import Queues
from alacena.engine.coordination.relay import Relay
from alacena.engine.coordination.sets import Sets
from alacena.engine.coordination.spill import Spill
from alacena.engine.errors import BackendError

if TYPE_CHECKING:
    from alacena.engine.coordination.ledger import Authority
    from alacena.engine.coordination.port import Port

_DRAIN_EVERY_S: Final = 5.0


class Desk:
    """Where a cache's locks, queues, counters and the like are asked for.

    Args:
        port: The store under them.
        authority: Where token usage is kept for good; with it, a relay carries the ledger's outbox there.
        spill_path: A file in which token usage waits while Redis is away.
    """

    def __init__(self, port: Port, *, authority: Authority | None = None, spill_path: str | None = None) -> None:
        self.locks = Locks(port)
        self.queues = Queues(port)
        self.counters = Counters(port)
        self.limits = Limits(port)
        self.budgets = Budgets(port)
        self.lists = Lists(port)
        self.sets = Sets(port)
        self.flags = Flags(port)
        spill = None if spill_path is None else Spill(spill_path)
        self.ledger = Ledger(port, authority=authority, spill=spill)
        self._random = port.environment.random
        self._spills = spill is not None
        self._relay = None if authority is None else Relay(port, self.ledger, authority)
        self._relaying: asyncio.Task[object] | None = None
        self._draining: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start what runs in the background."""
        loop = asyncio.get_running_loop()
        if self._relay is not None:
            self._relaying = loop.create_task(self._relay.run())
        if self._spills:
            self._draining = loop.create_task(self._drain())

    async def close(self) -> None:
        """Finish what was begun. What waits in the spill file stays there for the next process."""
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.wait([self._draining])
        if self._relay is not None and self._relaying is not None:
            self._relay.stop()
            await self._relaying
        await self.queues.close()
        await self.locks.close()

    async def _drain(self) -> None:
        """Count what waits in the spill file, also what another process left there, whenever the store is back."""
        while True:
            with suppress(BackendError, OSError):  # It is still in the file.
                await self.ledger.drain()
            await asyncio.sleep(_DRAIN_EVERY_S * (0.5 + self._random()))
