"""Reasons for which there is no entry under an ident, as far as this process has seen them."""

from __future__ import annotations

from array import array
from typing import Any, Final

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
    """The last reasons by ident, each in the one place that its hash names: 256 KiB, whatever the number of entries.

    An ident that comes later takes the place of an earlier one; then the earlier is taken to have never been there.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places = array("q", bytes(8 * _PLACES))

    def note(self, ident: tuple[Any, ...], reason: int) -> None:
        """Notes why there is nothing under an entry's ident from now on."""
        mark = hash(ident)
        self._places[(mark >> 40) & (_PLACES - 1)] = (mark & _MARK) | reason

    def why(self, ident: tuple[Any, ...]) -> str:
        """Returns the name of the reason that was noted last for an ident; ``"absent"`` if none is remembered.

        That the server was away says nothing of the next time, and is forgotten.
        """
        mark = hash(ident)
        place = (mark >> 40) & (_PLACES - 1)
        noted = self._places[place]
        if not noted or (noted ^ mark) & _MARK:
            return NAMES[ABSENT]
        reason = noted & ((1 << _REASON_BITS) - 1)
        if reason == SERVER_AWAY:
            self._places[place] = 0
        return NAMES[reason]
