"""The past of keys that are no longer in memory."""

from __future__ import annotations

from array import array

_CELLS_PER_SLOT = 4
_FEWEST_CELLS = 64
_CELLS_PER_PART = 1 << 16
_MOST_PARTS = 1 << 10
STAMP_MASK = (1 << 24) - 1


class EvictionHistory:
    """The use counts and times of departure of evicted keys, in cells of 8 bytes, by a 32-bit digest of the key.

    A newcomer overwrites the key that shares its cell, so forgetting needs no list and no sweep: with four cells an
    entry, a ghost lasts for about four capacities of departures. Two keys that share a digest share their past, which costs
    at most one wrong guess.

    Attributes:
        entries: For how many entries there is room; 0 as long as nothing had to be remembered.

    A cell is a digest and a note: from the high bits stamp (24), age (4), use count (4). They stand apart because numbers
    of 32 bits are computed with in half the time of longer ones.

    The cells are in parts, since it would hold the loop up to copy them all at once.
    """

    __slots__ = ("_digests", "_in_part", "_notes", "_of_parts", "_owned", "entries")

    def __init__(self) -> None:
        self._digests = [array("I", bytes(4 * _FEWEST_CELLS))]
        self._notes = [array("I", bytes(4 * _FEWEST_CELLS))]
        self._owned = bytearray(b"\1")
        self._in_part = _FEWEST_CELLS - 1
        self._of_parts = 0
        self.entries = 0

    def fit(self, entries: int) -> None:
        """Makes room for the past of a tier that holds so many entries."""
        # Doubling by concatenation is a rehash: a cell's place is the low bits of the digest that it holds, so one of
        # the two copies stands where the longer mask looks for it, and the other can match no key. For the same reason
        # two places may share a part until one of them is written to.
        self.entries = max(self.entries, _FEWEST_CELLS // _CELLS_PER_SLOT)
        while self.entries < entries:
            self.entries *= 2
            if self._in_part < _CELLS_PER_PART - 1:
                self._digests[0] += self._digests[0]
                self._notes[0] += self._notes[0]
                self._in_part = len(self._digests[0]) - 1
            elif len(self._digests) < _MOST_PARTS:
                self._digests += self._digests
                self._notes += self._notes
                self._owned = bytearray(len(self._digests))
                self._of_parts = len(self._digests) - 1

    def remember(self, digest: int, stamp: int, uses: int) -> None:
        """Notes a departure with the age and the use count of the key; a ``stamp`` of 0 says nothing about the time."""
        part, cell = digest >> 16 & self._of_parts, digest & self._in_part
        if not self._owned[part]:
            self._digests[part], self._notes[part] = self._digests[part][:], self._notes[part][:]
            self._owned[part] = 1
        self._digests[part][cell] = digest
        self._notes[part][cell] = (stamp & STAMP_MASK) << 8 | uses

    def recall(self, digest: int) -> tuple[int, int] | None:
        """Returns the stamp and the uses that were noted; ``None`` if there are none, or a newcomer overwrote them."""
        part, cell = digest >> 16 & self._of_parts, digest & self._in_part
        if self._digests[part][cell] != digest:
            return None
        note = self._notes[part][cell]
        return note >> 8, note & 255
