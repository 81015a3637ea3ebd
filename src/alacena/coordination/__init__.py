"""Coordination: locks, queues, counters, limits, budgets, plain lists, sets and flags.

Everything here is written once against :class:`alacena.engine.remote.backend.Store`, and raises where the store did not confirm.
"""

from alacena.coordination.budgets import Budget, Budgets, BudgetState, Reservation
from alacena.coordination.coordination_context import CoordinationContext
from alacena.coordination.counters import Counters
from alacena.coordination.element_codec import MSGPACK, Elements, Unreadable
from alacena.coordination.flags import Flags
from alacena.coordination.item import DeadLetter, Item, QueueStats
from alacena.coordination.limits import Decision, Limits
from alacena.coordination.lists import Lists
from alacena.coordination.lock import Lock
from alacena.coordination.lock_block import LockBlock
from alacena.coordination.locks import Locks
from alacena.coordination.push_outcomes import Pushed
from alacena.coordination.queue import Queue
from alacena.coordination.queues import Queues
from alacena.coordination.sets import Sets
from alacena.coordination.worker import Backoff, Worker, WorkerCounts

__all__ = [
    "MSGPACK",
    "Backoff",
    "Budget",
    "BudgetState",
    "Budgets",
    "CoordinationContext",
    "Counters",
    "DeadLetter",
    "Decision",
    "Elements",
    "Flags",
    "Item",
    "Limits",
    "Lists",
    "Lock",
    "LockBlock",
    "Locks",
    "Pushed",
    "Queue",
    "QueueStats",
    "Queues",
    "Reservation",
    "Sets",
    "Unreadable",
    "Worker",
    "WorkerCounts",
]
