"""All coordination verbs of one cache, over one store."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

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

_DRAIN_EVERY_S = 5.0
_log = logging.getLogger("alacena")

if TYPE_CHECKING:
    from alacena.engine.coordination.ledger import Authority
    from alacena.engine.coordination.port import Port


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
        self._relay = None if authority is None else Relay(port, self.ledger, authority)
        self._drains = spill is not None
        self._background: list[asyncio.Task[object]] = []

    def start(self) -> None:
        """Start what runs in the background: the relay to the authority, and the counting of what was spilled."""
        loop = asyncio.get_running_loop()
        if self._relay is not None:
            self._background.append(loop.create_task(self._relay.run()))
        if self._drains:
            self._background.append(loop.create_task(self._drain()))

    async def _drain(self) -> None:
        while True:
            try:
                await self.ledger.drain()
            except (BackendError, OSError) as error:
                _log.debug("spilled usage waits on: %s", error)
            await asyncio.sleep(_DRAIN_EVERY_S)

    async def close(self) -> None:
        """Finish what was begun."""
        if self._relay is not None:
            self._relay.stop()
        if self._drains:
            self._background[-1].cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.ledger.close()
        await self.queues.close()
        await self.locks.close()
