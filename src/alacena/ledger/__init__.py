"""Token usage, counted exactly once: the ledger, its relay and its spool."""

from alacena.ledger.ledger import Authority, Ledger
from alacena.ledger.relay import Relay, RelayCounts
from alacena.ledger.spool import Spool
from alacena.ledger.totals import TotalRow, Totals
from alacena.ledger.usage import Usage

__all__ = [
    "Authority",
    "Ledger",
    "Relay",
    "RelayCounts",
    "Spool",
    "TotalRow",
    "Totals",
    "Usage",
]
