"""The coordination verbs as a cache offers them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alacena.engine.coordination.budgets import Budgets
    from alacena.engine.coordination.counters import Counters
    from alacena.engine.coordination.desk import Desk
    from alacena.engine.coordination.flags import Flags
    from alacena.engine.coordination.ledger import Ledger
    from alacena.engine.coordination.limits import Limits
    from alacena.engine.coordination.lists import Lists
    from alacena.engine.coordination.locks import Locks
    from alacena.engine.coordination.queues import Queues
    from alacena.engine.coordination.sets import Sets


class CoordinationFace(ABC):
    """What is asked for at a cache's desk. Every verb raises where the server did not confirm."""

    @property
    @abstractmethod
    def _desk(self) -> Desk: ...

    @property
    def locks(self) -> Locks:
        """Locks across processes, with a fence."""
        return self._desk.locks

    @property
    def queues(self) -> Queues:
        """Queues that lose nothing."""
        return self._desk.queues

    @property
    def counters(self) -> Counters:
        """Atomic counters."""
        return self._desk.counters

    @property
    def limits(self) -> Limits:
        """Rate limits."""
        return self._desk.limits

    @property
    def budgets(self) -> Budgets:
        """Budgets: reserve, commit, refund."""
        return self._desk.budgets

    @property
    def lists(self) -> Lists:
        """Plain lists."""
        return self._desk.lists

    @property
    def sets(self) -> Sets:
        """Plain sets."""
        return self._desk.sets

    @property
    def flags(self) -> Flags:
        """Values that the first one to set them decides."""
        return self._desk.flags

    @property
    def ledger(self) -> Ledger:
        """The token ledger."""
        return self._desk.ledger
