"""The scripts of the coherence protocol; their text is in ``lua/``."""

from __future__ import annotations

from typing import Final

from alacena.engine.store import Script

LEASE: Final = Script("lease", idempotent=True)
STORE: Final = Script("store", idempotent=False)
MINT: Final = Script("mint", idempotent=True)
RENEW: Final = Script("renew", idempotent=True)
RELEASE: Final = Script("release", idempotent=True)
UNHOLD: Final = Script("unhold", idempotent=True)

CACHE_SCRIPTS: Final = (LEASE, STORE, MINT, RENEW, RELEASE, UNHOLD)
