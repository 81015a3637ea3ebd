"""A scope's generation: the nonce that everything under it is stamped with."""

from __future__ import annotations

import msgspec


class Generation(msgspec.Struct, gc=False, eq=False):
    """One scope's current nonce; ``None`` while it is unknown. It refers to texts alone: the collector need not see it.

    Attributes:
        name: Its key on the server.
        nonce: The nonce, compared by equality only.
        tag: The tag that it stands for, if it does not stand for a scope.
        untracked_nonce: The server's last word if it does not tell of changes; the nonce is unknown then. No read may use
            it. It only shows that a lease is not known to be worthless.
    """

    name: str
    nonce: bytes | None = None
    untracked_nonce: bytes | None = None
    tag: str | None = None

    def stands(self, nonce: bytes) -> bool:
        """Returns whether, as far as this process knows, the generation has not ended since it had this nonce."""
        return nonce == (self.untracked_nonce if self.nonce is None else self.nonce)
