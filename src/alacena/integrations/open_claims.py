"""Claims that look-ups of adapters hold, by cache: a cache that closes must not wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, WeakSet

if TYPE_CHECKING:
    from alacena.engine import Cache, Claim

# Weak on both sides: a claim ends when nobody holds it any more, so a note of it must not hold it.
_CLAIMS: Final[WeakKeyDictionary[Cache, WeakSet[Claim]]] = WeakKeyDictionary()


def note_claim(cache: Cache, claim: Claim) -> None:
    """Notes a claim, for as long as somebody holds it."""
    _CLAIMS.setdefault(cache, WeakSet()).add(claim)


def claims_of(cache: Cache) -> tuple[Claim, ...]:
    """Returns the claims of a cache that somebody holds."""
    return tuple(_CLAIMS.get(cache, ()))


async def close_claims(cache: Cache) -> None:
    """Closes the claims of a cache that is about to close."""
    for claim in claims_of(cache):
        await claim.close()
