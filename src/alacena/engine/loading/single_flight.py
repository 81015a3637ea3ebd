"""Single flight: one load of a key at a time in this process, whose outcome every caller shares.

The load runs in a task that the cache owns. A caller that is cancelled never cancels the others; the last one that goes
cancels the load. A flight stops taking waiters the moment something that it rests on is invalidated: a later caller
gets a load that began later.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import msgspec

from alacena.engine.base.closing import Deadline, finish
from alacena.engine.base.errors import CacheClosedError, CircularLoadError, LoadCancelledError, UnsharableValueError
from alacena.engine.base.lineage import UNDER_WAY
from alacena.engine.loading.load import current_call

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from alacena.engine.base.environment import Environment
    from alacena.engine.base.keys import EntryKey
    from alacena.engine.base.remote_tier import Lease, Refusal
    from alacena.engine.loading.load import SourceCall
    from alacena.engine.loading.source_backoff import SourceBackoff
    from alacena.engine.memory import MemoryTier


class ClaimLeftError(Exception):
    """A claim ended without a value: its waiters ask again. No caller of the cache sees it.

    Args:
        reason: Why, if it was not the claim's own end.
    """

    def __init__(self, reason: BaseException | None = None) -> None:
        super().__init__(reason)
        self.reason = reason


class Flight(msgspec.Struct, eq=False):
    """One load under way.

    Attributes:
        entry: Its entry.
        lease: Its permission, once it has one. From then on it is joined only while the lease is current.
        joinable: Whether a caller may join at all.
        started_at: When the source was asked; ``None`` before that, when every caller may join.
        endings: How many endings the process knew of at that moment.
        began_at: When a caller first wanted it.
        task: The task that ends with the last of its callers; ``None``: it loads for other flights, too, and goes on.
        retry_after_s: For how long its source, which failed, asked to be left alone, if it said so.
        unleased: Why it has no lease, if it loads without one.
        hurry: Called when another load begins to wait for it; ``None``: nothing.
        stored: Whether its value was stored; ``False`` until then.
        followers: The flights of its entry that wait for its lease.
        is_over: Whether it landed, crashed or was given up.
    """

    entry: bytes
    began_at: float = 0.0
    lease: Lease | None = None
    joinable: bool = True
    started_at: float | None = None
    endings: int = 0
    task: asyncio.Task[None] | None = None
    retry_after_s: float | None = None
    unleased: Refusal = "lease"
    hurry: Callable[[], None] | None = None
    stored: bool = False
    followers: Sequence[Flight] = ()
    is_over: bool = False
    _waiters: dict[asyncio.Future[Any], SourceCall | None] = {}

    @property
    def waiting(self) -> int:
        """The number of the callers that wait for it, or have just left."""
        return len(self._waiters)

    @property
    def loads_behind(self) -> list[SourceCall]:
        """The loads that wait for this one."""
        return [load for waiter, load in self._waiters.items() if load and not load.is_over and not waiter.done()]

    @property
    def is_awaited(self) -> bool:
        """Whether another load waits for this one, or for one that waits for its lease."""
        return bool(self.loads_behind) or any(follower.is_awaited for follower in self.followers)

    def resolve(self, outcome: Any, copy: Callable[[Any], Any] | None = None) -> None:
        """Gives all callers the outcome.

        Args:
            outcome: The outcome.
            copy: Makes a private copy of it for all but the first; without it all get the same object. If it raises
                ``UnsharableValueError``, that waiter gets the error in place of a copy; what else it raises is raised
                before any caller has anything.
        """
        if copy is None:
            waiters = tuple(self._waiters)
            self._end()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(outcome)
            return
        waiting = [waiter for waiter in self._waiters if not waiter.done()]
        # Before the flight ends: if a copy raises, those who wait must still be there to be told by `fail`.
        outcomes = [outcome, *(_copy(copy, outcome) for _ in waiting[1:])]
        self._end()
        for waiter, private in zip(waiting, outcomes, strict=False):
            if isinstance(private, UnsharableValueError):
                waiter.set_exception(private)
            else:
                waiter.set_result(private)

    def fail(self, error: BaseException) -> None:
        """Gives all callers the loader's error, as it is. Nothing happens if it is over."""
        waiting = [waiter for waiter in self._waiters if not waiter.done()]
        self._end()
        for waiter in waiting:
            waiter.set_exception(error)

    def join(self, *, behind: bool = False) -> asyncio.Future[Any]:
        """Boards now, and returns the outcome to wait for.

        Args:
            behind: Whether no caller waits for the outcome.

        Cancellation: of the future leaves the flight; the last to leave cancels the load.
        """
        loop = asyncio.get_running_loop() if self.task is None else self.task.get_loop()
        waiter: asyncio.Future[Any] = loop.create_future()
        load = None if behind or not UNDER_WAY else current_call()
        self._waiters[waiter] = load
        waiter.add_done_callback(self._drop_waiter)
        # The flight may wait for a place in the tenant's limit that this very load has.
        if load is not None and self.hurry is not None:
            self.hurry()
        return waiter

    def _drop_waiter(self, waiter: asyncio.Future[Any]) -> None:
        self._waiters.pop(waiter, None)
        if waiter.cancelled() and not self._waiters and not self.is_over and self.task is not None:
            # Over before its task has ended: a caller that comes now must not join what is being cancelled.
            self.is_over = True
            _cancel(self.task)

    def _end(self) -> None:
        self.is_over = True
        for waiter in self._waiters:
            # It is too late to leave. A callback that has nothing to do would cost each waiter a turn of the loop.
            waiter.remove_done_callback(self._drop_waiter)
        self._waiters.clear()


