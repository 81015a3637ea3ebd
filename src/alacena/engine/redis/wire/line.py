"""The line of those who wait for answers on one connection, and the clock that watches it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from alacena.engine.errors import AlacenaError, BackendError, BackendUnavailableError, OutcomeUnknownError
from alacena.engine.redis.wire.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alacena.engine.redis.wire.command import Reply

NEVER = float("inf")

PLACE_BYTES = 512
"""What a place in line weighs beside its command: a flood of tiny commands is bounded too."""


class Group:
    """Several commands with one result."""

    __slots__ = ("count", "replies", "settle")

    def __init__(self, count: int, settle: Callable[[list[Reply]], Any] | None) -> None:
        self.count = count
        self.settle = settle
        self.replies: list[Reply] = []

    def finish(self, future: asyncio.Future[Any]) -> None:
        """All answers are in: settle, whether or not somebody still waits for the result."""
        try:
            result = self.replies if self.settle is None else self.settle(self.replies)
        except Exception as error:  # noqa: BLE001 - handed on, not swallowed
            hand_on(error, future)
        else:
            if not future.done():
                future.set_result(result)


def hand_on(error: Exception, future: asyncio.Future[Any]) -> None:
    """What ``settle`` raised goes to the one who asked; if that one has gone, a bug goes to the loop's handler."""
    if not future.done():
        future.set_exception(error)
    elif not isinstance(error, AlacenaError):
        context = {"message": "settle() failed after its waiter had gone", "exception": error}
        future.get_loop().call_exception_handler(context)


Settling: TypeAlias = "Group | Callable[[Reply], Any] | None"
"""How answers become a result: a list of them with a ``settle``, one with a ``settle``, or one as it is."""

Place: TypeAlias = "tuple[asyncio.Future[Any], float, Settling]"
"""A place in line: who waits, until when, for what. It stays when the one who waits has gone."""


class Line:
    """Places in line, in the order of their bytes: sent ones first, then those whose bytes can still be taken back.

    Deadlines cost no timer each: one timer a line fails whoever is overdue, and gives the connection up when its oldest
    answer will not come.
    """

    __slots__ = (
        "_alarm",
        "_late",
        "_limits",
        "_loop",
        "_out",
        "_time",
        "_timer",
        "_unsent",
        "_unsent_bytes",
        "_waiters",
    )

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits or Limits()
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._waiters: deque[Place] = deque()
        self._unsent: list[Place] = []
        self._out: list[bytes] = []
        self._unsent_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = NEVER
        self._late = False

    @property
    def in_flight(self) -> int:
        """Exchanges that wait for an answer, sent or not."""
        return len(self._waiters) + len(self._unsent)

    def close(self, error: BackendError | None = None) -> None:
        """Give the connection up."""
        raise NotImplementedError

    def _set_alarm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._alarm = deadline
        self._timer = self._loop.call_at(deadline + self._limits.grain_s, self._tend)

    def _tend(self) -> None:
        """Fail who is overdue; end a connection whose oldest answer will not come; set the next alarm."""
        now = self._time()
        if self._look_again(now):
            return
        self._timer, self._alarm = None, NEVER
        self._withdraw(now)
        for future, deadline, _ in self._waiters:
            if deadline <= now:
                fail(future, OutcomeUnknownError("no answer in time: it may or may not have been executed"))
        if self._waiters and self._waiters[0][1] + self._limits.stall_s <= now:
            self.close(BackendUnavailableError(f"the oldest answer is {self._limits.stall_s:g} s overdue"))
            return
        upcoming = self._upcoming()
        if upcoming < NEVER:
            self._set_alarm(max(upcoming, now))

    def _look_again(self, now: float) -> bool:
        """Whether the timer itself is late: the loop was busy, and answers may lie in the socket, unread.

        Some loops run timers before they read, so the verdict waits for one more turn.
        """
        grain_s = self._limits.grain_s
        self._late = not self._late and now > self._alarm + 2 * grain_s
        if self._late:
            self._timer = self._loop.call_at(now + grain_s, self._tend)
        return self._late

    def _upcoming(self) -> float:
        waiting = [deadline for future, deadline, _ in self._waiters if not future.done()]
        waiting += [deadline for _, deadline, _ in self._unsent]
        if self._waiters:
            waiting.append(self._waiters[0][1] + self._limits.stall_s)
        return min(waiting, default=NEVER)

    def _withdraw(self, now: float) -> None:
        """Take back what was not sent and is overdue: that it was not executed is certain."""
        overdue = [place for place in self._unsent if place[1] <= now]
        if not overdue:
            return
        kept = [(place, data) for place, data in zip(self._unsent, self._out, strict=True) if place[1] > now]
        self._unsent[:] = [place for place, _ in kept]
        self._out[:] = [data for _, data in kept]
        self._unsent_bytes = sum(len(data) + PLACE_BYTES for data in self._out)
        for future, _, _ in overdue:
            fail(future, BackendUnavailableError("the deadline passed before the command could be sent"))

    def _leave(self) -> tuple[list[Place], list[Place]]:
        """Empty the line; give who stood in it: those whose commands were sent, those whose were not."""
        sent, unsent = list(self._waiters), list(self._unsent)
        self._waiters.clear()
        self._unsent.clear()
        self._out.clear()
        self._unsent_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._alarm = None, NEVER
        return sent, unsent


def fail(future: asyncio.Future[Any], error: BackendError) -> None:
    """No answer will come, or none in time. Nobody is blamed for not having waited to hear it."""
    if not future.done():
        future.set_exception(error)
        future.exception()


def fail_all(sent: Iterable[Place], unsent: Iterable[Place], reason: BackendError) -> None:
    """The connection ended: what was sent may have been executed, the rest was not."""
    for future, _, _ in sent:
        unknown = OutcomeUnknownError(f"the connection ended before the answer: {reason}")
        unknown.__cause__ = reason
        fail(future, unknown)
    for future, _, _ in unsent:
        unavailable = BackendUnavailableError(f"the connection ended before the command was sent: {reason}")
        unavailable.__cause__ = reason
        fail(future, unavailable)
