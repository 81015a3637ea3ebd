"""A sorted set: members with scores, in the order of (score, member)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class SortedSet:
    """Members by score. Look-up is a dictionary's; insertion and removal move pointers in one flat list."""

    __slots__ = ("_order", "_scores")

    def __init__(self) -> None:
        self._scores: dict[bytes, float] = {}
        self._order: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._scores)

    def __contains__(self, member: bytes) -> bool:
        return member in self._scores

    def __iter__(self) -> Iterator[tuple[float, bytes]]:
        return iter(self._order)

    def score(self, member: bytes) -> float | None:
        """Returns the member's score, or ``None``."""
        return self._scores.get(member)

    def put(self, member: bytes, score: float) -> bool:
        """Inserts or moves a member; True if it is new."""
        old = self._scores.get(member)
        if old == score:
            return False
        if old is not None:
            # The pair is there, as both are changed together, so that `bisect_left` finds its very place.
            del self._order[bisect_left(self._order, (old, member))]
        self._scores[member] = score
        insort(self._order, (score, member))
        return old is None

    def discard(self, member: bytes) -> bool:
        """Removes a member; True if it was there."""
        score = self._scores.pop(member, None)
        if score is None:
            return False
        del self._order[bisect_left(self._order, (score, member))]
        return True

    def rank(self, member: bytes) -> int | None:
        """Returns how many members come before this one, or ``None`` if it is not there."""
        score = self._scores.get(member)
        return None if score is None else bisect_left(self._order, (score, member))

    def slice(self, start: int, stop: int) -> list[tuple[float, bytes]]:
        """Returns the members with a rank in ``[start, stop)``."""
        return self._order[start:stop]

    def span(self, low: float, high: float, *, above_low: bool = False, below_high: bool = False) -> tuple[int, int]:
        """Returns the ranks ``[start, stop)`` of scores from ``low`` to ``high``; both ends belong to it unless told."""
        side_low, side_high = (
            (bisect_right if above_low else bisect_left),
            (bisect_left if below_high else bisect_right),
        )
        start = side_low(self._order, low, key=_score)
        return start, max(start, side_high(self._order, high, key=_score))


def _score(pair: tuple[float, bytes]) -> float:
    return pair[0]
