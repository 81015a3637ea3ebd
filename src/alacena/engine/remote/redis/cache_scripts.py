"""The scripts of the coherence protocol; their text is in ``lua/``."""

from __future__ import annotations

from typing import Final

from alacena.engine.remote.backend import Script

# Not to be sent again after an unknown outcome, though a second run would do no harm on the server: who sees its own
# nonce expects the push of its own write, and there is none if an earlier run wrote it.
LEASE: Final = Script("lease", idempotent=False)
MINT: Final = Script("mint_generations", idempotent=False)
LATE: Final = Script("late_tags", idempotent=False)
BEGIN: Final = Script("begin", idempotent=False)
STORE: Final = Script("store", idempotent=False)
PIECE: Final = Script("large_piece", idempotent=False)
DISCARD: Final = Script("lease_discard", idempotent=True)
END_TAGS: Final = Script("end_tags", idempotent=True)
RENEW: Final = Script("lease_renew", idempotent=True)
RELEASE: Final = Script("lease_release", idempotent=True)
HOLD: Final = Script("hold", idempotent=True)
UNHOLD: Final = Script("unhold", idempotent=True)

CACHE_SCRIPTS: Final = (LEASE, STORE, PIECE, MINT, LATE, BEGIN, DISCARD, END_TAGS, RENEW, RELEASE, HOLD, UNHOLD)
