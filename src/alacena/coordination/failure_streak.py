"""Repeated failures of background work: logged once for each kind, and retried later each time."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alacena.engine.base.health import Health

_log = logging.getLogger("alacena")

_LONGEST_PAUSE_S: Final = 30.0


class FailureStreak:
    """The failures in a row of one task.

    Args:
        what: The step that does not happen, for the log.
        until: The effect meanwhile and the remedy, for the log.
        first_s: How long to wait after the first failure.
        health: Is told of the failure, and that it is over.
        part: The name under which it is told.

    Attributes:
        kind: The name of the last failure's type; ``None`` since it went well.
        count: How many there were in all.
    """

    def __init__(
        self, what: str, until: str, first_s: float = 1.0, *, health: Health | None = None, part: str = ""
    ) -> None:
        self.kind: str | None = None
        self.count = 0
        self._what = what
        self._until = until
        self._first_s = first_s
        self._health = health
        self._part = part or what
        self._in_a_row = 0
        self._said: set[str] = set()

    def record(self, error: BaseException) -> float:
        """Takes note of a failure, says it if it is of a new kind, and returns the seconds to wait."""
        self.kind = type(error).__name__
        self.count += 1
        self._in_a_row += 1
        if self._health is not None:
            self._health.report(self._part, f"{self._what}: {self.kind}")
        if self.kind not in self._said:
            self._said.add(self.kind)
            _log.error("%s: %s: %s; %s", self._what, self.kind, error, self._until)
        return min(_LONGEST_PAUSE_S, self._first_s * 2.0 ** min(self._in_a_row - 1, 16))

    def over(self) -> None:
        """Takes note that it went well; the next failure is said again."""
        if self._in_a_row:
            _log.warning("%s: that is over, after %d failures", self._what, self._in_a_row)
        if self._health is not None:
            self._health.mend(self._part)
        self.kind, self._in_a_row = None, 0
        self._said.clear()
