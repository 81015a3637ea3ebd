"""Who is parked comes back the moment that there is work, even where the reply that says so was lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alacena.coordination.coordination_context import CoordinationContext
from alacena.coordination.queues import Queues
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.ledger.ledger import Ledger
from alacena.ledger.relay import Relay
from tests.integration.coordination.stand import LossyStore, PlainKeys
from tests.unit.coordination.virtual import VirtualEnvironment, run_virtual

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.ledger.usage import Usage


def test_a_parked_tenant_whose_push_lost_its_reply_is_served_at_once() -> None:
    async def test(environment: VirtualEnvironment) -> float:
        store = LossyStore(LocalBackend(environment))
        queues = Queues(CoordinationContext(store, PlainKeys(), environment))
        view = queues.any("q")
        await queues("q", tenant_id="t").push("first")
        [item] = await view.reserve()
        await item.ack()
        assert await view.reserve() == []
        store.lose["queue_push"] = 1
        began = environment.now()
        waiting = asyncio.create_task(view.reserve(wait_s=600))
        await asyncio.sleep(1)
        await queues("q", tenant_id="t").push("second")
        assert [item.value for item in await waiting] == ["second"]
        return environment.now() - began

    assert run_virtual(test) <= 1.1


def test_an_idle_relay_carries_a_record_at_once() -> None:
    class Book:
        def __init__(self) -> None:
            self.arrived: list[float] = []

        async def absorb(self, usages: Sequence[Usage]) -> list[Usage]:
            self.arrived += [asyncio.get_running_loop().time()] * len(usages)
            return []

    async def test(environment: VirtualEnvironment) -> None:
        store = LossyStore(LocalBackend(environment))
        port = CoordinationContext(store, PlainKeys(), environment)
        book = Book()
        ledger = Ledger(port, outbox=True)
        relay = Relay(port, ledger, book)
        running = asyncio.create_task(relay.run())
        sent = []
        for lost in (0, 0, 1, 2):
            await asyncio.sleep(100)
            store.lose["ledger_record"] = lost
            sent.append(environment.now())
            await ledger.record("t", 5, model="m")
        await asyncio.sleep(1)
        relay.stop()
        counts = await running
        assert counts.carried == 4
        assert all(arrived - began < 0.1 for began, arrived in zip(sent, book.arrived, strict=True))

    run_virtual(test)
