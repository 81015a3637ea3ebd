"""Queues on both stores."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from alacena.coordination.coordination_context import CoordinationContext
from alacena.coordination.element_codec import MSGPACK, Elements
from alacena.coordination.queues import Queues
from alacena.coordination.worker import Backoff, Worker
from alacena.engine.base.environment import SystemEnvironment
from alacena.engine.base.errors import DecodeError, EncodeError, InvalidKeyError, NotOwnerError
from tests.integration.coordination.stand import LossyStore, PlainKeys
from tests.waiting import DEADLINE_S, until

if TYPE_CHECKING:
    from alacena.coordination.item import DeadLetter, Item, QueueStats
    from alacena.coordination.queue import Queue


@pytest.fixture
def queue(port: CoordinationContext) -> Queue:
    return Queues(port, fair=False)("q", tenant_id="t", max_attempts=3)


async def _law(queue: Queue) -> QueueStats:
    stats = await queue.stats()
    assert stats.pushed == stats.ready + stats.delayed + stats.in_flight + stats.dead + stats.acked
    return stats


async def test_an_item_goes_from_ready_to_in_flight_to_settled(queue: Queue) -> None:
    item_id = await queue.push({"job": 1})
    assert (await _law(queue)).ready == 1
    [item] = await queue.reserve()
    assert (item.id, item.value, item.attempt, item.tenant_id) == (item_id, {"job": 1}, 1, "t")
    assert (await _law(queue)).in_flight == 1
    assert await queue.reserve() == []
    await item.ack()
    stats = await _law(queue)
    assert (stats.acked, stats.depth) == (1, 0)
    assert stats.throughput_per_s > 0


async def test_items_come_in_the_order_in_which_they_were_pushed(queue: Queue) -> None:
    await queue.push_many(range(1_200))
    values = []
    while items := await queue.reserve(100):
        values += [item.value for item in items]
        assert await queue.ack(items) == []
    assert values == list(range(1_200))


async def test_the_same_id_is_taken_in_once_even_after_it_was_settled(queue: Queue) -> None:
    for _ in range(3):
        assert await queue.push("v", "order-7") == "order-7"
    [item] = await queue.reserve(10)
    await queue.push("v", "order-7")
    await item.ack()
    await queue.push("v", "order-7")
    assert await queue.reserve(10) == []
    assert (await _law(queue)).pushed == 1


async def test_lost_replies_neither_lose_nor_double_an_item(queue: Queue, store: LossyStore) -> None:
    store.lose = {"queue_push": 2, "queue_reserve": 2, "queue_ack": 2, "queue_nack": 2, "queue_extend": 2}
    await queue.push("v")
    [item] = await queue.reserve(5)
    await item.extend(30)
    await item.nack(reason="again")
    [again] = await queue.reserve(5)
    assert again.attempt == 2
    await again.ack()
    await again.ack()
    assert (await _law(queue)).acked == 1


async def test_the_same_token_gets_the_same_items_for_as_long_as_it_holds_any(queue: Queue) -> None:
    await queue.push_many(range(4))
    first = await queue.reserve(2, token="k")
    again = await queue.reserve(2, token="k")
    assert [(i.id, i.slot, i.attempt) for i in again] == [(i.id, i.slot, i.attempt) for i in first]
    await first[0].ack()
    assert [item.value for item in await queue.reserve(2, token="k")] == [1]
    await first[1].ack()
    assert [item.value for item in await queue.reserve(2, token="k")] == [2, 3]


async def test_an_item_whose_lease_ended_is_delivered_again_and_its_old_holder_is_refused(queue: Queue) -> None:
    await queue.push("v")
    [zombie] = await queue.reserve(visibility_s=0.02)
    [item] = await queue.reserve(wait_s=60, visibility_s=30)
    assert item.attempt == 2
    for verb in (zombie.ack(), zombie.extend(5), zombie.nack()):
        with pytest.raises(NotOwnerError):
            await verb
    await item.ack()


async def test_an_expired_lease_is_refused_even_before_anybody_else_has_the_item(queue: Queue) -> None:
    await queue.push("v")
    [item] = await queue.reserve(visibility_s=0.01)

    async def refused() -> bool:
        return await queue.extend([item], 0.005) == [item]

    await until(refused)
    with pytest.raises(NotOwnerError):
        await item.ack()
    assert (await _law(queue)).acked == 0


async def test_an_extended_lease_holds(queue: Queue) -> None:
    await queue.push_many(["extended", "left alone"])
    extended, _ = await queue.reserve(2, visibility_s=0.5)
    await extended.extend(60)
    assert [item.value for item in await queue.reserve(2, wait_s=60)] == ["left alone"]
    await extended.ack()


async def test_the_last_attempt_leads_to_the_dead_letters_with_its_reason(queue: Queue) -> None:
    await queue.push({"poison": True}, "p")
    for attempt in (1, 2, 3):
        [item] = await queue.reserve()
        assert item.attempt == attempt
        await item.nack(reason=f"boom {attempt}")
        await _law(queue)
    assert await queue.reserve() == []
    [letter] = await queue.dead()
    assert (letter.id, letter.value, letter.attempts, letter.reason) == ("p", {"poison": True}, 3, "boom 3")
    assert await queue.replay(["p"]) == 1
    [item] = await queue.reserve()
    assert item.attempt == 1
    await item.ack()
    assert (await _law(queue)).acked == 1


async def _dead_letter(queue: Queue) -> DeadLetter:
    """Returns the one dead letter of a queue, as soon as the last lease has run out."""

    async def is_dead() -> bool:
        await queue.reserve()
        return (await _law(queue)).dead == 1

    await until(is_dead)
    [letter] = await queue.dead()
    return letter


async def test_a_worker_that_dies_each_time_leads_to_the_dead_letters_too(queue: Queue) -> None:
    await queue.push("v")
    for _ in range(3):
        assert await queue.reserve(wait_s=60, visibility_s=0.01)
    assert (await _dead_letter(queue)).reason == "the lease ran out on the last attempt"


async def test_a_letter_of_a_worker_that_died_names_what_an_earlier_attempt_said_besides(queue: Queue) -> None:
    await queue.push("v")
    [item] = await queue.reserve()
    await item.nack(reason="busy")
    for _ in range(2):
        assert await queue.reserve(wait_s=60, visibility_s=0.01)
    assert (await _dead_letter(queue)).reason == "the lease ran out on the last attempt; an earlier one: busy"


async def test_dead_letters_are_discarded_or_replayed_all_together(queue: Queue) -> None:
    await queue.push_many(range(5))
    for _ in range(3):
        for item in await queue.reserve(10):
            await item.nack()
    assert (await _law(queue)).dead == 5
    some = [letter.id for letter in await queue.dead(2)]
    assert await queue.discard(some) == 2
    assert await queue.replay() == 3
    stats = await _law(queue)
    assert (stats.ready, stats.dead, stats.acked, stats.discarded) == (3, 0, 2, 2)


async def test_delayed_and_scheduled_items_come_when_they_are_due(queue: Queue) -> None:
    await queue.push("in a minute", delay_s=60)
    await queue.push("past", at=datetime(2020, 1, 1, tzinfo=UTC))
    await queue.push("far", at=4_000_000_000)
    assert [item.value for item in await queue.reserve(5)] == ["past"]
    assert (await _law(queue)).delayed == 2
    await queue.push("soon", delay_s=0.06)
    assert [item.value for item in await queue.reserve(5, wait_s=60)] == ["soon"]
    assert await queue.reserve(5) == []


async def test_a_given_back_item_waits_for_its_delay(queue: Queue) -> None:
    await queue.push_many(["soon", "in a minute"])
    soon, later = await queue.reserve(2)
    await later.nack(60)
    assert await queue.reserve() == []
    await soon.nack(0.05)
    assert [(again.value, again.attempt) for again in await queue.reserve(2, wait_s=60)] == [("soon", 2)]


async def test_a_waiting_reserve_is_woken_by_a_push(queue: Queue, store: LossyStore) -> None:
    waiting = asyncio.create_task(queue.reserve(wait_s=60))

    async def listens() -> bool:
        return "SUBSCRIBE" in store.sent and store.sent.count("queue_reserve") == 2

    await until(listens)
    await queue.push("v")
    [item] = await asyncio.wait_for(waiting, DEADLINE_S)
    assert item.value == "v"
    assert store.sent.count("queue_reserve") == 3


async def test_a_cancelled_reserve_gives_back_what_it_took_without_counting_the_attempt(
    port: CoordinationContext,
) -> None:
    queues = Queues(port, fair=False)
    queue = queues("q", tenant_id="t")
    await queue.push("v")
    for _ in range(3):
        reserving = asyncio.create_task(queue.reserve())
        await asyncio.sleep(0)
        reserving.cancel()
        await asyncio.wait([reserving])
        await queues.close()
    [item] = await queue.reserve()
    assert item.attempt == 1


async def test_an_item_that_cannot_be_read_is_put_off_and_holds_nobody_up(store: LossyStore) -> None:
    def decode(raw: bytes) -> Any:
        value = MSGPACK.decode(raw)
        if value == "bad":
            raise DecodeError("of an unknown version")
        return value

    port = CoordinationContext(
        store, PlainKeys(), SystemEnvironment(), Elements(MSGPACK.encode, decode, MSGPACK.canonical)
    )
    queue = Queues(port, fair=False)("q", tenant_id="t")
    await queue.push_many(["bad", "good"])
    assert [item.value for item in await queue.reserve(5)] == ["good"]
    stats = await _law(queue)
    assert (stats.delayed, stats.in_flight, stats.dead) == (1, 1, 0)


async def test_bad_input_is_refused_before_anything_is_sent(queue: Queue, store: LossyStore) -> None:
    with pytest.raises(EncodeError):
        await queue.push(object())
    for name in ("", " ", "~x", "x" * 513, 7.5, True):
        with pytest.raises(InvalidKeyError):
            await queue.push("v", name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="aware"):
        await queue.push("v", at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="not both"):
        await queue.push("v", at=1, delay_s=1)
    for max_items in (0, 1001):
        with pytest.raises(ValueError, match="max_items"):
            await queue.reserve(max_items)
    with pytest.raises(ValueError, match="ids names 1 items and there are 2 values"):
        await queue.push_many([1, 2], ids=["a"])
    assert store.sent == []


async def test_a_verb_takes_one_round_trip(queue: Queue, store: LossyStore) -> None:
    await queue.push_many(range(10))
    items = await queue.reserve(10)
    await queue.extend(items, 60)
    await queue.ack(items)
    await queue.stats()
    assert store.sent == ["queue_push", "queue_reserve", "queue_extend", "queue_ack", "queue_stats"]


async def test_tenants_are_served_in_turn_whatever_the_length_of_their_queues(port: CoordinationContext) -> None:
    queues = Queues(port)
    for tenant, count in (("big", 300), ("small", 3), ("tiny", 1)):
        await queues("q", tenant_id=tenant).push_many(range(count))
    served: list[str] = []
    view = queues.any("q")
    while items := await view.reserve():
        served += [item.tenant_id for item in items]
        await items[0].ack()
    assert Counter(served) == {"big": 300, "small": 3, "tiny": 1}
    assert set(served[:3]) == {"big", "small", "tiny"}
    assert max(at for at, tenant in enumerate(served) if tenant == "small") <= 8


async def test_a_tenant_that_comes_back_is_served_again_at_once(port: CoordinationContext) -> None:
    queues = Queues(port)
    view = queues.any("q")
    for round_number in range(3):
        await queues("q", tenant_id="t").push(round_number)
        [item] = await view.reserve(wait_s=60)
        await item.ack()
        assert await view.reserve() == []


async def test_a_view_of_all_tenants_waits_for_the_first_push_and_for_delays(port: CoordinationContext) -> None:
    queues = Queues(port)
    waiting = asyncio.create_task(queues.any("q").reserve(wait_s=30))
    await asyncio.sleep(0)
    await queues("q", tenant_id="late").push("v", delay_s=0.05)
    [item] = await asyncio.wait_for(waiting, DEADLINE_S)
    assert item.tenant_id == "late"


async def test_named_tenants_are_served_in_turn(port: CoordinationContext) -> None:
    queues = Queues(port)
    await queues("q", tenant_id="a").push_many(range(4))
    await queues("q", tenant_id="b").push_many(range(2))
    await queues("q", tenant_id="c").push_many(range(2))
    view = queues.any("q", tenant_ids=["a", "b"])
    served = [(await view.reserve())[0].tenant_id for _ in range(6)]
    assert served == ["a", "b", "a", "b", "a", "a"]
    assert await view.reserve(2) == []
    assert await queues.reserve_any("q", tenant_ids=["c"], max_items=5)


async def test_a_worker_handles_retries_and_buries(port: CoordinationContext) -> None:
    queues = Queues(port)
    queue = queues("q", tenant_id="t", max_attempts=3)
    tries: Counter[int] = Counter()

    async def handle(item: Item) -> None:
        tries[item.value] += 1
        if item.value == 13 or (item.value % 5 == 0 and item.attempt == 1):
            raise RuntimeError(f"no {item.value}")

    worker = Worker(port, queue, handle, concurrency=4, backoff=Backoff(first_s=0.001))
    running = asyncio.create_task(worker.run())
    await queue.push_many(range(50))

    async def settled() -> bool:
        stats = await _law(queue)
        return stats.acked == 49 and stats.dead == 1

    await until(settled)
    worker.stop()
    counts = await asyncio.wait_for(running, DEADLINE_S)
    assert counts.done == 49
    assert tries[13] == 3
    assert all(tries[value] == (2 if value % 5 == 0 else 1) for value in range(50) if value != 13)
    [letter] = await queue.dead()
    assert letter.reason == "RuntimeError: no 13"


async def test_workers_over_all_tenants_lose_nothing_when_replies_are_lost(
    port: CoordinationContext, store: LossyStore
) -> None:
    queues = Queues(port)
    seen: Counter[str] = Counter()

    async def handle(item: Item) -> None:
        seen[f"{item.tenant_id}{item.value}"] += 1

    workers = [Worker(port, queues.any("q"), handle, concurrency=3) for _ in range(3)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    for number in range(40):
        for name in (
            "queue_push",
            "queue_reserve",
            "queue_ack",
            "ready_tenants_turns",
            "ready_tenants_announce",
            "ready_tenants_park",
        ):
            store.lose[name] = number % 2
        await queues("q", tenant_id="abc"[number % 3]).push(number)

    async def settled() -> bool:
        stats = [await _law(queues("q", tenant_id=tenant)) for tenant in "abc"]
        return sum(stat.acked for stat in stats) == 40

    await until(settled)
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)
    assert set(seen.values()) == {1}
    assert len(seen) == 40
