"""The line of the callers that wait for answers on one connection, and the clock that watches it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

from alacena.engine.base.errors import AlacenaError, BackendError, BackendUnavailableError, OutcomeUnknownError
from alacena.engine.remote.redis.wire.wire_limits import WireLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from alacena.engine.remote.redis.wire.command import Reply

NEVER = float("inf")

PENDING_REPLY_BYTES = 512
"""What a place in line weighs beside its command: a flood of tiny commands is bounded too."""


_BARELY = 0.2
"""What the time between two ticks counts for, in grains, while answers wait for us: even then, nobody waits for ever."""


class Group:
    """Several commands with one result."""

    __slots__ = ("count", "replies", "settle")

    def __init__(self, count: int, settle: Callable[[list[Reply]], Any] | None) -> None:
        self.count = count
        self.settle = settle
        self.replies: list[Reply] = []

    def finish(self, future: asyncio.Future[Any]) -> None:
        """Settles a command whose answers are all in, whether or not its caller still waits."""
        try:
            result = self.replies if self.settle is None else self.settle(self.replies)
        except Exception as error:  # noqa: BLE001 - handed on, not swallowed
            hand_on(error, future)
        else:
            if not future.done():
                future.set_result(result)


class ProtocolDoubtError(BackendUnavailableError):
    """The bytes do not make sense: no answer can be matched to its caller any more, so the connection ends."""


def hand_on(error: Exception, future: asyncio.Future[Any]) -> None:
    """Hands an exception of ``settle`` to the caller of the command.

    Raises:
        ProtocolDoubtError: It could make nothing of the answer, which may be another's. The loop's handler is told, as
            of a bug.
    """
    if isinstance(error, AlacenaError):
        if not future.done():
            future.set_exception(error)
        return
    future.get_loop().call_exception_handler({"message": "an answer could not be settled", "exception": error})
    doubt = ProtocolDoubtError(f"an answer is not what was asked for: {error!r}")
    # Here, and not by the connection's end: this command has left the line already.
    fail(future, OutcomeUnknownError(str(doubt)))
    raise doubt from error


Settling: TypeAlias = "Group | Callable[[Reply], Any] | None"
"""How answers become a result: a list of them with a ``settle``, one with a ``settle``, or one as it is."""

PendingReply: TypeAlias = "tuple[asyncio.Future[Any], float, Settling]"
"""A place in line: who waits, until when, for what. It stays when the one who waits has gone."""


class PendingReplies:
    """Places in line, in the order of their bytes: sent ones first, then those whose bytes can still be taken back.

    Deadlines cost no timer each: one timer a line fails overdue callers, and gives the connection up when its oldest
    answer will not come. They count the time in which this process could have heard an answer. While something waits,
    the timer ticks: what a tick comes late by, the loop was busy and heard no answer, and while answers lie in the socket
    unread, it is this process that is waited for, not the server. While the bytes of a long answer come in, the network
    is waited for, within bounds.
    """

    __slots__ = (
        "_alarm",
        "_busy_s",
        "_clock",
        "_credited_bytes",
        "_credited_s",
        "_due",
        "_first",
        "_late",
        "_limits",
        "_loop",
        "_out",
        "_partial_bytes",
        "_ticked",
        "_timer",
        "_unsent",
        "_unsent_bytes",
        "_waiters",
    )

    def __init__(self, limits: WireLimits | None) -> None:
        self._limits = limits or WireLimits()
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._busy_s = 0.0
        self._waiters: deque[PendingReply] = deque()
        self._unsent: list[PendingReply] = []
        self._out: list[bytes] = []
        self._unsent_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._alarm = NEVER
        self._ticked = self._due = 0.0
        self._first: PendingReply | None = None
        self._late = False
        self._partial_bytes = 0
        self._credited_bytes = 0
        self._credited_s = 0.0

    @property
    def in_flight(self) -> int:
        """Exchanges that wait for an answer, sent or not."""
        return len(self._waiters) + len(self._unsent)

    def close(self, error: BackendError | None = None) -> None:
        """Gives the connection up."""
        raise NotImplementedError

    def _time(self) -> float:
        """Returns the loop's time, without that in which the loop was too busy to listen: the clock of deadlines."""
        return self._clock() - self._busy_s

    def _has_unread(self) -> bool:
        """Returns whether bytes have arrived that were not read yet."""
        raise NotImplementedError

    def _set_alarm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._alarm = deadline
        self._tick()

    def _tick(self) -> None:
        now, grain_s = self._time(), self._limits.grain_s
        # Every two grains while something waits, however far the alarm is: only a timer that fires often shows when the
        # loop was busy. One grain behind an alarm, so that deadlines close to each other share a tick.
        self._ticked, self._due = now, min(now + 2 * grain_s, max(now, self._alarm) + grain_s)
        self._first = self._waiters[0] if self._waiters else None
        # `_due` is in the time without busy moments; the loop's timers are in its own, so the difference is added back.
        self._timer = self._loop.call_at(self._due + self._busy_s, self._tend)

    def _tend(self) -> None:
        """Fails what is overdue; ends a connection whose oldest answer will not come; sets the next alarm."""
        # Both take time out of the clock, so that `now` is read behind them: read first, it would hold against callers
        # what was not the server's.
        waits_on = self._is_to_look_again()
        self._leave_out_transfer()
        now = self._time()
        if now < self._alarm or waits_on:
            if self._waiters or self._unsent:
                self._tick()
            else:
                self._timer, self._alarm = None, NEVER
            return
        self._timer, self._alarm = None, NEVER
        # Unsent commands first: they were surely not executed, and their callers may be told so. For those sent, nobody
        # knows.
        self._withdraw(now)
        # Failed, not taken out: the answer may still come, and without its place it would go to the next in line.
        for future, deadline, _ in self._waiters:
            if deadline <= now:
                fail(future, OutcomeUnknownError("no answer in time: it may or may not have been executed"))
        if self._waiters and self._waiters[0][1] + self._limits.stall_s <= now:
            self.close(BackendUnavailableError(f"the oldest answer is {self._limits.stall_s:g} s overdue"))
            return
        upcoming = self._next_deadline()
        if upcoming < NEVER:
            self._set_alarm(upcoming)

    def _is_to_look_again(self) -> bool:
        """Leaves out of the time the time that was not the server's since the last tick; whether to judge only at the next one.

        Some loops run timers before they read, so a verdict that was held up waits for one more turn. Each turn reads so
        many bytes and no more: if a long one brought answers, more of them may be on their way.
        """
        # 1. A callback of the application keeps the loop busy for 3 s; the answer arrives after 1 ms and waits in the
        #    socket.
        # 2. The timer of a deadline of 1 s fires first: some loops run timers before they read.
        # 3. By the wall, the server is late. By a clock that leaves out the time in which nobody listened, it is not.
        now, grain_s = self._time(), self._limits.grain_s
        is_late = now > self._due + grain_s
        brought = self._first is not None and not (self._waiters and self._waiters[0] is self._first)
        if (is_late and brought) or self._has_unread():
            # Answers have come, or lie there unread: of the time since the last tick, hardly anything was a wait for
            # the server.
            self._busy_s += now - self._ticked - _BARELY * grain_s
        elif is_late:
            # Nothing has come: only the lateness is ours, so that a busy loop still gives a silent server up.
            self._busy_s += now - self._due
        else:
            self._late = False
            return False
        # One more turn, and not two: a loop that is late each time must still fail what is overdue at last.
        self._late = not self._late
        return self._late

    def _leave_out_transfer(self) -> None:
        """Leaves out of the time since the last tick what the bytes of an answer that is coming in needed for their way."""
        arrived = self._partial_bytes - self._credited_bytes
        if arrived < 0:  # It is another answer than it was at the last tick.
            arrived, self._credited_s = self._partial_bytes, 0.0
        self._credited_bytes = self._partial_bytes
        passed_s = self._time() - self._ticked
        left_s = self._limits.transfer_s - self._credited_s
        # By the bytes, so that a trickle earns little; no more than has passed, so that time never runs backwards; no
        # more than `transfer_s`, so that an answer without an end is given up.
        given_s = min(arrived / self._limits.bytes_per_s, passed_s, left_s)
        if given_s > 0:
            self._credited_s += given_s
            self._busy_s += given_s

    def _next_deadline(self) -> float:
        waiting = [deadline for future, deadline, _ in self._waiters if not future.done()]
        waiting += [deadline for _, deadline, _ in self._unsent]
        # The oldest is watched even if its caller has gone: that its answer does not come is how a mute server is
        # noticed.
        if self._waiters:
            waiting.append(self._waiters[0][1] + self._limits.stall_s)
        return min(waiting, default=NEVER)

    def _withdraw(self, now: float) -> None:
        """Takes back unsent commands that are overdue: that it was not executed is certain."""
        overdue = [place for place in self._unsent if place[1] <= now]
        if not overdue:
            return
        kept = [(place, data) for place, data in zip(self._unsent, self._out, strict=True) if place[1] > now]
        self._unsent[:] = [place for place, _ in kept]
        self._out[:] = [data for _, data in kept]
        self._unsent_bytes = sum(len(data) + PENDING_REPLY_BYTES for data in self._out)
        for future, _, _ in overdue:
            fail(future, BackendUnavailableError("the deadline passed before the command could be sent"))

    def _leave(self) -> tuple[list[PendingReply], list[PendingReply]]:
        """Empties the line and returns who stood in it: those whose commands were sent, those whose were not."""
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
    """Fails the command. Marks the exception as retrieved, so that asyncio does not log it."""
    if not future.done():
        future.set_exception(error)
        future.exception()


def fail_all(sent: Iterable[PendingReply], unsent: Iterable[PendingReply], reason: BackendError) -> None:
    """Fails all commands at the end of the connection: those sent may have been executed, the rest was not."""
    for future, _, _ in sent:
        unknown = OutcomeUnknownError(f"the connection ended before the answer: {reason}")
        unknown.__cause__ = reason
        fail(future, unknown)
    for future, _, _ in unsent:
        unavailable = BackendUnavailableError(f"the connection ended before the command was sent: {reason}")
        unavailable.__cause__ = reason
        fail(future, unavailable)
