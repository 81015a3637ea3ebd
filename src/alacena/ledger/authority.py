"""The contract of the place where usage is kept for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.ledger.usage import Usage


class Authority(Protocol):
    """The authority, which keeps usage for good, each key once."""

    async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
        """Keeps those with a new key, and totals them, in one transaction.

        Returns:
            Those with a key that is known with other figures: not counted.

        Raises:
            BackendError: It is not known to be kept: absorb it again.
        """
        ...
