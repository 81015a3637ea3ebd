"""The coordination verbs as a cache offers them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alacena.coordination.budgets import Budgets
    from alacena.coordination.counters import Counters
    from alacena.coordination.flags import Flags
    from alacena.coordination.limits import Limits
    from alacena.coordination.lists import Lists
    from alacena.coordination.locks import Locks
    from alacena.coordination.queues import Queues
    from alacena.coordination.sets import Sets
    from alacena.engine.api.coordination import Coordination
    from alacena.ledger.ledger import Ledger


class CoordinationVerbs(ABC):
    """The coordination verbs of a cache. Every verb raises if the server did not confirm."""

    @property
    @abstractmethod
    def _desk(self) -> Coordination: ...

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
