"""Workers in virtual time: heartbeats, graceful stop, cancellation, outages; and who is parked on the roster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from alacena.coordination.coordination_context import CoordinationContext
from alacena.coordination.queues import Queues
from alacena.coordination.worker import Backoff, Worker
from alacena.engine.base.errors import BackendUnavailableError
from alacena.engine.remote.local.local_backend import LocalBackend
from tests.integration.coordination.stand import LossyStore, PlainKeys
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual

if TYPE_CHECKING:
    from alacena.coordination.item import Item


def _port(environment: VirtualEnvironment) -> CoordinationContext:
    return CoordinationContext(LossyStore(LocalBackend(environment)), PlainKeys(), environment)


def test_heartbeats_keep_the_lease_of_a_handler_that_takes_long() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        port = _port(environment)
        queue = Queues(port)("q", tenant_id="t")
        attempts = []

        async def handle(item: Item) -> None:
            attempts.append(item.attempt)
            await asyncio.sleep(1_000)

        await queue.push("slow")
        workers = [Worker(port, queue, handle, visibility_s=30) for _ in range(2)]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        await asyncio.sleep(1_100)
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)
        assert attempts == [1]
        assert (await queue.stats()).acked == 1

    run_virtual(test)


def test_a_handler_whose_lease_ended_is_cancelled() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        port = _port(environment)
        queue = Queues(port)("q", tenant_id="t")
        ended = asyncio.Event()

        async def handle(item: Item) -> None:
            try:
                await asyncio.sleep(10_000)
            finally:
                ended.set()

        await queue.push("v")
        worker = Worker(port, queue, handle, visibility_s=10, heartbeat_s=30)
        running = asyncio.create_task(worker.run())
        await asyncio.wait_for(ended.wait(), 100)
        worker.stop()
        counts = await asyncio.wait_for(running, 100)
        assert counts.lost >= 1

    run_virtual(test)


def test_a_stopped_worker_finishes_what_it_began_and_gives_back_what_takes_too_long() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        port = _port(environment)
        queue = Queues(port)("q", tenant_id="t")

        async def handle(item: Item) -> None:
            await asyncio.sleep(item.value)

        await queue.push_many([5, 1_000])
        worker = Worker(port, queue, handle, concurrency=2, grace_s=20)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(1)
        began = environment.now()
        worker.stop()
        counts = await running
        assert environment.now() - began == pytest.approx(20)
        assert counts.done == 1
        [item] = await queue.reserve()
        assert (item.value, item.attempt) == (1_000, 1)

    run_virtual(test)


def test_an_idle_worker_stops_at_once() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        port = _port(environment)
        worker = Worker(port, Queues(port)("q", tenant_id="t"), asyncio.sleep)  # type: ignore[arg-type]
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(3)
        began = environment.now()
        worker.stop()
        await running
        assert environment.now() == began

    run_virtual(test)


def test_a_worker_outlives_an_outage() -> None:
    class Flaky(LocalBackend):
        away = False

        async def script(self, *args: object, **options: object) -> object:  # type: ignore[override]
            if self.away:
                raise BackendUnavailableError("away")
            return await super().script(*args, **options)  # type: ignore[arg-type]

    async def test(environment: VirtualEnvironment) -> None:
        store = Flaky(environment)
        port = CoordinationContext(store, PlainKeys(), environment)
        queue = Queues(port)("q", tenant_id="t")
        done = []

        async def handle(item: Item) -> None:
            done.append(item.value)

        worker = Worker(port, queue, handle)
        running = asyncio.create_task(worker.run())
        store.away = True
        await asyncio.sleep(60)
        store.away = False
        await queue.push("v")
        await asyncio.sleep(10)
        worker.stop()
        counts = await running
        assert done == ["v"]
        assert 10 < counts.outages < 130

    run_virtual(test)


def test_an_idle_waiter_asks_every_few_seconds_and_not_more() -> None:
    async def test(environment: VirtualEnvironment) -> int:
        port = _port(environment)
        assert await Queues(port)("q", tenant_id="t").reserve(wait_s=600) == []
        store = port.store
        assert isinstance(store, LossyStore)
        return store.sent.count("queue_reserve")

    assert 120 <= run_virtual(test) <= 155


def test_an_idle_tenant_is_asked_less_and_less_and_then_struck_off() -> None:
    async def test(environment: VirtualEnvironment) -> None:
        port = _port(environment)
        queues = Queues(port)
        view = queues.any("q")
        await queues("q", tenant_id="t").push("v")
        [item] = await view.reserve()
        await item.ack()
        store = port.store
        assert isinstance(store, LossyStore)
        store.sent.clear()
        index = port.key("queue-ready_tenants", "system", "q")
        assert await store.call("ZCARD", index) == 1
        assert await view.reserve(wait_s=8 * 3600) == []
        assert store.sent.count("queue_reserve") <= 14
        assert await store.call("ZCARD", index) == 0
        await queues("q", tenant_id="t").push("v")
        assert len(await view.reserve()) == 1

    run_virtual(test)


def test_backoff_grows_to_its_bound() -> None:
    backoff = Backoff(first_s=1, factor=2, most_s=10)
    assert [backoff.delay_s(attempt, 1.0) for attempt in (1, 2, 3, 4, 5, 10_000)] == [1, 2, 4, 8, 10, 10]
    assert backoff.delay_s(3, 0.0) == 2
