"""Reasons for which there is no entry under an ident, as far as this process has seen them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ABSENT: Final = 0
EXPIRED: Final = 1
INVALIDATED: Final = 2
EVICTED: Final = 3
TOO_LARGE: Final = 4
SERVER_AWAY: Final = 5

NAMES: Final = ("absent", "expired", "invalidated", "evicted", "too_large", "server_away")
"""The names of the reasons where they are counted."""

_SERVER_WAS_AWAY: Final = 6  # and that read has been counted

_BITS: Final = 15
_PLACES: Final = 1 << _BITS
_REASON_BITS: Final = 3
_MARK: Final = ((1 << 63) - 1) & ~((1 << _REASON_BITS) - 1)


class MissReasons:
    """The last reasons by ident, each in the one place that its hash names: 384 KiB, for any number of entries.

    An ident that comes later takes the place of an earlier one; then the earlier is taken to have never been there.

    Args:
        now: The clock, in seconds; left out: every reason is as old as the table.
    """

    __slots__ = ("_began", "_now", "_places", "_times")

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or _stand_still
        self._began = self._now()
        self._places = array("q", bytes(8 * _PLACES))
        # Four bytes hold a time to a tenth of a second for ten days, if it is counted from the beginning of the table.
        self._times = array("f", bytes(4 * _PLACES))

    def note(self, ident: tuple[Any, ...], reason: int, ago_s: float = 0.0) -> None:
        """Notes why there is nothing under an entry's ident from now on.

        Args:
            ident: The ident.
            reason: Why.
            ago_s: How long ago that came about.
        """
        # The hash stands for the ident: a table of idents would be as large as the cache. Two of one hash are rare, and
        # the price is a wrong word in a diagnosis.
        mark = hash(ident)
        place = (mark >> 40) & (_PLACES - 1)
        self._places[place] = (mark & _MARK) | reason
        self._times[place] = self._now() - self._began - ago_s

    def why(self, ident: tuple[Any, ...]) -> str:
        """Returns the name of the reason that was noted last for an ident; ``"absent"`` if none is remembered.

        That the server was away says nothing of the next time, and is said once.
        """
        mark = hash(ident)
        place = (mark >> 40) & (_PLACES - 1)
        noted = self._places[place]
        if not noted or (noted ^ mark) & _MARK:
            return NAMES[ABSENT]
        reason = noted & ((1 << _REASON_BITS) - 1)
        if reason == SERVER_AWAY:
            self._places[place] = (mark & _MARK) | _SERVER_WAS_AWAY
        return NAMES[ABSENT if reason == _SERVER_WAS_AWAY else reason]

    def last(self, ident: tuple[Any, ...]) -> tuple[str, float] | None:
        """Returns the reason that was noted last for an ident and its age in seconds; ``None`` if none is remembered."""
        mark = hash(ident)
        place = (mark >> 40) & (_PLACES - 1)
        noted = self._places[place]
        if not noted or (noted ^ mark) & _MARK:
            return None
        age_s = self._now() - self._began - self._times[place]
        reason = noted & ((1 << _REASON_BITS) - 1)
        return NAMES[SERVER_AWAY if reason == _SERVER_WAS_AWAY else reason], max(0.0, age_s)


def _stand_still() -> float:
    return 0.0
