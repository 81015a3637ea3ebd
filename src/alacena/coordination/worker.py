"""A worker: takes items, runs a handler on each, keeps their leases, and gives back failed items."""

from __future__ import annotations

import asyncio
import inspect
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from alacena.coordination.coordination_context import pause_s
from alacena.coordination.failure_streak import FailureStreak
from alacena.coordination.item_source import give_back
from alacena.coordination.queue import Queue
from alacena.engine.base.ambient_tenant import AmbientTenant
from alacena.engine.base.arguments import exact, finite_seconds, milliseconds, wait_seconds
from alacena.engine.base.errors import (
    AlacenaError,
    ArgumentError,
    BackendError,
    BackendUnavailableError,
    NotOwnerError,
    UsageError,
    show,
    text_of,
)
from alacena.engine.base.ttl import is_finite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from alacena.coordination.coordination_context import CoordinationContext
    from alacena.coordination.item import Item, ItemQueue
    from alacena.coordination.item_source import ItemSource
    from alacena.engine.remote.backend import Notification

_log = logging.getLogger("alacena")

_LAST_S: Final = 5.0
"""How long handlers that were cancelled at the end of a worker may take to undo what they began."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait of a failed item: doubled with every attempt, with full jitter above half.

    Attributes:
        first_s: After the first attempt.
        factor: From one attempt to the next.
        most_s: Never more.
    """

    first_s: float = 1.0
    factor: float = 2.0
    most_s: float = 300.0

    def __post_init__(self) -> None:
        # A worker asks at the first failure: what is wrong must not wait until then.
        for name in ("first_s", "factor", "most_s"):
            given = getattr(self, name)
            if not is_finite(given) or given < 0:
                raise ArgumentError(f"{name} of a Backoff must be a finite number, not below 0, not {show(given)}")

    def delay_s(self, attempt: int, chance: float) -> float:
        """Returns seconds to wait after ``attempt`` (from 1), with ``chance`` in ``[0, 1)``."""
        full = min(self.first_s * self.factor ** min(attempt - 1, 64), self.most_s)
        return full * (0.5 + 0.5 * chance)


@dataclass(slots=True)
class WorkerCounts:
    """Counters of a worker.

    Attributes:
        done: Items handled and acknowledged.
        failed: Attempts given back because the handler raised.
        lost: Items that lost their lease while their handler ran.
        outages: Times that the store could not be asked.
        unreadable: Deliveries that could not be read here, and were given back.
    """

    done: int = 0
    failed: int = 0
    lost: int = 0
    outages: int = 0
    unreadable: int = 0


@dataclass(eq=False, slots=True)
class _Job:
    item: Item
    task: asyncio.Task[None] = field(init=False)


