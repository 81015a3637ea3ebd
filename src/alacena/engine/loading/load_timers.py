"""Timers that all loads of a cache share: one for the renewals of leases, one for each length of a hard timeout.

A timer of its own would cost each load more than all that is done when it fires, which is rare.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from alacena.engine.base.errors import LoadTimeoutError
from alacena.engine.loading.load import source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import RemoteTier
    from alacena.engine.loading.single_flight import Flight

T = TypeVar("T")

_EARLY_S: Final = 1e-6
"""How much too early a loop may call."""

_MOST_LENGTHS: Final = 64
"""Lengths of timeouts that have a timer at hand."""


class SharedTimer(Generic[T]):
    """Acts on each of many things once its time is up, which is equally long for all.

    Args:
        after_s: How long, in seconds.
        act: Called with the thing then. It may start it again.

    Attributes:
        loop: The loop that it runs on, once it has run.
    """

    __slots__ = ("_act", "_after_s", "_due", "_timer", "loop")

    def __init__(self, after_s: float, act: Callable[[T], None]) -> None:
        self._after_s = after_s
        self._act = act
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self, thing: T) -> None:
        """Lets the time of a thing run."""
        loop = self.loop = self.loop or asyncio.get_running_loop()
        due = self._due[thing] = loop.time() + self._after_s
        if self._timer is None:
            self._timer = loop.call_at(due, self._fire)

    def stop(self, thing: T) -> None:
        """Lets go of a thing, if its time is not up yet."""
        # The loop's timer stays: it finds nothing to do, or somebody who has come meanwhile. Made and ended for each
        # thing, it would cost more than the rest of this.
        self._due.pop(thing, None)

    def _fire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time() + _EARLY_S
        try:
            # In the order in which they are due: equal times end in the order in which they began.
            while self._due and self._due[thing := next(iter(self._due))] <= now:
                # Before it is acted on: `act` may start it again.
                del self._due[thing]
                self._act(thing)
        finally:
            # In `finally`: an `act` that raises must not leave the others without a timer.
            self._timer = loop.call_at(next(iter(self._due.values())), self._fire) if self._due else None


class Renewals:
    """Prolongs the leases of all loads under way, again and again.

    Args:
        remote: Where the leases are.
        every_s: How often, in seconds.

    Attributes:
        begin: Prolongs from now on the leases that the flights of one load have at that moment.
        end: Stops for the flights of one load.
    """

    def __init__(self, remote: RemoteTier, every_s: float) -> None:
        self._remote = remote
        timer: SharedTimer[tuple[Flight, ...]] = SharedTimer(every_s, self._renew)
        self.begin, self.end = timer.start, timer.stop

    def _renew(self, carriers: tuple[Flight, ...]) -> None:
        self.begin(carriers)
        for flight in carriers:
            if flight.lease is not None:
                self._remote.renew(flight.lease)


class TimeLimit(msgspec.Struct, eq=False):
    """The time that one load may take: a block around the wait for a place, and the call of its source.

    Raises:
        LoadTimeoutError: The time has passed; the work inside was cancelled.
    """

    _timer: SharedTimer[TimeLimit] | None
    _timeout_s: float | None
    _keys: Sequence[EntryKey]
    _loader: object
    _task: asyncio.Task[Any] = None  # type: ignore[assignment]
    _is_over: bool = False

    def pass_by(self) -> None:
        """Cancels the load: its time is over."""
        self._is_over = True
        self._task.cancel()

    def __enter__(self) -> None:
        if self._timer is not None:
            task = asyncio.current_task(self._timer.loop)
            assert task is not None
            self._task = task
            self._timer.start(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is None:
            return
        self._timer.stop(self)
        if not self._is_over:
            return
        # The cancellation was this limit's own: left counted, `is_ended` would take it for an order to end the task.
        self._task.uncancel()
        # A library inside may have turned the cancellation into a `TimeoutError` of its own: the limit decides.
        if isinstance(error, (TimeoutError, asyncio.CancelledError)):
            key, others = self._keys[0], f" and {len(self._keys) - 1} more" if len(self._keys) > 1 else ""
            message = (
                f"{key.data_type} {key.resource_id!r}{others}: no answer of {source_name(self._loader)} within "
                f"{self._timeout_s:g} s, the hard_timeout_s of {key.data_type!r}: give the type a "
                "Policy(hard_timeout_s=...) of its own if its source may take longer"
            )
            raise LoadTimeoutError(message) from error


class HardTimeouts:
    """Ends loads that take too long."""

    def __init__(self) -> None:
        self._timers: dict[float, SharedTimer[TimeLimit]] = {}

    def limit(self, timeout_s: float | None, keys: Sequence[EntryKey], loader: object) -> TimeLimit:
        """Returns the limit of one load.

        Args:
            timeout_s: How long it may take, in seconds; ``None``: for ever.
            keys: The entries to load, for the message.
            loader: Its loader, likewise.
        """
        if timeout_s is None:
            return TimeLimit(None, None, keys, loader)
        timer = self._timers.get(timeout_s)
        if timer is None:
            timer = SharedTimer(timeout_s, TimeLimit.pass_by)
            if len(self._timers) < _MOST_LENGTHS:
                self._timers[timeout_s] = timer
        return TimeLimit(timer, timeout_s, keys, loader)
