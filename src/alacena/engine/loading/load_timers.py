"""Timers that all loads of a cache share: one for the renewals of leases, one for each length of a hard timeout.

A timer of its own would cost each load more than all that is done when it fires, which is rare.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from alacena.engine.base.errors import LoadTimeoutError
from alacena.engine.loading.load import source_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import RemoteTier
    from alacena.engine.loading.single_flight import Flight

T = TypeVar("T")
V = TypeVar("V")

_EARLY_S: Final = 1e-6
"""How much too early a loop may call."""

_MOST_LENGTHS: Final = 64
"""Lengths of timeouts that have a timer at hand."""


class SharedTimer(Generic[T]):
    """Acts on each of many things once its time is up, which is equally long for all.

    Args:
        after_s: How long, in seconds.
        act: Called with the thing then. It may start it again.
    """

    __slots__ = ("_act", "_after_s", "_due", "_timer")

    def __init__(self, after_s: float, act: Callable[[T], None]) -> None:
        self._after_s = after_s
        self._act = act
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, thing: T) -> None:
        """Lets the time of a thing run."""
        loop = asyncio.get_running_loop()
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
    """

    def __init__(self, remote: RemoteTier, every_s: float) -> None:
        self._remote = remote
        self._timer: SharedTimer[tuple[Flight, ...]] = SharedTimer(every_s, self._renew)

    def begin(self, carriers: tuple[Flight, ...]) -> None:
        """Prolongs from now on the leases that the flights of one load have at that moment."""
        self._timer.start(carriers)

    def end(self, carriers: tuple[Flight, ...]) -> None:
        """Stops for the flights of one load."""
        self._timer.stop(carriers)

    def _renew(self, carriers: tuple[Flight, ...]) -> None:
        self._timer.start(carriers)
        for flight in carriers:
            if flight.lease is not None:
                self._remote.renew(flight.lease)


class _Limit:
    """The time that one load may take."""

    __slots__ = ("is_over", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.is_over = False

    def pass_by(self) -> None:
        """Cancels the load: its time is over."""
        self.is_over = True
        self.task.cancel()


class HardTimeouts:
    """Ends loads that take too long."""

    def __init__(self) -> None:
        self._timers: dict[float, SharedTimer[_Limit]] = {}

    async def within(
        self, timeout_s: float, load: Coroutine[Any, Any, V], keys: Sequence[EntryKey], loader: object
    ) -> V:
        """Returns the result of a load: the wait for a place, and the call of its source.

        Args:
            timeout_s: How long it may take, in seconds.
            load: The load.
            keys: The entries to load.
            loader: Its loader.

        Raises:
            LoadTimeoutError: The time has passed; the work inside was cancelled.
        """
        task = asyncio.current_task()
        assert task is not None
        limit = _Limit(task)
        timer = self._timers.get(timeout_s)
        if timer is None:
            timer = SharedTimer(timeout_s, _Limit.pass_by)
            if len(self._timers) < _MOST_LENGTHS:
                self._timers[timeout_s] = timer
        timer.start(limit)
        try:
            return await load
        except (TimeoutError, asyncio.CancelledError) as error:
            # A library inside may have turned the cancellation into a `TimeoutError` of its own: the limit decides.
            if not limit.is_over:
                raise
            key, others = keys[0], f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            message = (
                f"{key.data_type} {key.resource_id!r}{others}: no answer of {source_name(loader)} within "
                f"{timeout_s:g} s, the hard_timeout_s of {key.data_type!r}: give the type a "
                "Policy(hard_timeout_s=...) of its own if its source may take longer"
            )
            raise LoadTimeoutError(message) from error
        finally:
            timer.stop(limit)
            # The cancellation was this limit's own: left counted, `is_ended` would take it for an order to end the task.
            if limit.is_over:
                task.uncancel()
