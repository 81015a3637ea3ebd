"""The border between the newcomers and the proven of a segment."""

from __future__ import annotations

from array import array

import msgspec

_START_RATIO = 0.05
_LOWEST_RATIO = 0.01
_HIGHEST_RATIO = 0.97
_STEP_UP = 0.05
_STEP_DOWN = 0.025
_BINS = 16
_DECAY = 0.9
_NONE_RETURNED = array("d", bytes(8 * _BINS))

TAIL_RATIO = 0.25
"""Part of the window, its oldest, whose hits tell what a smaller window would lose."""

TURN_RATIO = 0.1
"""Capacities of insertions between two turns."""


class WindowSizer(msgspec.Struct, gc=False, eq=False):
    """The window's ratio, turned towards where one more place saves more misses.

    Three densities are compared, each in misses saved per place and capacity of insertions:

    * beyond the window: ghosts that come back at a distance which a larger window would have bridged. Growth takes
      places from the main queue, whose lost hits push every distance further out; the distances are corrected by it;
    * the window's tail: entries that were asked for while they stood in its last quarter;
    * the main queue: entries that were asked for between two looks at them.

    An entry counts once a look, however often it was hit, because losing it costs one miss: afterwards it is back.
    Comparing ghosts to move a border is ARC's idea; comparing it with the measured worth of what the border would
    displace keeps it from following a loop. Everything comes from insertions and looks, nothing from hits.
    """

    ratio: float = _START_RATIO
    # Most tenants never fill their part, and no ghost of theirs ever returns: the bins are made for the first that does.
    _returned: array[float] = _NONE_RETURNED
    _tail_hits: float = 0.0
    _main_hits: float = 0.0
    _main_looks: float = 0.0
    _main_density: float = 0.0
    _elapsed: float = 0.0

    def note_ghost(self, distance: float) -> None:
        """Notes that a key came back that the window let go; ``distance`` in capacities of insertions since it first came."""
        excess = distance - self.ratio
        if excess > 0.0:
            remaining = 1.0 - self._main_density * distance
            if remaining < 0.01:
                return
            distance = self.ratio + excess / remaining
        if distance < 1.0:
            if self._returned is _NONE_RETURNED:
                self._returned = array("d", _NONE_RETURNED)
            self._returned[int(distance * _BINS)] += 1.0

    def note_tail_hit(self) -> None:
        """Notes that an entry left the window that was hit in its tail."""
        self._tail_hits += 1.0

    def note_main_look(self, density: float) -> None:
        """Notes a look at an entry of the main queue.

        Args:
            density: 0 if it was not hit since the last look, else one hit divided by the capacities of insertions
                since then.
        """
        self._main_looks += 1.0
        self._main_hits += density

    def turn(self, interval: float, place: float) -> None:
        """Compares the densities and moves the border; ``interval`` since the last turn and one ``place`` in capacities."""
        self._elapsed = self._elapsed * _DECAY + interval
        if self._main_looks > 0.0:
            self._main_density = self._main_hits / self._main_looks
        scale = place / self._elapsed
        if self._beyond() * scale > self._main_density:
            self.ratio = min(_HIGHEST_RATIO, self.ratio + _STEP_UP)
        elif self._tail_hits / max(place, self.ratio * TAIL_RATIO) * scale < self._main_density:
            self.ratio = max(_LOWEST_RATIO, self.ratio - _STEP_DOWN)
        if self._returned is not _NONE_RETURNED:
            self._returned = array("d", [count * _DECAY for count in self._returned])
        self._tail_hits *= _DECAY
        self._main_hits *= _DECAY
        self._main_looks *= _DECAY

    def _beyond(self) -> float:
        # The best of all growths and not of the next step: the keys of a loop all come back at one distance.
        best = gathered = 0.0
        start = int(self.ratio * _BINS)
        for width, count in enumerate(self._returned[start:], 1):
            gathered += count
            best = max(best, gathered * _BINS / width)
        return best
