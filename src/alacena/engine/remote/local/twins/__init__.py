"""The scripts' twins: each does in Python what the file of its name in ``engine/remote/redis/lua`` does on a server.

They are kept line by line beside their scripts on purpose: a differential test runs both on the same history.
"""

from alacena.engine.remote.local.twins import budgets, counters, fleet, ledger, limits, locks, queues, roster
from alacena.engine.remote.local.twins.registry import TWINS, Server, Twin

__all__ = ["TWINS", "Server", "Twin", "budgets", "counters", "fleet", "ledger", "limits", "locks", "queues", "roster"]
