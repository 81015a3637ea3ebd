"""Coordination: locks, queues, counters, limits, budgets, plain lists, sets and flags, and the token ledger.

Everything here is written once against :class:`alacena.engine.store.Store`, and raises where the store did not confirm.
"""

from alacena.engine.coordination.budgets import Budget, Budgets, BudgetState, Reservation
from alacena.engine.coordination.counters import Counters
from alacena.engine.coordination.flags import Flags
from alacena.engine.coordination.item import DeadLetter, Item, QueueStats
from alacena.engine.coordination.ledger import Authority, Ledger
from alacena.engine.coordination.limits import Decision, Limits
from alacena.engine.coordination.lists import Lists
from alacena.engine.coordination.lock import Lock
from alacena.engine.coordination.locks import LockBlock, Locks
from alacena.engine.coordination.port import Port
from alacena.engine.coordination.pushed import Pushed
from alacena.engine.coordination.queue import Queue
from alacena.engine.coordination.queues import Queues
from alacena.engine.coordination.relay import Relay, RelayCounts
from alacena.engine.coordination.sets import Sets
from alacena.engine.coordination.spill import Spill
from alacena.engine.coordination.totals import TotalRow, Totals
from alacena.engine.coordination.usage import Usage
from alacena.engine.coordination.values import MSGPACK, Elements, Unreadable
from alacena.engine.coordination.worker import Backoff, Worker, WorkerCounts

__all__ = [
    "MSGPACK",
    "Authority",
    "Backoff",
    "Budget",
    "BudgetState",
    "Budgets",
    "Counters",
    "DeadLetter",
    "Decision",
    "Elements",
    "Flags",
    "Item",
    "Ledger",
    "Limits",
    "Lists",
    "Lock",
    "LockBlock",
    "Locks",
    "Port",
    "Pushed",
    "Queue",
    "QueueStats",
    "Queues",
    "Relay",
    "RelayCounts",
    "Reservation",
    "Sets",
    "Spill",
    "TotalRow",
    "Totals",
    "Unreadable",
    "Usage",
    "Worker",
    "WorkerCounts",
]
