"""Workers as operators meet them: what goes wrong is said, once, and a worker that is stopped ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from alacena.coordination.coordination_context import CoordinationContext, Reports
from alacena.coordination.queues import Queues
from alacena.coordination.worker import Backoff, Worker
from alacena.engine.base.errors import BackendUnavailableError, ServerReplyError, UnsafeServerError
from alacena.engine.base.health import Health
from alacena.engine.remote.local.local_backend import LocalBackend
from tests.integration.coordination.stand import PlainKeys
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from alacena.coordination.item import Item
    from alacena.engine import Cache


def _port(environment: VirtualEnvironment, store: LocalBackend | None = None, **reports: Any) -> CoordinationContext:
    store = store or LocalBackend(environment)
    return CoordinationContext(store, PlainKeys(), environment, reports=Reports(**reports))


async def _nothing(item: Item) -> None:
    del item


def test_a_worker_whose_queue_cannot_be_asked_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """OptimalBits/bull 1822: a worker took nothing any more, for hours, and nothing said why."""

    class Refusing(LocalBackend):
        error: Exception | None = UnsafeServerError("maxmemory-policy is allkeys-lru")

        async def script(self, *args: Any, **options: Any) -> Any:
            if self.error is not None:
                raise self.error
            return await super().script(*args, **options)

    async def test(environment: VirtualEnvironment) -> None:
        store, health = Refusing(environment), Health()
        port = _port(environment, store, health=health)
        worker = Worker(port, Queues(port)("jobs", tenant_id="acme"), _nothing)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(600)
        assert list(health.faults()) == ["worker"]
        store.error = ServerReplyError("WRONGTYPE Operation against a key")
        await asyncio.sleep(600)
        store.error = None
        await asyncio.sleep(60)
        assert health.faults() == {}
        worker.stop()
        await running

    run_virtual(test)
    first, second, over = (record.getMessage() for record in caplog.records)
    assert first.startswith(
        "a worker of queue 'jobs' of tenant 'acme' takes no items: UnsafeServerError: maxmemory-policy"
    )
    assert "WRONGTYPE" in second
    assert "that is over" in over


def test_a_worker_whose_server_is_away_adds_no_line_to_that_of_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """flapjack/flapjack 886, redis/redis 575: an outage is one line, and not one more for each part that waits for it."""

    class Away(LocalBackend):
        async def script(self, *_: Any, **__: Any) -> Any:
            raise BackendUnavailableError("not connected")

    async def test(environment: VirtualEnvironment) -> None:
        port = _port(environment, Away(environment))
        worker = Worker(port, Queues(port)("jobs", tenant_id="acme"), _nothing)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(60)
        worker.stop()
        assert (await running).outages > 10

    run_virtual(test)
    assert caplog.records == []


async def test_a_job_that_failed_for_good_is_in_the_log_with_its_reason(
    open_cache: Callable[..., Awaitable[Cache]], caplog: pytest.LogCaptureFixture
) -> None:
    """rq/rq 834, docling-project/docling-serve 518: failed jobs piled up for a year before anybody looked."""
    cache = await open_cache()
    queue = cache.queues("jobs", tenant_id="acme", max_attempts=2)
    failed = asyncio.Event()

    async def fail(item: Item) -> None:
        if item.attempt == 2:
            failed.set()
        raise ValueError("no such model")

    await queue.push_many(["a", "b"], ids=["a", "b"])
    worker = cache.queues.worker(queue, fail, backoff=Backoff(first_s=0.001), concurrency=1)
    running = asyncio.create_task(worker.run())
    await failed.wait()
    worker.stop()
    await running
    for item in await queue.reserve(2):
        await item.nack(reason="the same")
    lines = [record.getMessage() for record in caplog.records if "dead letter" in record.getMessage()]
    assert len(lines) == 1  # one of a kind: the next thousand are in the queue, and not in the log
    assert "of queue 'jobs' of tenant 'acme'" in lines[0]
    assert "ValueError: no such model" in lines[0]


def test_work_that_may_be_done_twice_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """OptimalBits/bull 308 and taskforcesh/bullmq 3183: a handler held the event loop, and its job went to another worker."""

    async def test(environment: VirtualEnvironment) -> None:
        port = _port(environment)
        queue = Queues(port)("jobs", tenant_id="acme")

        async def hold_the_loop(item: Item) -> None:
            # No heartbeat meanwhile, as if this blocked the loop.
            await asyncio.sleep(100)
            [again] = await queue.reserve()
            assert again.id == item.id

        await queue.push("a", id="a")
        worker = Worker(port, queue, hold_the_loop, concurrency=1, visibility_s=10, heartbeat_s=10_000)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(150)
        worker.stop()
        assert (await running).lost == 1

    run_virtual(test)
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("item 'a' of queue 'jobs': its lease ended while its handler ran")


def test_a_stopped_worker_ends_though_a_handler_swallows_its_cancellation(caplog: pytest.LogCaptureFixture) -> None:
    """TkTech/chancy 93, tobymao/saq PR 269: a deploy waits for a job that does not end, until the process is killed."""

    async def test(environment: VirtualEnvironment) -> None:
        port = _port(environment)
        queue = Queues(port)("jobs", tenant_id="acme")
        let_go = asyncio.Event()

        async def hold_on(item: Item) -> None:
            del item
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue

        await queue.push("a", id="a")
        worker = Worker(port, queue, hold_on, grace_s=10)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(1)
        worker.stop()
        await asyncio.wait_for(running, 60)
        [again] = await queue.reserve()
        assert (again.id, again.attempt) == ("a", 1)
        let_go.set()
        await asyncio.sleep(1)

    run_virtual(test)
    assert "the handler of item 'a' does not end though it was cancelled" in caplog.text


def test_a_letter_says_why_the_last_attempt_failed_and_not_the_one_before() -> None:
    """taskiq-python/taskiq-aio-pika 35: an item that kills its worker looked as if it had failed for an older reason."""

    async def test(environment: VirtualEnvironment) -> None:
        queue = Queues(_port(environment))("jobs", tenant_id="acme", max_attempts=2)
        await queue.push("poison", id="p")
        [item] = await queue.reserve()
        await item.nack(reason="the parser was busy")
        await queue.reserve(visibility_s=10)  # and this process is killed
        await asyncio.sleep(11)
        assert await queue.reserve() == []
        [letter] = await queue.dead()
        assert letter.reason == "the lease ran out on the last attempt; an earlier one: the parser was busy"

    run_virtual(test)
