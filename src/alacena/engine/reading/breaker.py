"""A circuit breaker: after failures in a row, do without for a while, then let one try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from alacena.engine.base.environment import Environment

_FAILURES: Final = 5
_PAUSE_S: Final = 0.25
_MOMENT_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0


class Breaker:
    """Guards reads against a server that answers too late: going without it costs a load, waiting costs that and more.

    It opens after 5 failures in a row, for a pause that doubles with each failed probe (0.25 s to 1 s, with jitter),
    and closes with the first success. It is never open for ever: after each pause one probe goes through. A failure
    while others were answered begins the row anew: the late one is this process, or one among many.

    Args:
        environment: Time and jitter.

    Attributes:
        failures: Failures in a row; while it is 0, there is nothing to ask and nothing to report but the answer.
        answers: Tries that were answered in time.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self.failures = self.answers = 0
        self._pauses = 0
        self._opened_at = self._open_until = self._failed_at = float("-inf")
        self._probing = False

    @property
    def just_failed(self) -> bool:
        """Whether the last try failed, a moment ago: a caller that it made wait should not wait again."""
        return self.failures > 0 and self._environment.now() < self._failed_at + _MOMENT_S

    @property
    def is_open(self) -> bool:
        """Whether it keeps callers away (a probe may be under way)."""
        return self.failures >= _FAILURES

    def admits(self) -> bool:
        """Returns whether this caller may try. In the half-open state exactly one may, until it reports."""
        if self.failures < _FAILURES:
            return True
        if self._probing or self._environment.now() < self._open_until:
            return False
        self._probing = True
        return True

    def record_success(self) -> None:
        """Notes that a try was answered in time."""
        self.failures = self._pauses = 0
        self.answers += 1
        self._probing = False

    def record_failure(self, answers: int, began: float) -> None:
        """Notes that a try was not answered, or too late.

        Args:
            answers: How many there were when it began.
            began: When that was.
        """
        # Only while it is closed: a late failure of a try that began before the last answer must not close it.
        if answers != self.answers and not self.is_open:
            self.failures = 0
        # A hundred reads that fail together open it once. Only a failed probe opens it again, for a longer pause.
        is_probe = self._is_probe(began)
        opens = self.failures == _FAILURES - 1 or (self.is_open and is_probe)
        self.failures += 1
        self._failed_at = self._environment.now()
        if is_probe:
            self._probing = False
        if opens:
            pause_s = min(_PAUSE_S * 2**self._pauses, _LONGEST_PAUSE_S)
            self._opened_at = self._environment.now()
            self._open_until = self._opened_at + pause_s * (0.75 + self._environment.random() / 2)
            self._pauses += 1

    def record_leaving(self, began: float) -> None:
        """Notes that a try that ``began`` then was given up by its caller: it says nothing about the server."""
        if self._is_probe(began):
            self._probing = False

    def _is_probe(self, began: float) -> bool:
        """Returns whether a try is the probe under way.

        A try from before the pause may fail later than the probe begins: its report is not the probe's.
        """
        return self._probing and began > self._opened_at
