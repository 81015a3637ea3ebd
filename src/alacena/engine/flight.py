"""Single flight: one load of a key at a time in this process, whose outcome every caller shares.

The load runs in a task that the cache owns. A caller that is cancelled never cancels the others; the last one that goes
cancels the load. A flight stops taking passengers the moment something that it rests on is invalidated: who comes later
gets a load that began later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.engine.errors import CacheClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from alacena.engine.environment import Environment
    from alacena.engine.memory import Memory
    from alacena.engine.shelf import Lease


class Flight:
    """One load under way.

    Attributes:
        lease: Its permission, once it has one.
        boarding: Whether a caller may join at all.
        began_at: When it was permitted to ask the source; ``None`` before that, when anybody may join.
        endings: How many endings the process knew of at that moment.
        task: The task that loads.
    """

    __slots__ = ("_landed", "_waiters", "began_at", "boarding", "endings", "lease", "task")

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.boarding = True
        self.began_at: float | None = None
        self.endings = 0
        self.task: asyncio.Task[None] | None = None
        self._landed = False
        self._waiters: set[asyncio.Future[Any]] = set()

    @property
    def is_open(self) -> bool:
        """Whether it has neither landed nor been closed to newcomers."""
        return self.boarding and not self._landed

    def land(self, outcome: Any, copy: Callable[[Any], Any] | None = None, *, taken: bool = False) -> None:
        """Give everybody the outcome.

        Args:
            outcome: The outcome.
            copy: Makes a private copy of it; without it all get the same object.
            taken: Whether somebody who is not aboard has the original; otherwise the first waiter gets it.
        """
        for waiter in self._disembark():
            waiter.set_result(copy(outcome) if copy is not None and taken else outcome)
            taken = True

    def crash(self, error: BaseException) -> None:
        """Give everybody the loader's error, as it is."""
        for waiter in self._disembark():
            waiter.set_exception(error)

    def wait(self) -> Coroutine[Any, Any, Any]:
        """Board now, and return the wait for the outcome.

        Boarding is not left to the first step of the wait: a load that ends at once would land without its passenger.

        Cancellation: leaves the flight; the last to leave cancels the load.
        """
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        return self._until(waiter)

    async def _until(self, waiter: asyncio.Future[Any]) -> Any:
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)
            if not self._waiters and not self._landed:
                self._abandon()

    def _disembark(self) -> list[asyncio.Future[Any]]:
        self._landed = True
        waiting = [waiter for waiter in self._waiters if not waiter.done()]
        self._waiters.clear()
        return waiting

    def _abandon(self) -> None:
        self._landed = True
        if self.task is not None:
            self.task.cancel()


class Flights:
    """The flights of one cache, by the entry they load, and the background work that it owns.

    Args:
        memory: Says whether the server's word is current.
        environment: The clock.
        bound_s: The staleness bound H.

    Attributes:
        endings: How many things this process has seen end: entries, generations, connections.
    """

    def __init__(self, memory: Memory, environment: Environment, bound_s: float) -> None:
        self.endings = 0
        self._memory = memory
        self._environment = environment
        self._bound_s = bound_s
        self._flights: dict[bytes, Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def tasks(self) -> frozenset[asyncio.Task[Any]]:
        """Tasks that the cache owns and that are running."""
        return frozenset(self._tasks)

    def get(self, entry: bytes) -> Flight | None:
        """The flight that a caller may join, if there is one."""
        flight = self._flights.get(entry)
        if flight is None or not flight.is_open:
            return None
        return flight if flight.began_at is None or self._is_joinable(flight, flight.began_at) else None

    def began(self, flight: Flight, lease: Lease | None) -> None:
        """The load was permitted (``None``: without the right to store), in the step in which that became true."""
        flight.lease = lease
        flight.began_at = self._environment.now()
        flight.endings = self.endings

    def _is_joinable(self, flight: Flight, began_at: float) -> bool:
        """Whether nothing that the load may have read can have ended before this moment, as far as the bound asks.

        With a lease, its generations are compared; without one, any ending closes it. A load that began more than the
        bound ago is joined only while the server's word is current: a process that is cut off hears of no endings.
        """
        stands = flight.endings == self.endings if flight.lease is None else flight.lease.stands
        now = self._environment.now()
        return stands and (
            now - began_at <= self._bound_s or (flight.lease is not None and now <= self._memory.serving_until)
        )

    def start(self, entry: bytes, load: Callable[[Flight], Coroutine[Any, Any, None]]) -> Flight:
        """Start a load; it replaces a flight that takes no passengers any more."""
        flight = self._flights[entry] = Flight()
        flight.task = self.own(load(flight))
        flight.task.add_done_callback(lambda _: self._forget(entry, flight))
        return flight

    def adopt(self, entry: bytes) -> Flight:
        """A flight without a task of its own: a batch loads it, and nobody's leaving cancels that."""
        flight = self._flights[entry] = Flight()
        return flight

    def retire(self, entry: bytes, flight: Flight) -> None:
        """Take an adopted flight off the table."""
        self._forget(entry, flight)

    def give_up(self, entry: bytes, flight: Flight, error: BaseException) -> None:
        """End an adopted flight with an error, if it has not landed."""
        flight.crash(error if isinstance(error, Exception) else CacheClosedError("the batch was cancelled"))
        self._forget(entry, flight)

    def bar(self, entry: bytes) -> None:
        """Let nobody board the flight of an entry that was just changed or removed."""
        self.endings += 1
        flight = self._flights.pop(entry, None)
        if flight is not None:
            flight.boarding = False

    def bar_all(self) -> None:
        """Let nobody board anything: what was known is in doubt."""
        for entry in tuple(self._flights):
            self.bar(entry)

    def own(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in a task that is drained when the cache closes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, grace_s: float) -> None:
        """Wait for the work under way, then cancel what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        left = tuple(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _forget(self, entry: bytes, flight: Flight) -> None:
        if self._flights.get(entry) is flight:
            del self._flights[entry]
