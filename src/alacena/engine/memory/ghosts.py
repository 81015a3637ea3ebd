"""What is remembered of keys that are no longer in memory."""

from __future__ import annotations

from array import array

_CELLS_PER_SLOT = 4
_FEWEST_CELLS = 64
_MOST_CELLS = 1 << 26
STAMP_MASK = (1 << 24) - 1


class Ghosts:
    """A table of 8-byte cells: use count and time of departure of evicted keys, by a 32-bit digest of the key.

    A newcomer overwrites whoever shares its cell, so forgetting needs no list and no sweep: with four cells a slot, a
    ghost lasts for about four capacities of departures. Two keys that share a digest share their past, which costs
    at most one wrong guess.

    Attributes:
        slots: For how many slots there is room.

    A cell holds, from the high bits: digest (32), stamp (24), use count (4), age (4).
    """

    __slots__ = ("_cells", "_mask", "slots")

    def __init__(self) -> None:
        self._cells = array("Q", bytes(8 * _FEWEST_CELLS))
        self._mask = _FEWEST_CELLS - 1
        self.slots = _FEWEST_CELLS // _CELLS_PER_SLOT

    def fit(self, slots: int) -> None:
        """Make room for the past of a shelf that holds so many slots."""
        # Doubling by concatenation is a rehash: a cell's place is the low bits of the digest that it holds, so one of
        # the two copies stands where the longer mask looks for it, and the other can match nobody.
        while self.slots < slots:
            if len(self._cells) < _MOST_CELLS:
                self._cells += self._cells
            self.slots *= 2
        self._mask = len(self._cells) - 1

    def remember(self, digest: int, stamp: int, frequency: int, age: int) -> None:
        """Note a departure; a ``stamp`` of 0 says nothing about the time."""
        self._cells[digest & self._mask] = digest << 32 | (stamp & STAMP_MASK) << 8 | frequency << 4 | age & 15

    def recall(self, digest: int) -> tuple[int, int, int] | None:
        """Stamp, use count and age that were noted; ``None`` where nothing was, or was overwritten."""
        cell = self._cells[digest & self._mask]
        if cell >> 32 != digest:
            return None
        return cell >> 8 & STAMP_MASK, cell >> 4 & 15, cell & 15
