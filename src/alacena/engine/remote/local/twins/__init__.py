"""The scripts' twins: each does in Python the work that the file of its name in ``engine/remote/redis/lua`` does on a server.

They are kept line by line beside their scripts on purpose: a differential test runs both on the same history.
"""

from alacena.engine.remote.local.twins import (
    budget_twins,
    counter_twins,
    fleet_twins,
    ledger_twins,
    limit_twins,
    lock_twins,
    queue_twins,
    ready_tenants_twins,
    set_twins,
)
from alacena.engine.remote.local.twins.twin_server import TWINS, Twin, TwinServer

__all__ = [
    "TWINS",
    "Twin",
    "TwinServer",
    "budget_twins",
    "counter_twins",
    "fleet_twins",
    "ledger_twins",
    "limit_twins",
    "lock_twins",
    "queue_twins",
    "ready_tenants_twins",
    "set_twins",
]
