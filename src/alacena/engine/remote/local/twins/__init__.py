"""The scripts' twins: each does in Python the work of the file of its name in ``engine/remote/redis/lua`` does on a server.

They are kept line by line beside their scripts on purpose: a differential test runs both on the same history.
"""

from alacena.engine.remote.local.twins import budgets, counters, fleet, ledger, limits, locks, queues, roster
from alacena.engine.remote.local.twins.registry import TWINS, Twin, TwinServer

__all__ = [
    "TWINS",
    "Twin",
    "TwinServer",
    "budgets",
    "counters",
    "fleet",
    "ledger",
    "limits",
    "locks",
    "queues",
    "roster",
]
