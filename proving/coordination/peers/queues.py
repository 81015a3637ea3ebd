"""Queues of other libraries behind one shape: numbers are sent, and a handler notes each that it has finished.

Each is set up to take work back from a dead worker as soon as its documentation allows, and given the time to do so.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alacena.engine import Cache, Settings
from proving.coordination.peers import installed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from alacena.coordination.item import Item
    from proving.coordination.crew import Journal

    Role = Literal["ours", "floor", "peer"]
    Send = Callable[[str, Sequence[int]], Awaitable[None]]
    Buried = Callable[[str], Awaitable[list[int]]]
    Work = Callable[..., Awaitable[None]]

AT_ONCE = 10
"""Handlers at a time in each worker, unless said otherwise."""
ATTEMPTS = 50
"""How often an item may be tried, where a library has such a limit, unless said otherwise."""
POISON = 9_000_000
"""From this number on, an item ends the process that handles it."""
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
        buried: The numbers that it has set aside as undeliverable, where it does that.
        reclaim_s: After how long it takes a dead worker's items back.
    """

    name: str
    package: str
    send: Send
    work: Work
    promise: str
    role: Role = "peer"
    buried: Buried | None = None
    reclaim_s: float = RECLAIM_S

    @property
    def absent(self) -> bool:
        """Whether it cannot take part."""
        return bool(self.package) and installed(self.package) is None


def _end_if_poison(journal: Journal, number: int) -> None:
    if number >= POISON:
        journal.note(f"{number:07}")
        os._exit(1)


async def _handle(journal: Journal, number: int, pause_s: float) -> None:
    _end_if_poison(journal, number)
    if pause_s:
        await asyncio.sleep(pause_s)
    journal.note(f"{number:07}")


# Ours


async def _send_ours(url: str, numbers: Sequence[int]) -> None:
    async with Cache(Settings(redis_url=url)) as cache:
        await cache.queues("q", tenant_id="acme").push_many(numbers)


async def _work_ours(
    journal: Journal, url: str, pause_s: float, place: int, at_once: int = AT_ONCE, attempts: int = ATTEMPTS
) -> None:
    async def handle(item: Item) -> None:
        await _handle(journal, item.value, pause_s)

    async with Cache(Settings(redis_url=url)) as cache:
        queue = cache.queues("q", tenant_id="acme", max_attempts=attempts)
        await cache.queues.worker(queue, handle, concurrency=at_once, visibility_s=RECLAIM_S).run()


async def _work_ours_in_batches(
    journal: Journal, url: str, pause_s: float, place: int, at_once: int = AT_ONCE, attempts: int = ATTEMPTS
) -> None:
    async with Cache(Settings(redis_url=url)) as cache:
        queue = cache.queues("q", tenant_id="acme", max_attempts=attempts)
        while True:
            items = await queue.reserve(at_once, visibility_s=RECLAIM_S, wait_s=60)
            await asyncio.gather(*(_handle(journal, item.value, pause_s) for item in items))
            await queue.ack(items)


async def _buried_ours(url: str) -> list[int]:
    async with Cache(Settings(redis_url=url)) as cache:
        return [letter.value for letter in await cache.queues("q", tenant_id="acme").dead(10_000)]


# A bare list


async def _send_bare(url: str, numbers: Sequence[int]) -> None:
    async with Cache(Settings(redis_url=url)) as cache:
        for start in range(0, len(numbers), 500):
            await cache.lists.rpush("l", *numbers[start : start + 500], tenant_id="acme")


async def _work_bare(
    journal: Journal, url: str, pause_s: float, place: int, at_once: int = AT_ONCE, attempts: int = ATTEMPTS
) -> None:
    async def loop(cache: Cache) -> None:
        while True:
            number = await cache.lists.lpop("l", tenant_id="acme")
            if number is None:
                await asyncio.sleep(0.01)
            else:
                await _handle(journal, number, pause_s)

    async with Cache(Settings(redis_url=url)) as cache:
        await asyncio.gather(*(loop(cache) for _ in range(at_once)))


# arq


async def _send_arq(url: str, numbers: Sequence[int]) -> None:
    pool = await _arq_pool(url)
    for start in range(0, len(numbers), 100):
        await asyncio.gather(*(pool.enqueue_job("handle", n) for n in numbers[start : start + 100]))
    await pool.aclose()


