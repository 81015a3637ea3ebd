"""Changes beside a call that stores its entries in portions: the last portion is as old as the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class StoreChanges:
    """Notes changes since a call began.

    Attributes:
        entries: Keys of entries that later calls store or remove.
        names: Names of generations that have ended.
        is_lost: Whether all that was known of generations was forgotten: any may have ended.
    """

    __slots__ = ("entries", "is_lost", "names")

    def __init__(self) -> None:
        self.entries: set[bytes] = set()
        self.names: set[str] = set()
        self.is_lost = False

    def __bool__(self) -> bool:
        return bool(self.is_lost or self.names or self.entries)

    def has_ended(self, names: Iterable[str]) -> bool:
        """Returns whether one of these generations has ended, or may have."""
        return self.is_lost or not self.names.isdisjoint(names)