class Worker:
    """Runs ``handler(item)`` for each item of a source, several at a time.

    An ingestion service, in place of a loop on ``lpop``: a process that dies loses nothing, a job that always fails
    ends in the dead letters, and a large tenant does not keep the others waiting::

        await cache.queues("ingestion", tenant_id=tenant_id).push(job, id=job["job_id"])

        async def ingest(item: Item) -> None:
            response = await embed(item.value["chunks"])
            await track_token_usage(..., idempotency_key=f"embed:{item.id}")

        worker = cache.queues.worker(cache.queues.any("ingestion"), ingest, concurrency=8)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()

    The same job may be handled again after its worker died: make the handler idempotent by ``item.id``, or
    fence it with ``item.attempt``. A lock of the job is not needed: a lease is one.

    A handler runs for the item's tenant, even if the worker was started for another, and for no agent or user. An item
    of `SYSTEM_TENANT` belongs to no tenant: its handler enters a `Context` of its own.

    A handler that returns acknowledges its item; one that raises gives it back after a growing delay, with the
    exception as the reason. Leases are lengthened in one command a queue for as long as handlers run; a handler whose
    lease ended is cancelled. A store that is away is asked again after a while.

    Args:
        port: The coordination context.
        source: A queue, or :meth:`~alacena.coordination.queues.Queues.any`.
        handler: The work. A plain function is called on the event loop: let it call ``asyncio.to_thread`` if it blocks.
        concurrency: How many handlers at a time.
        visibility_s: The length of a lease: for how long an item of a worker that died is out of sight.
        heartbeat_s: How often leases are lengthened; left out: a third of ``visibility_s``.
        backoff: How long a failed item waits.
        grace_s: How long :meth:`stop` lets running handlers finish.

    Attributes:
        counts: The counters so far.
    """

    def __init__(
        self,
        port: CoordinationContext,
        source: ItemSource,
        handler: Callable[[Item], Awaitable[object] | object],
        *,
        concurrency: int = 4,
        visibility_s: float = 60.0,
        heartbeat_s: float | None = None,
        backoff: Backoff | None = None,
        grace_s: float = 30.0,
    ) -> None:
        concurrency = exact(concurrency, "concurrency", least=1)
        if not callable(handler):
            raise UsageError(f"a worker's handler must be callable with an item, not {show(handler)}")
        if isinstance(source, str):
            raise UsageError(f"a worker's source must be a queue, or cache.queues.any({show(source)}), not a name")
        if not callable(getattr(source, "take", None)) or not callable(getattr(source, "bell", None)):
            raise UsageError(f"a worker's source must be a queue, or what cache.queues.any() gave, not {show(source)}")
        if not isinstance(backoff, Backoff | None):
            raise ArgumentError(f"backoff must be a Backoff, such as Backoff(first_s=1.0), not {show(backoff)}")
        visibility_s = milliseconds(visibility_s, "visibility_s") / 1000
        self.counts = WorkerCounts()
        self._port = port
        self._source = source
        self._handler = handler
        self._concurrency = concurrency
        self._visibility_s = visibility_s
        self._heartbeat_s = visibility_s / 3 if heartbeat_s is None else finite_seconds(heartbeat_s, "heartbeat_s")
        self._backoff = backoff or Backoff()
        self._grace_s = wait_seconds(grace_s, "grace_s")
        self._jobs: set[_Job] = set()
        self._stopping = asyncio.Event()
        of = f" of queue {source.name!r} of tenant {source.tenant_id!r}" if isinstance(source, Queue) else ""
        self._failures = FailureStreak(
            f"a worker{of} takes no items", "it asks again by itself", health=port.health, part="worker"
        )

    def stop(self) -> None:
        """Takes no more items; :meth:`run` returns when the running handlers are done, or their grace is over."""
        self._stopping.set()

    async def run(self) -> WorkerCounts:
        """Works until :meth:`stop`.

        Cancellation: running handlers are cancelled, their items given back at once without counting the attempt.
        A handler that does not end then is left behind after 5 s, and named in the log.
        """
        # A task of its own: leases are lengthened also while the server does not answer the question for more work.
        heart = asyncio.get_running_loop().create_task(self._beat())
        try:
            while not self._stopping.is_set():
                await self._serve_through_outages()
            if self._jobs:
                await asyncio.wait([job.task for job in self._jobs], timeout=self._grace_s)
        finally:
            # Not before: handlers that use their grace need their leases to the end of it.
            heart.cancel()
            await self._drop_all()
        return self.counts

    async def _serve_through_outages(self) -> None:
        try:
            async with self._source.bell() as bell:
                await self._serve(bell)
        except BackendError as error:
            self.counts.outages += 1
            # The connection itself says that the server is away; what else it may be, nobody else would hear of.
            if not isinstance(error, BackendUnavailableError):
                self._failures.record(error)
            pause = self._backoff.delay_s(1, self._port.environment.random())
            await self._until(asyncio.ensure_future(asyncio.sleep(pause)))

    async def _serve(self, bell: Notification) -> None:
        """Keeps the hands full. The bell is held all along, so that no ring is missed between looking and listening."""
        while not self._stopping.is_set():
            free = self._concurrency - len(self._jobs)
            if not free:
                await self._until(*(job.task for job in self._jobs), own=False)
                continue
            taken = await self._source.take(free, self._visibility_s)
            self._failures.over()
            self.counts.unreadable += taken.unreadable
            for item in taken.items:
                self._start(item)
            if not taken.items:
                await self._until(asyncio.ensure_future(bell.wait(pause_s(self._port.environment, taken.due_s))))

    def _start(self, item: Item) -> None:
        job = _Job(item)
        job.task = asyncio.get_running_loop().create_task(self._work(job))
        self._jobs.add(job)

    async def _until(self, *events: asyncio.Future[Any], own: bool = True) -> None:
        """Waits until one of the events has come, or the worker is to stop; our ``own`` is then let go."""
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([stop, *events], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for event in (stop, *(events if own else ())):
                event.cancel()
        for event in events if own else ():
            if event.done() and not event.cancelled():
                event.result()

    async def _handle(self, item: Item) -> None:
        # The task inherited the tenant that the worker was started for, which may be another one than the item's.
        AmbientTenant.work_for(item.tenant_id)
        done = self._handler(item)
        if inspect.isawaitable(done):
            await done

    async def _work(self, job: _Job) -> None:
        try:
            work = asyncio.ensure_future(self._handle(job.item))
            try:
                # Waited for and not awaited: a handler that cancels itself must not look like an order to this task.
                await asyncio.wait([work])
            except asyncio.CancelledError:
                work.cancel()
                await asyncio.wait([work])
                raise
            await self._settle(job.item, work)
        except NotOwnerError:
            self._note_loss(job)
        except BackendError:
            self.counts.outages += 1  # The lease ends by itself: the item is delivered again.
        except Exception:  # noqa: BLE001 - the item is given back, whatever it was
            # What is wrong here is not the item's fault: it goes back at once, for another try.
            _log.exception("a worker could not settle item %r, and gives it back", job.item.id)
            give_back(self._port, [job.item])
        finally:
            self._jobs.discard(job)

    async def _settle(self, item: Item, work: asyncio.Future[None]) -> None:
        # ``exception()`` of a cancelled future raises: a handler that cancelled itself has failed like any other.
        error = asyncio.CancelledError("cancelled itself") if work.cancelled() else work.exception()
        if error is None:
            await item.ack()
            self.counts.done += 1
            return
        self.counts.failed += 1
        delay_s = self._backoff.delay_s(item.attempt, self._port.environment.random())
        await item.nack(delay_s, _reason(error))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            by_queue: dict[ItemQueue, list[_Job]] = {}
            for job in self._jobs:
                by_queue.setdefault(job.item.queue, []).append(job)
            await asyncio.gather(*(self._lengthen(queue, jobs) for queue, jobs in by_queue.items()))

    async def _lengthen(self, queue: ItemQueue, jobs: list[_Job]) -> None:
        try:
            lost = await queue.extend([job.item for job in jobs], self._visibility_s)
        except AlacenaError:
            # The handlers go on: the lease may outlast the outage, and if it does not, the next beat says so.
            self.counts.outages += 1
            return
        for job in jobs:
            # 1. The heartbeat asks for more time for items A and B.
            # 2. Meanwhile A's handler ends, and A is acknowledged.
            # 3. The reply says that A is not ours. That is no loss: only jobs that still run are cancelled.
            if job.item in lost and job in self._jobs:
                self._note_loss(job)
                job.task.cancel()

    def _note_loss(self, job: _Job) -> None:
        self.counts.lost += 1
        queue = getattr(job.item.queue, "name", "")
        if self._port.says_first(f"lost: {queue}"):
            _log.warning(
                "item %r of queue %r: its lease ended while its handler ran, so that it is delivered again though its work "
                "may be done: give visibility_s above the time for which handlers block the event loop. Later ones of "
                "queues of this name are not logged",
                job.item.id,
                queue,
            )

    async def _drop_all(self) -> None:
        """Cancels running handlers and gives their items back."""
        jobs = list(self._jobs)
        for job in jobs:
            job.task.cancel()
        if jobs:
            # Bounded: a handler that swallows its cancellation must not hold the end of the process.
            await asyncio.wait([job.task for job in jobs], timeout=_LAST_S)
            for job in jobs:
                if not job.task.done():
                    _log.warning(
                        "the handler of item %r does not end though it was cancelled: it is left behind, and its item given "
                        "back",
                        job.item.id,
                    )
        # Even if run() is cancelled once more: else the items stay out of sight until their leases end.
        await self._port._background.finish(self._give_back_all(jobs))

    async def _give_back_all(self, jobs: list[_Job]) -> None:
        for job in jobs:
            try:
                await job.item.nack(0, "the worker was stopped", count_attempt=False)
            except AlacenaError:
                continue  # Settled meanwhile, or the store is away: then its lease ends by itself.


def _reason(error: BaseException) -> str:
    """Returns the kind and the text of a handler's exception."""
    return f"{type(error).__name__}: {text_of(error)}"