async def _work_arq(
    journal: Journal, url: str, pause_s: float, place: int, at_once: int = AT_ONCE, attempts: int = ATTEMPTS
) -> None:
    from arq.worker import Worker as ArqWorker
    from arq.worker import func

    async def handle(_: dict[str, Any], number: int) -> None:
        await _handle(journal, number, pause_s)

    worker = ArqWorker(
        [func(handle, name="handle", keep_result=0, max_tries=attempts)],  # type: ignore[arg-type]
        redis_pool=await _arq_pool(url),
        handle_signals=False,
        max_jobs=at_once,
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

    return ListQueueBroker(url, socket_timeout=None)  # It waits in BRPOP for longer than its client's default.


def _taskiq_stream(url: str) -> Any:
    from taskiq_redis import RedisStreamBroker

    return RedisStreamBroker(
        url,
        consumer_id="0",
        idle_timeout=round(RECLAIM_S * 1000),
        unacknowledged_lock_timeout=RECLAIM_S,
        xread_block=200,
        socket_timeout=None,
    )


async def _send_taskiq(broker: Any, numbers: Sequence[int]) -> None:
    task = broker.register_task(_untouched, task_name="handle")
    await broker.startup()
    for start in range(0, len(numbers), 100):
        await asyncio.gather(*(task.kiq(n) for n in numbers[start : start + 100]))
    await broker.shutdown()


async def _work_taskiq(broker: Any, journal: Journal, pause_s: float, at_once: int) -> None:
    from taskiq.api import run_receiver_task

    async def handle(number: int) -> None:
        await _handle(journal, number, pause_s)

    broker.register_task(handle, task_name="handle")
    broker.is_worker_process = True
    await run_receiver_task(broker, max_async_tasks=at_once, run_startup=True, validate_params=False)


async def _untouched(number: int) -> None:
    raise AssertionError("the sender does not work")


async def _send_taskiq_list(url: str, numbers: Sequence[int]) -> None:
    await _send_taskiq(_taskiq_list(url), numbers)


async def _work_taskiq_list(
    journal: Journal, url: str, pause_s: float, place: int, at_once: int = AT_ONCE, attempts: int = ATTEMPTS
) -> None:
    await _work_taskiq(_taskiq_list(url), journal, pause_s, at_once)


async def _send_taskiq_stream(url: str, numbers: Sequence[int]) -> None:
    await _send_taskiq(_taskiq_stream(url), numbers)


async def _work_taskiq_stream(
    journal: Journal, url: str, pause_s: float, place: int, at_once: int = AT_ONCE, attempts: int = ATTEMPTS
) -> None:
    await _work_taskiq(_taskiq_stream(url), journal, pause_s, at_once)


# dramatiq


def _dramatiq(url: str, journal: Journal | None, pause_s: float, attempts: int) -> tuple[Any, Any]:
    import time

    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    make: Any = RedisBroker
    broker = make(url=url, heartbeat_timeout=round(RECLAIM_S * 1000), maintenance_chance=100_000)

    def handle(number: int) -> None:
        if journal is None:
            raise AssertionError("the sender does not work")
        _end_if_poison(journal, number)
        if pause_s:
            time.sleep(pause_s)
        journal.note(f"{number:07}")

    return broker, dramatiq.actor(broker=broker, actor_name="handle", max_retries=attempts)(handle)


async def _send_dramatiq(url: str, numbers: Sequence[int]) -> None:
    def send() -> None:
        broker, actor = _dramatiq(url, None, 0, ATTEMPTS)
        for number in numbers:
            actor.send(number)
        broker.close()

    await asyncio.to_thread(send)


async def _work_dramatiq(
    journal: Journal, url: str, pause_s: float, place: int, at_once: int = AT_ONCE, attempts: int = ATTEMPTS
) -> None:
    import dramatiq

    broker, _ = _dramatiq(url, journal, pause_s, attempts)
    dramatiq.Worker(broker, worker_threads=at_once).start()
    await asyncio.Event().wait()


async def _buried_dramatiq(url: str) -> list[int]:
    """What is in the queue of its dead letters."""
    import json

    import redis.asyncio

    client = redis.asyncio.Redis.from_url(url)
    letters: Any = await client.hvals("dramatiq:default.XQ.msgs")  # type: ignore[misc]
    await client.aclose()
    return [json.loads(letter)["args"][0] for letter in letters]


PEERS = (
    QueuePeer("alacena, Worker", "", _send_ours, _work_ours, "at least once", "ours", _buried_ours),
    QueuePeer("alacena, batches", "", _send_ours, _work_ours_in_batches, "at least once", "ours", _buried_ours),
    QueuePeer("a list and LPOP", "", _send_bare, _work_bare, "at most once", "floor"),
    QueuePeer("arq", "arq", _send_arq, _work_arq, "may run twice", reclaim_s=RECLAIM_S + 10),
    QueuePeer("taskiq, ListQueue", "taskiq-redis", _send_taskiq_list, _work_taskiq_list, "no acknowledgement"),
    QueuePeer("taskiq, Stream", "taskiq-redis", _send_taskiq_stream, _work_taskiq_stream, "at least once"),
    QueuePeer("dramatiq", "dramatiq", _send_dramatiq, _work_dramatiq, "at least once", buried=_buried_dramatiq),
)
