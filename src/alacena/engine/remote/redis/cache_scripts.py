"""The scripts of the coherence protocol; their text is in ``lua/``."""

from __future__ import annotations

from typing import Final

from alacena.engine.remote.backend import Script

# Not to be sent again after an unknown outcome, though a second run would do no harm on the server: who sees its own
# nonce expects the push of its own write, and there is none if an earlier run wrote it.
LEASE: Final = Script("lease", idempotent=False)
MINT: Final = Script("mint", idempotent=False)
LATE: Final = Script("late", idempotent=False)
BEGIN: Final = Script("begin", idempotent=False)
STORE: Final = Script("store", idempotent=False)
PIECE: Final = Script("piece", idempotent=False)
DISCARD: Final = Script("discard", idempotent=True)
END_TAGS: Final = Script("end_tags", idempotent=True)
RENEW: Final = Script("renew", idempotent=True)
RELEASE: Final = Script("release", idempotent=True)
HOLD: Final = Script("hold", idempotent=True)
UNHOLD: Final = Script("unhold", idempotent=True)

CACHE_SCRIPTS: Final = (LEASE, STORE, PIECE, MINT, LATE, BEGIN, DISCARD, END_TAGS, RENEW, RELEASE, HOLD, UNHOLD)
