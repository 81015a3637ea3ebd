"""Queues of other libraries behind one shape: numbers are sent, and a handler notes each that it has finished.

Each is set up to take work back from a dead worker as soon as its documentation allows, and given the time to do so.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alacena.engine import Cache, Settings
from bench.coordination.peers import installed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.engine.coordination.item import Item
    from bench.coordination.crew import Journal

    Role = Literal["ours", "floor", "peer"]
    Send = Callable[[str, Sequence[int]], Awaitable[None]]
    Work = Callable[..., Awaitable[None]]

AT_ONCE = 10
"""Handlers at a time in each worker."""
RECLAIM_S = 2.0
"""After so long a dead worker's items are somebody else's, where a library can say so."""


@dataclass(frozen=True, slots=True)
class QueuePeer:
    """One contender.

    Attributes:
        name: As it is shown.
        package: What must be installed; empty for ours.
        send: Puts numbers in, the fastest documented way.
        work: Handles them until it is killed; the line of a number is ``NNNNNNN``.
        promise: What it says of itself.
        role: For the table.
    """

    name: str
    package: str
    send: Send
    work: Work
    promise: str
    role: Role = "peer"

    @property
    def absent(self) -> bool:
        """Whether it cannot take part."""
        return bool(self.package) and installed(self.package) is None


async def _handle(journal: Journal, number: int, pause_s: float) -> None:
    if pause_s:
        await asyncio.sleep(pause_s)
    journal.note(f"{number:07}")


# Ours


async def _send_ours(url: str, numbers: Sequence[int]) -> None:
    async with Cache(Settings(redis_url=url)) as cache:
        await cache.queues("q", tenant_id="acme", max_attempts=50).push_many(numbers)


async def _work_ours(journal: Journal, url: str, pause_s: float, place: int) -> None:
    async def handle(item: Item) -> None:
        await _handle(journal, item.value, pause_s)

    async with Cache(Settings(redis_url=url)) as cache:
        queue = cache.queues("q", tenant_id="acme", max_attempts=50)
        await cache.queues.worker(queue, handle, concurrency=AT_ONCE, visibility_s=RECLAIM_S).run()


async def _work_ours_in_batches(journal: Journal, url: str, pause_s: float, place: int) -> None:
    async with Cache(Settings(redis_url=url)) as cache:
        queue = cache.queues("q", tenant_id="acme", max_attempts=50)
        while True:
            items = await queue.reserve(AT_ONCE, visibility_s=RECLAIM_S, wait_s=60)
            await asyncio.gather(*(_handle(journal, item.value, pause_s) for item in items))
            await queue.ack(items)


# A bare list


async def _send_bare(url: str, numbers: Sequence[int]) -> None:
    async with Cache(Settings(redis_url=url)) as cache:
        for start in range(0, len(numbers), 500):
            await cache.lists.rpush("l", *numbers[start : start + 500], tenant_id="acme")


async def _work_bare(journal: Journal, url: str, pause_s: float, place: int) -> None:
    async def loop(cache: Cache) -> None:
        while True:
            number = await cache.lists.lpop("l", tenant_id="acme")
            if number is None:
                await asyncio.sleep(0.01)
            else:
                await _handle(journal, number, pause_s)

    async with Cache(Settings(redis_url=url)) as cache:
        await asyncio.gather(*(loop(cache) for _ in range(AT_ONCE)))


# arq


async def _send_arq(url: str, numbers: Sequence[int]) -> None:
    pool = await _arq_pool(url)
    for start in range(0, len(numbers), 100):
        await asyncio.gather(*(pool.enqueue_job("handle", n) for n in numbers[start : start + 100]))
    await pool.aclose()


async def _work_arq(journal: Journal, url: str, pause_s: float, place: int) -> None:
    from arq.worker import Worker as ArqWorker
    from arq.worker import func

    async def handle(_: dict[str, Any], number: int) -> None:
        await _handle(journal, number, pause_s)

    worker = ArqWorker(
        [func(handle, name="handle", keep_result=0, max_tries=50)],  # type: ignore[arg-type]
        redis_pool=await _arq_pool(url),
        handle_signals=False,
        max_jobs=AT_ONCE,
        job_timeout=RECLAIM_S,
        poll_delay=0.01,
        log_results=False,
    )
    await worker.main()


async def _arq_pool(url: str) -> Any:
    from arq import create_pool
    from arq.connections import RedisSettings

    return await create_pool(RedisSettings(unix_socket_path=url.removeprefix("unix://")))


# taskiq


def _taskiq_list(url: str) -> Any:
    from taskiq_redis import ListQueueBroker

    return ListQueueBroker(url)


def _taskiq_stream(url: str) -> Any:
    from taskiq_redis import RedisStreamBroker

    return RedisStreamBroker(
        url,
        consumer_id="0",
        idle_timeout=round(RECLAIM_S * 1000),
        unacknowledged_lock_timeout=RECLAIM_S,
        xread_block=200,
    )


async def _send_taskiq(broker: Any, numbers: Sequence[int]) -> None:
    task = broker.register_task(_untouched, task_name="handle")
    await broker.startup()
    for start in range(0, len(numbers), 100):
        await asyncio.gather(*(task.kiq(n) for n in numbers[start : start + 100]))
    await broker.shutdown()


async def _work_taskiq(broker: Any, journal: Journal, pause_s: float) -> None:
    from taskiq.api import run_receiver_task

    async def handle(number: int) -> None:
        await _handle(journal, number, pause_s)

    broker.register_task(handle, task_name="handle")
    broker.is_worker_process = True
    await run_receiver_task(broker, max_async_tasks=AT_ONCE, run_startup=True, validate_params=False)


async def _untouched(number: int) -> None:
    raise AssertionError("the sender does not work")


async def _send_taskiq_list(url: str, numbers: Sequence[int]) -> None:
    await _send_taskiq(_taskiq_list(url), numbers)


async def _work_taskiq_list(journal: Journal, url: str, pause_s: float, place: int) -> None:
    await _work_taskiq(_taskiq_list(url), journal, pause_s)


async def _send_taskiq_stream(url: str, numbers: Sequence[int]) -> None:
    await _send_taskiq(_taskiq_stream(url), numbers)


async def _work_taskiq_stream(journal: Journal, url: str, pause_s: float, place: int) -> None:
    await _work_taskiq(_taskiq_stream(url), journal, pause_s)


# dramatiq


def _dramatiq(url: str, journal: Journal | None, pause_s: float) -> tuple[Any, Any]:
    import time

    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    make: Any = RedisBroker
    broker = make(url=url, heartbeat_timeout=round(RECLAIM_S * 1000), maintenance_chance=100_000)

    def handle(number: int) -> None:
        if pause_s:
            time.sleep(pause_s)
        if journal is not None:
            journal.note(f"{number:07}")

    return broker, dramatiq.actor(broker=broker, actor_name="handle", max_retries=50)(handle)


async def _send_dramatiq(url: str, numbers: Sequence[int]) -> None:
    def send() -> None:
        broker, actor = _dramatiq(url, None, 0)
        for number in numbers:
            actor.send(number)
        broker.close()

    await asyncio.to_thread(send)


async def _work_dramatiq(journal: Journal, url: str, pause_s: float, place: int) -> None:
    import dramatiq

    broker, _ = _dramatiq(url, journal, pause_s)
    dramatiq.Worker(broker, worker_threads=AT_ONCE).start()
    await asyncio.Event().wait()


PEERS = (
    QueuePeer("alacena, Worker", "", _send_ours, _work_ours, "at least once", "ours"),
    QueuePeer("alacena, batches", "", _send_ours, _work_ours_in_batches, "at least once", "ours"),
    QueuePeer("a list and LPOP", "", _send_bare, _work_bare, "at most once", "floor"),
    QueuePeer("arq", "arq", _send_arq, _work_arq, "may run twice"),
    QueuePeer("taskiq, ListQueue", "taskiq-redis", _send_taskiq_list, _work_taskiq_list, "no acknowledgement"),
    QueuePeer("taskiq, Stream", "taskiq-redis", _send_taskiq_stream, _work_taskiq_stream, "at least once"),
    QueuePeer("dramatiq", "dramatiq", _send_dramatiq, _work_dramatiq, "at least once"),
)
