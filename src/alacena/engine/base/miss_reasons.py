"""Why there is no entry under an ident, as far as this process has seen it."""

from __future__ import annotations

from array import array
from typing import Any, Final

ABSENT: Final = "absent"
EXPIRED: Final = "expired"
INVALIDATED: Final = "invalidated"
EVICTED: Final = "evicted"
TOO_LARGE: Final = "too_large"
SERVER_AWAY: Final = "server_away"

_NAMES: Final = (ABSENT, EXPIRED, INVALIDATED, EVICTED, TOO_LARGE, SERVER_AWAY)
_CODES: Final = {name: code for code, name in enumerate(_NAMES)}
_BITS: Final = 15
_PLACES: Final = 1 << _BITS
_REASON_BITS: Final = 3
_MARK: Final = ((1 << 63) - 1) & ~((1 << _REASON_BITS) - 1)


class MissReasons:
    """The last reasons by ident, each in the one place that its hash names: 256 KiB, whatever the number of keys.

    An ident that comes later takes the place of an earlier one; then the earlier is taken to have never been there. Half
    of the places hold marks of their own idents while 20,000 entries have gone lately.
    """

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places = array("q", bytes(8 * _PLACES))

    def note(self, ident: tuple[Any, ...], reason: str) -> None:
        """Note why there is nothing under an entry's ident from now on."""
        mark = hash(ident)
        self._places[(mark >> 40) & (_PLACES - 1)] = (mark & _MARK) | _CODES[reason]

    def why(self, ident: tuple[Any, ...]) -> str:
        """Returns the reason that was noted last for an ident; ``"absent"`` if none is remembered.

        That the server was away says nothing of the next time, and is forgotten.
        """
        mark = hash(ident)
        place = (mark >> 40) & (_PLACES - 1)
        noted = self._places[place]
        if not noted or (noted ^ mark) & _MARK:
            return ABSENT
        reason = _NAMES[noted & ((1 << _REASON_BITS) - 1)]
        if reason is SERVER_AWAY:
            self._places[place] = 0
        return reason
