"""The times at which generations have ended, as far as this process saw it: for people who ask since when a value is dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST: Final = 1_024


class RecentEnds:
    """The last ends of generations, 1,024 at least and 2,048 at most. Nothing is decided by them.

    Args:
        now: The clock, in seconds.
    """

    __slots__ = ("_before", "_ended", "_now")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ended: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def note(self, names: Iterable[str]) -> None:
        """Notes that generations have ended now."""
        now = self._now()
        for name in names:
            # Two dicts in turn: the older half is forgotten in one step.
            if len(self._ended) >= _MOST:
                self._before, self._ended = self._ended, {}
            self._ended[name] = now

    def age_s(self, names: Iterable[str]) -> float | None:
        """Returns for how long the first of some generations has been over; ``None`` if the end of none was seen."""
        ends = [self._ended.get(name, self._before.get(name)) for name in names]
        return max((self._now() - end for end in ends if end is not None), default=None)
