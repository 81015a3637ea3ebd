"""Reasons for which there is no entry under a key, as far as this process has seen them."""

from __future__ import annotations

from array import array
from typing import Final

ABSENT: Final = 0
EXPIRED: Final = 1
INVALIDATED: Final = 2
EVICTED: Final = 3
TOO_LARGE: Final = 4
SERVER_AWAY: Final = 5

NAMES: Final = ("absent", "expired", "invalidated", "evicted", "too_large", "server_away")
"""The names of the reasons where they are counted."""

_BITS: Final = 15
_PLACES: Final = 1 << _BITS
_REASON_BITS: Final = 3
_MARK: Final = ((1 << 63) - 1) & ~((1 << _REASON_BITS) - 1)


class MissReasons:
    """The last reasons by key, each in the one place that its hash names: 256 KiB, whatever the number of keys.

    A key that comes later takes the place of an earlier one; then the earlier is taken to have never been there.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places = array("q", bytes(8 * _PLACES))

    def note(self, entry: bytes, reason: int) -> None:
        """Notes why there is nothing under a key from now on."""
        mark = hash(entry)
        self._places[(mark >> 40) & (_PLACES - 1)] = (mark & _MARK) | reason

    def why(self, entry: bytes) -> str:
        """Returns the name of the reason that was noted last for a key; ``"absent"`` if none is remembered.

        That the server was away says nothing of the next time, and is forgotten.
        """
        mark = hash(entry)
        place = (mark >> 40) & (_PLACES - 1)
        noted = self._places[place]
        if not noted or (noted ^ mark) & _MARK:
            return NAMES[ABSENT]
        reason = noted & ((1 << _REASON_BITS) - 1)
        if reason == SERVER_AWAY:
            self._places[place] = 0
        return NAMES[reason]
