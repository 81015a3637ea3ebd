"""Sources that have just failed, and until when each is left alone."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from alacena.engine.base.ttl import jitter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.policy import Policy

_DEFAULT_S: Final = 5.0
_LONGEST_S: Final = 3600.0
_TOO_MANY: Final = frozenset({429, 503})
_MOST: Final = 10_000
_SPREAD: Final = 0.1


class _Pause(NamedTuple):
    """For how long a source is left alone, and its failure, if that is to be raised meanwhile."""

    until: float
    is_told: bool
    error: Exception | None
    traceback: TracebackType | None
    stands: Callable[[], bool]


class SourceBackoff:
    """Keeps a source that has just failed from being asked again by every read of its entry.

    Of one process, by entry. A source that is forgotten, because there are too many, costs a call of the source.

    Args:
        environment: Time, and chance: loads that failed together do not ask again together.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._source_backoff: dict[bytes, _Pause] = {}

    def __len__(self) -> int:
        return len(self._source_backoff)

    def record_failure(
        self,
        entry: bytes,
        policy: Policy,
        told_s: float | None = None,
        error: Exception | None = None,
        stands: Callable[[], bool] = bool,
    ) -> None:
        """Notes that the source of an entry failed.

        Args:
            entry: The entry.
            policy: For how long its source is left alone, less up to a tenth.
            told_s: For how long the source itself asked to be left alone: that long, and up to a tenth more.
            error: Its failure, if it is to be raised again meanwhile.
            stands: Whether nothing has ended since that the error may have come from.
        """
        chance = self._environment.random()
        if told_s is not None:
            pause_s = told_s * (1.0 + _SPREAD * chance)
        else:
            asked_s = _DEFAULT_S if policy.retry_after_s is None else policy.retry_after_s
            pause_s = jitter(asked_s, _SPREAD, chance) or 0.0
        if not pause_s:
            return
        # Taken out first: the dict's order is that of the failures, and the oldest is forgotten if there are too many.
        self._source_backoff.pop(entry, None)
        trace = None if error is None else error.__traceback__
        self._source_backoff[entry] = _Pause(
            self._environment.now() + pause_s, told_s is not None, error, trace, stands
        )
        if len(self._source_backoff) > _MOST:
            del self._source_backoff[next(iter(self._source_backoff))]

    def record_success(self, *entries: bytes) -> None:
        """Notes that the sources of entries answered, or that these entries were removed."""
        for entry in entries if self._source_backoff else ():
            self._source_backoff.pop(entry, None)

    def is_active(self, entry: bytes) -> bool:
        """Returns whether the source of an entry is to be left alone now."""
        source_backoff = self._source_backoff.get(entry)
        if source_backoff is None:
            return False
        if self._environment.now() < source_backoff.until:
            return True
        del self._source_backoff[entry]
        return False

    def repeat(self, entry: bytes, policy: Policy) -> None:
        """Raises the last failure of the source of an entry, if it is to be left alone and nothing stands in.

        Args:
            entry: The entry.
            policy: How the read wants it: one that names no ``retry_after_s`` takes the source's own wish.

        Raises:
            Exception: The source's own, as it was: its traceback does not grow with its receivers.
        """
        if self._source_backoff and self.is_active(entry):
            source_backoff = self._source_backoff[entry]
            is_wanted = source_backoff.is_told or policy.retry_after_s is not None
            if source_backoff.error is not None and is_wanted and source_backoff.stands():
                raise source_backoff.error.with_traceback(source_backoff.traceback)


def pause(given: Any) -> float | None:
    """Returns a time that was given as seconds or a ``timedelta``, an hour at most; ``None`` if it is no such thing."""
    if isinstance(given, timedelta):
        given = given.total_seconds()
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0 or math.isnan(given):
        return None
    return min(float(given), _LONGEST_S)


def read_pause(error: BaseException, environment: Environment) -> float | None:
    """Returns for how many seconds an exception says that its source is to be left alone.

    It says so in an attribute ``retry_after``, or in the ``Retry-After`` of the response that it carries, as those of
    httpx, openai, anthropic and requests do.
    """
    told_s = pause(getattr(error, "retry_after", None))
    response = getattr(error, "response", None)
    if told_s is not None or getattr(response, "status_code", None) not in _TOO_MANY:
        return told_s
    try:
        given = str(response.headers["retry-after"])  # type: ignore[union-attr]
    except (AttributeError, LookupError, TypeError):
        return None
    try:
        return pause(float(given))
    except ValueError:
        return _until(given, environment)


def _until(given: str, environment: Environment) -> float | None:
    """Returns the seconds until a date as HTTP writes it."""
    try:
        at = parsedate_to_datetime(given)
    except (TypeError, ValueError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return pause((at - datetime.fromtimestamp(environment.wall(), UTC)).total_seconds())