@contextmanager
def watch_hurry(flights: Sequence[Flight]) -> Iterator[asyncio.Future[None]]:
    """Yields a future that is done once another load begins to wait for one of the flights."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def hurry() -> None:
        if not future.done():
            future.set_result(None)

    for flight in flights:
        flight.hurry = hurry
    try:
        yield future
    finally:
        for flight in flights:
            flight.hurry = None
        future.cancel()


class SingleFlight:
    """The flights of one cache, by the entry they load, and the background work that it owns.

    Args:
        memory: Says until when this process is sure to hear of invalidations.
        environment: The clock.
        bound_s: The staleness bound H.
        source_backoff: Sources that failed: an entry that was removed is asked for again.

    Attributes:
        endings: How many things this process has seen end: entries, generations, connections.
        claims: The claims that are open: how each is ended, and the block around its caller's code, if there is one.
    """

    def __init__(
        self, memory: MemoryTier, environment: Environment, bound_s: float, source_backoff: SourceBackoff | None = None
    ) -> None:
        self.endings = 0
        self._memory = memory
        self._environment = environment
        self._bound_s = bound_s
        self._source_backoff = source_backoff
        self._flights: dict[bytes, Flight] = {}
        self._aside: dict[bytes, list[Flight]] = {}
        self.claims: dict[Callable[[], None], SourceCall | None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._flights)

    def ages(self, now: float) -> list[tuple[bytes, float]]:
        """Returns the loads under way: each by its entry, and since how many seconds."""
        return [(entry, now - flight.began_at) for entry, flight in self._flights.items()]

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """Tasks that the cache owns and that are running."""
        return frozenset(self._tasks)

    def check(self, key: EntryKey) -> None:
        """Refuses to wait for an entry where the load that asks for it is itself waited for by a load of that entry.

        Raises:
            CircularLoadError: It would wait for itself. The message names the circle.
        """
        load = current_call() if UNDER_WAY else None
        if load is not None and (circle := _circle(self, key, load, set())) is not None:
            raise CircularLoadError(_describe_circle(circle))

    def solo(self, entry: bytes) -> Flight:
        """Returns a flight of this caller alone."""
        return Flight(entry, self._environment.now())

    def get(self, entry: bytes, *, exact: bool = False) -> Flight | None:
        """Returns the flight that a caller may join, if there is one.

        Args:
            entry: Its entry.
            exact: Whether the caller does not trust memory: it joins no flight, because a flight may have read the second
                tier before this call. Without a server there is nothing to distrust.
        """
        flight = self._flights.get(entry)
        if flight is None or not flight.joinable or flight.is_over:
            return None
        # 1. A load has sent its LEASE; the script ran, and found an entry.
        # 2. The entry is invalidated, and that is acknowledged.
        # 3. A caller that skips memory comes now. Joining, it would get the entry of step 1, read before its call.
        if exact and self._memory.serving_until != math.inf:
            return None
        return flight if flight.started_at is None or self._is_joinable(flight, flight.started_at) else None

    def carries(self, entry: bytes, flight: Flight) -> bool:
        """Returns whether a caller of the entry would join this flight now."""
        return self.get(entry) is flight

    def mark_started(self, flight: Flight, now: float | None = None) -> None:
        """Notes that the source is being asked: from now on the flight carries the state of now."""
        # Set when the source is asked and not when the flight began: what waits for a place in the limit has read nothing yet,
        # and takes whoever comes.
        flight.started_at = self._environment.now() if now is None else now
        flight.endings = self.endings

    def _is_joinable(self, flight: Flight, started_at: float) -> bool:
        """Returns whether nothing that the load may have read can have ended before this moment, as far as the bound asks.

        With a lease, its generations are compared, and no tag may have ended that it might name; without one, any ending
        closes it. A load that began more than the bound ago is joined only while the server's word is current: a process
        that is cut off hears of no endings.
        """
        # 1. This load reads the row.
        # 2. The other process invalidates it: the push ends a generation of the lease.
        # 3. A caller that comes now must not join: its answer was read before its call.
        # Beyond the bound, the lease must be confirmed by a server that still talks to us: cut off, step 2 is never
        # heard.
        stands = flight.endings == self.endings if flight.lease is None else flight.lease.is_current
        now = self._environment.now()
        return stands and (
            now - started_at <= self._bound_s or (flight.lease is not None and now <= self._memory.serving_until)
        )

    def start(self, flights: Sequence[Flight], load: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs the load of some flights in a task that the cache owns; however it ends, they leave the table.

        A flight whose ``task`` is set to it is ended by the last of its callers that leaves.
        """
        # In Python 3.11 it takes a system call to ask which loop runs, and a cache has one all its life.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        task = loop.create_task(load)
        # The loop refers to its tasks weakly: one that nothing else holds may be collected while it runs.
        self._tasks.add(task)
        # One callback for both: each is a handle and a turn of the loop.
        task.add_done_callback(partial(self._forget, flights))
        return task

    def register(self, entry: bytes) -> Flight:
        """Returns a flight that callers may join from now on; it replaces one that takes no waiters any more."""
        if entry in self._flights:
            self._set_aside(entry)
        flight = self._flights[entry] = Flight(entry, self._environment.now())
        return flight

    @contextmanager
    def follow(self, flight: Flight, entry: bytes) -> Iterator[Sequence[Flight]]:
        """Goes around the wait of a flight for a lease, and yields the flights of this cache that may have it.

        The loads that wait for the flight wait for those, too.
        """
        others = (*self._aside.get(entry, ()), *filter(None, (self._flights.get(entry),)))
        holders = [other for other in others if other is not flight and other.lease is not None]
        # 1. A load has the place that the tenant's limit allows. 2. Another load has the lease of an entry, and waits for
        # that place. 3. The first asks for the entry, and may not join the second, which was closed meanwhile.
        # Not hurried, the second would wait for the first, and the first for the lease until that is over.
        for holder in holders:
            holder.followers = (*holder.followers, flight)
            if holder.hurry is not None and flight.is_awaited:
                holder.hurry()
        try:
            yield holders
        finally:
            for holder in holders:
                holder.followers = tuple(other for other in holder.followers if other is not flight)

    def close(self, *entries: bytes) -> None:
        """Closes the flights of entries that were just changed or removed."""
        self.endings += len(entries)
        for entry in entries:
            if entry in self._flights:
                self._set_aside(entry).joinable = False

    def _set_aside(self, entry: bytes) -> Flight:
        """Takes a flight off the table, which goes on: it may have the lease that the next one waits for."""
        flight = self._flights.pop(entry)
        self._aside.setdefault(entry, []).append(flight)
        return flight

    def close_replaced(self, *entries: bytes) -> None:
        """Closes the flights of entries that were changed or removed; their sources may be asked again."""
        self.close(*entries)
        if self._source_backoff is not None:
            self._source_backoff.record_success(*entries)

    def close_all(self) -> None:
        """Closes every flight: the known state is in doubt."""
        for entry in tuple(self._flights):
            self.close(entry)

    def own(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs something in a task that is drained when the cache closes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, grace_s: float) -> None:
        """Waits for the work under way and what it starts, then cancels the rest.

        A claim that no block is around may stay open for as long as it lives, and one whose own block closes the cache
        for ever: these end at once.
        """
        deadline = Deadline(grace_s)
        here = current_call()
        for end, block in tuple(self.claims.items()):
            if block is None or block is here:
                end()
        try:
            while self._tasks and deadline.left_s():
                await asyncio.wait(self._tasks, timeout=deadline.left_s())
        finally:
            left = tuple(self._tasks)
            _CANCELLED.update(left)
            await finish(left, 0.0)

    def _forget(self, flights: Sequence[Flight], task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        for flight in flights:
            # Only itself: the next flight of the entry may have taken its place.
            entry = flight.entry
            if self._flights.get(entry) is flight:
                del self._flights[entry]
            elif (aside := self._aside.get(entry)) is not None and flight in aside:
                aside.remove(flight)
                if not aside:
                    del self._aside[entry]


# Not `task.cancelling()`: before Python 3.13 a `TaskGroup` whose child fails while it is being left counts one too many.
_CANCELLED: Final[WeakSet[asyncio.Task[Any]]] = WeakSet()


def _cancel(task: asyncio.Task[Any]) -> None:
    _CANCELLED.add(task)
    task.cancel()


def is_ended(task: asyncio.Task[Any], error: BaseException) -> bool:
    """Returns whether a task of the cache that raises ``error`` was told to end, by the cache or by the end of the loop."""
    return task in _CANCELLED or (isinstance(error, asyncio.CancelledError) and task.cancelling() > 0)


def is_order(task: asyncio.Task[Any], error: BaseException) -> bool:
    """Returns whether ``error`` is an order to end, which the task must follow; the callers know of any other."""
    if isinstance(error, asyncio.CancelledError):
        return is_ended(task, error)
    return isinstance(error, KeyboardInterrupt | SystemExit)


def _copy(copy: Callable[[Any], Any], outcome: Any) -> Any:
    try:
        return copy(outcome)
    except UnsharableValueError as error:
        return error


def _circle(flights: SingleFlight, key: EntryKey, load: SourceCall, seen: set[SourceCall]) -> list[EntryKey] | None:
    """Returns the entries from ``key`` to those of ``load``, if the load is waited for by one of ``key``; else ``None``."""
    if load.flights is flights and any(own.entry == key.entry for own in load.keys):
        return [key]
    seen.add(load)
    for own, flight in zip(load.keys, load.carriers, strict=True):
        for behind in flight.loads_behind:
            if behind not in seen and (circle := _circle(flights, key, behind, seen)) is not None:
                return [*circle, own]
    return None


def _describe_circle(circle: Sequence[EntryKey]) -> str:
    names = [f"{key.data_type} {key.resource_id!r}" for key in (*circle, circle[0])]
    return (
        f"a load waits for itself: {' asks for '.join(names)}. Call the source itself there, or give the inner entry an "
        "id of its own"
    )


def describe_end(task: asyncio.Task[Any], error: BaseException, what: str) -> BaseException:
    """Returns the exception for the callers of a load that ended with ``error``.

    Only a caller's own cancellation may reach that caller, and an order to stop the process reaches the loop.
    """
    if isinstance(error, asyncio.CancelledError):
        if is_ended(task, error):
            return CacheClosedError(f"{what}: the cache was closed while it was being loaded")
        return LoadCancelledError(f"{what}: its loader was cancelled from inside, by a task or a time limit of its own")
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return LoadCancelledError(f"{what}: the process was told to stop while it was being loaded")
    return error
