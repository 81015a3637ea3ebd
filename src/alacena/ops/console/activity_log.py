"""The activity log: the latest events of a cache, and the actions from the console."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from alacena.engine import LoadFinished, LookupFinished

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alacena.engine import Event

_MOST: Final = 500
_LONGEST: Final = 300


class ActivityLog:
    """Keeps the last events of a cache that an operator asks for, as an observer, and each action.

    ::

        activity = ActivityLog()
        cache = Cache(settings, observers=[activity])
        app.mount("/cache", console_app(cache, activity=activity, token=token))

    Args:
        most: How many lines are kept: older ones go.
        wall: The clock, in seconds since 1970.
    """

    def __init__(self, most: int = _MOST, wall: Callable[[], float] = time.time) -> None:
        self._lines: deque[dict[str, Any]] = deque(maxlen=most)
        self._wall = wall
        self._count = 0

    def observe(self, event: Event) -> None:
        """Writes an event down, if it is one that tells of a change."""
        # One for each read that memory does not answer: they would push all else out of the lines that are kept.
        if isinstance(event, LookupFinished | LoadFinished):
            return
        found = {field.name: _short(getattr(event, field.name)) for field in fields(event)}
        self.write(type(event).__name__, {name: value for name, value in found.items() if value not in {None, ""}})

    def write(self, what: str, facts: Mapping[str, Any]) -> None:
        """Writes a line of one's own down."""
        self._count += 1
        self._lines.append({"number": self._count, "at": self._wall(), "what": what, "facts": dict(facts)})

    def lines(self) -> list[dict[str, Any]]:
        """Returns the lines, the newest first."""
        return list(reversed(self._lines))


def _short(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else str(value)[:_LONGEST]
