"""Queues and plain lists as strangers use them: nobody loses an item that nobody saw, and a push says what it did."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from alacena.coordination import MSGPACK, Elements, Pushed, Queues, Unreadable, Worker
from alacena.coordination.coordination_context import CoordinationContext, Reports
from alacena.coordination.lists import Lists
from alacena.coordination.sets import Sets
from alacena.engine import Cache, ServerReplyError, Settings
from alacena.engine.base.errors import (
    BackendError,
    BackendUnavailableError,
    DecodeError,
    OutcomeUnknownError,
    UsageError,
)
from alacena.testing.doubles import RecordingObserver
from tests.integration.coordination.stand import LossyStore, port_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from alacena.coordination import Item, Queue
    from proving.servers.redis_server import RedisServer

BIG = random.Random(7).randbytes(3_000_000)


class Gate(LossyStore):
    """A store whose named scripts wait, after they were executed, until somebody opens the gate; some are refused."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.waits: set[str] = set()
        self.only = ""
        self.away: set[str] = set()
        self.lost: set[str] = set()
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def script(self, script: Any, keys: Any, args: Any, *, timeout_s: float | None = None) -> Any:
        if script.name in self.away:
            raise BackendUnavailableError(f"{script.name} finds nobody")
        reply = await super().script(script, keys, args, timeout_s=timeout_s)
        if script.name in self.waits and self.only in str(keys[0]):
            self.reached.set()
            await self.open.wait()
        if script.name in self.lost:
            raise OutcomeUnknownError(f"the reply of {script.name} was lost")
        return reply


class Reader:
    """Elements of which some versions cannot read some."""

    def __init__(self, *unknown: Any) -> None:
        self.unknown = list(unknown)
        self.elements = Elements(MSGPACK.encode, self._decode, MSGPACK.canonical)

    def _decode(self, raw: bytes) -> Any:
        value = MSGPACK.decode(raw)
        if value in self.unknown:
            raise DecodeError(f"{value!r} is of a version that is not known here")
        return value


@pytest.fixture
async def gate(cache: Cache) -> Gate:
    return Gate(port_of(cache).store)


@pytest.fixture
async def port(cache: Cache, gate: Gate) -> CoordinationContext:
    return port_of(cache, gate)


def _reading(port: CoordinationContext, reader: Reader, emit: Any = None) -> CoordinationContext:
    return CoordinationContext(port.store, port._keys, port.environment, reader.elements, Reports(emit))


async def _states(*queues: Queue) -> list[tuple[int, int, int, int]]:
    stats = [await queue.stats() for queue in queues]
    return [(stat.ready, stat.delayed, stat.in_flight, stat.dead) for stat in stats]


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("named", [True, False])
async def test_a_view_that_is_cancelled_gives_back_what_it_took(
    port: CoordinationContext, gate: Gate, named: bool, lost: bool
) -> None:
    """rq/rq 507, python-arq/arq 192: workers are cancelled at each deploy, and jobs that nobody saw were dead letters."""
    queues = Queues(port)
    own = [queues("jobs", tenant_id=tenant, max_attempts=1) for tenant in ("a", "b")]
    for queue in own:
        await queue.push("job", "j")
    view = queues.any("jobs", tenant_ids=["a", "b"] if named else None, max_attempts=1)
    gate.waits = {"queue_reserve"}
    gate.lost = {"queue_reserve"} if lost else set()
    taking = asyncio.create_task(view.reserve(2, wait_s=30))
    await gate.reached.wait()
    taking.cancel()
    gate.open.set()
    await asyncio.wait([taking])
    await queues.close()
    gate.lost.clear()
    assert await _states(*own) == [(1, 0, 0, 0), (1, 0, 0, 0)]
    assert [item.attempt for item in await view.reserve(2)] == [1, 1]


@pytest.mark.parametrize("named", [True, False])
async def test_a_view_that_is_cancelled_gives_back_what_the_first_tenant_had_brought(
    port: CoordinationContext, gate: Gate, named: bool
) -> None:
    queues = Queues(port)
    own = [queues("jobs", tenant_id=tenant, max_attempts=1) for tenant in ("first", "second")]
    for queue in own:
        await queue.push("job", "j")
    view = queues.any("jobs", tenant_ids=["first", "second"] if named else None, max_attempts=1)
    gate.waits, gate.only = {"queue_reserve"}, "second"
    taking = asyncio.create_task(view.reserve(2, wait_s=30))
    await gate.reached.wait()
    while (await _states(own[0])) != [(0, 0, 1, 0)]:
        await asyncio.sleep(0)
    taking.cancel()
    gate.open.set()
    await asyncio.wait([taking])
    await queues.close()
    assert await _states(*own) == [(1, 0, 0, 0), (1, 0, 0, 0)]
    assert [item.attempt for item in await view.reserve(2)] == [1, 1]


async def test_a_bell_that_cannot_be_put_away_costs_no_item(
    port: CoordinationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = Queues(port)
    queue = queues("jobs", tenant_id="t", max_attempts=1)

    @asynccontextmanager
    async def broken(_: str) -> AsyncIterator[Any]:
        await queue.push("v", "1")
        yield None
        raise BackendUnavailableError("away")

    monkeypatch.setattr(port.store, "listen", broken)
    with pytest.raises(BackendUnavailableError):
        await queue.reserve(wait_s=30)
    await queues.close()
    assert await _states(queue) == [(1, 0, 0, 0)]


@pytest.mark.parametrize("named", [True, False])
async def test_a_tenant_whose_queue_fails_costs_the_others_nothing(port: CoordinationContext, named: bool) -> None:
    """TkTech/chancy 93: one broken queue, and the others' jobs were in flight with nobody."""
    queues = Queues(port)
    for tenant in ("broken", "whole"):
        await queues("jobs", tenant_id=tenant, max_attempts=1).push(tenant, "j")
    ready = port.key("queue", "broken", "jobs", "ready")
    await port.call("DEL", ready)
    await port.call("SET", ready, "no list")
    view = queues.any("jobs", tenant_ids=["broken", "whole"] if named else None, max_attempts=1)
    [item] = await view.reserve(2)
    assert item.value == "whole"
    await item.ack()
    if named:
        with pytest.raises(BackendError, match="WRONGTYPE"):
            await view.reserve(2)


async def test_a_lost_reply_burns_no_attempt(port: CoordinationContext, gate: Gate) -> None:
    """redis/redis 3893: a reply that is cut off again and again; its jobs were dead without a delivery."""
    queues = Queues(port)
    queue = queues("jobs", tenant_id="t", max_attempts=1)
    await queue.push_many(["one", "two"], ids=["1", "2"])
    for _ in range(3):
        gate.lose["queue_reserve"] = 3
        with pytest.raises(OutcomeUnknownError):
            await queue.reserve(2)
        await queues.close()
    assert [(item.id, item.attempt) for item in await queue.reserve(2)] == [("1", 1), ("2", 1)]


async def test_a_reservation_under_a_token_of_ones_own_is_still_had_after_lost_replies(
    port: CoordinationContext, gate: Gate
) -> None:
    queues = Queues(port)
    queue = queues("jobs", tenant_id="t")
    await queue.push("one", "1")
    gate.lose["queue_reserve"] = 3
    with pytest.raises(OutcomeUnknownError):
        await queue.reserve(token="mine")
    await queues.close()
    assert [item.id for item in await queue.reserve(token="mine")] == ["1"]


async def test_a_batch_is_bounded_by_bytes(open_cache: Callable[..., Awaitable[Cache]]) -> None:
    """redis/redis 3893: forty jobs of megabytes do not fit into one reply; they come in several."""
    cache = await open_cache(max_value_bytes=1 << 24)
    queue = cache.queues("big", tenant_id="t")
    await queue.push_many([BIG] * 5, ids=list(range(5)))
    first = await queue.reserve(40)
    assert [item.id for item in first] == ["0", "1"]
    assert [item.id for item in await queue.reserve(40)] == ["2", "3"]
    for item in first:
        await item.nack(reason="no")
    huge = cache.queues("huge", tenant_id="t", max_attempts=1)
    await huge.push_many([BIG * 3, "small"], ids=["huge", "small"])
    for expected in ("huge", "small"):
        [item] = await huge.reserve(40)
        assert item.id == expected
        await item.nack(reason="no")
    assert [letter.id for letter in await huge.dead()] == ["huge", "small"]


async def test_a_push_says_what_became_of_it(cache: Cache) -> None:
    """OptimalBits/bull 2390 and 1810, taskforcesh/bullmq 2155: the same id again, and nobody can tell what happened."""
    queue = cache.queues("jobs", tenant_id="t", max_attempts=1)
    first = await queue.push({"v": 1}, id="job-1")
    assert (first, first.outcome, first.is_new) == ("job-1", "taken", True)
    again = await queue.push({"v": 2}, id="job-1")
    assert (again.outcome, again.is_new) == ("known", False)
    [item] = await queue.reserve()
    await item.nack(reason="bad file")
    assert (await queue.push({"v": 3}, id="job-1", if_dead="keep")).outcome == "dead"
    assert [letter.value for letter in await queue.dead()] == [{"v": 1}]
    assert (await queue.push({"v": 4}, id="job-1")).outcome == "revived"
    [item] = await queue.reserve()
    assert (item.value, item.attempt) == ({"v": 4}, 1)
    await item.ack()
    assert (await queue.push({"v": 5}, id="job-1")).outcome == "settled"
    stats = await queue.stats()
    assert (stats.pushed, stats.acked, stats.depth, stats.dead) == (1, 1, 0, 0)
    outcomes = [pushed.outcome for pushed in await queue.push_many(["a", "b"], ids=["job-1", "job-2"])]
    assert outcomes == ["settled", "taken"]
    with pytest.raises(ValueError, match="if_dead"):
        await queue.push("v", "job-3", if_dead="forget")  # type: ignore[arg-type]


async def test_a_push_whose_reply_was_lost_says_what_the_first_one_did(port: CoordinationContext, gate: Gate) -> None:
    queue = Queues(port)("jobs", tenant_id="t", max_attempts=1)
    gate.lose["queue_push"] = 2
    assert (await queue.push("v", "1")).outcome == "taken"
    [item] = await queue.reserve()
    await item.nack()
    gate.lose["queue_push"] = 2
    assert (await queue.push("w", "1")).outcome == "revived"
    assert (await queue.push("x", "1")).outcome == "known"


async def test_ids_are_text_numbers_or_uuids(cache: Cache) -> None:
    queue = cache.queues("jobs", tenant_id="t", max_attempts=1)
    uuid = UUID(int=7)
    assert await queue.push("v", 7) == "7"
    assert (await queue.push("v", "7")).outcome == "known"
    assert await queue.push("w", uuid) == str(uuid)
    for item in await queue.reserve(2):
        await item.nack()
    assert await queue.replay([7]) == 1
    assert await queue.discard([uuid]) == 1
    assert isinstance(await queue.push("w", uuid), Pushed)


async def test_one_where_several_may_stand_is_taken_as_one(cache: Cache) -> None:
    """One job was passed where a list was meant, and the letters of its id were taken for ids of jobs."""
    queue = cache.queues("jobs", tenant_id="t", max_attempts=1)
    for name in ("job-1", "job-2", "job-3", "job-4"):
        await queue.push("v", name)
    one, two, three, four = await queue.reserve(4)
    assert await queue.extend(one, 30.0) == []
    assert await queue.ack(one) == []
    assert await queue.ack(item for item in (two,)) == []
    await three.nack()
    await four.nack()
    assert await queue.replay("job-3") == 1
    assert await queue.discard("job-4") == 1
    assert await _states(queue) == [(1, 0, 0, 0)]


async def test_the_id_that_a_push_gives_is_used_and_stored_as_text(cache: Cache) -> None:
    pushed = await cache.queues("jobs", tenant_id="t").push("v", "job-1")
    assert await cache.set("job", pushed, {"id": pushed}, "t")
    stored = await cache.get("job", "job-1", "t", use_memory=False)
    assert stored == {"id": "job-1"}
    assert type(stored["id"]) is str
    assert (await cache.queues("more", tenant_id="t").push({"parent": pushed}, pushed)) == "job-1"


async def test_a_replayed_dead_letter_is_worked_on_and_may_die_again(cache: Cache) -> None:
    queue = cache.queues("jobs", tenant_id="t", max_attempts=2)
    await queue.push("v", "1")
    for _ in range(3):
        for attempt in (1, 2):
            [item] = await queue.reserve()
            assert item.attempt == attempt
            await item.nack(reason="boom")
        assert await queue.replay(["1"]) == 1
    [item] = await queue.reserve()
    await item.ack()


async def test_a_push_whose_announcement_fails_makes_no_second_job(port: CoordinationContext, gate: Gate) -> None:
    queues = Queues(port)
    queue = queues("jobs", tenant_id="t")
    await queue.push("zero")
    for item in await queues.any("jobs").reserve(5):
        await item.ack()
    gate.away = {"ready_tenants_announce"}
    pushed = await queue.push_many(["one", "two"])
    assert [one.outcome for one in pushed] == ["taken", "taken"]
    await queues.close()
    gate.away.clear()
    assert [item.value for item in await queue.reserve(5)] == ["one", "two"]


async def test_what_cannot_be_read_waits_for_somebody_who_can(
    port: CoordinationContext, caplog: pytest.LogCaptureFixture
) -> None:
    """python-arq/arq 384, rq/rq PR 1428: a rolling deploy, and the old workers killed the new version's jobs."""
    seen = RecordingObserver()
    old = Queues(_reading(port, Reader("new"), seen.observe))("jobs", tenant_id="t")
    new = Queues(port)("jobs", tenant_id="t")
    await new.push_many(["new", "old"], ids=["n", "o"])
    with caplog.at_level(logging.WARNING, "alacena"):
        assert [item.value for item in await old.reserve(5)] == ["old"]
    assert await _states(new) == [(0, 1, 1, 0)]
    [record] = caplog.records
    assert "'n'" in record.getMessage()
    assert "register its class" in record.getMessage()
    [event] = seen.events
    assert (event.queue, event.item_id, event.attempt) == ("jobs", "n", 1)  # type: ignore[attr-defined]
    [item] = await new.reserve(wait_s=10)
    assert (item.value, item.attempt) == ("new", 2)


async def test_what_nobody_can_read_dies_at_last_and_is_replayed_once_it_can_be(port: CoordinationContext) -> None:
    reader = Reader("new")
    queue = Queues(_reading(port, reader))("jobs", tenant_id="t", max_attempts=1)
    await queue.push("new", "n")
    assert await queue.reserve() == []
    [letter] = await queue.dead()
    assert (letter.value, letter.raw) == (None, MSGPACK.encode("new"))
    assert "not known here" in letter.reason
    reader.unknown.clear()
    assert [letter.value for letter in await queue.dead()] == ["new"]
    assert await queue.replay() == 1
    assert [item.value for item in await queue.reserve()] == ["new"]


async def test_a_worker_counts_what_it_cannot_read(port: CoordinationContext) -> None:
    queue = Queues(_reading(port, Reader("new")))("jobs", tenant_id="t")
    done = asyncio.Event()
    await queue.push_many(["new", "old"])
    worker = Worker(port, queue, lambda item: done.set())
    running = asyncio.create_task(worker.run())
    await done.wait()
    worker.stop()
    counts = await running
    assert (counts.unreadable, counts.done) == (1, 1)


async def test_a_plain_function_is_a_handler(port: CoordinationContext) -> None:
    """A handler that is not async was called, and its item delivered until it was dead."""
    queue = Queues(port)("jobs", tenant_id="t", max_attempts=2)
    await queue.push_many([1, 2], ids=["fails", "works"])
    seen: Counter[str] = Counter()
    ended = asyncio.Event()

    def handle(item: Item) -> None:
        seen[item.id] += 1
        if item.id == "fails":
            raise RuntimeError("\ud800")
        ended.set()

    worker = Worker(port, queue, handle)
    running = asyncio.create_task(worker.run())
    await ended.wait()
    worker.stop()
    counts = await running
    assert (counts.done, counts.failed) == (1, 1)
    assert seen == {"fails": 1, "works": 1}
    assert await _states(queue) == [(0, 1, 0, 0)]
    with pytest.raises(UsageError, match="callable"):
        Worker(port, queue, "handle")  # type: ignore[arg-type]


async def test_an_error_that_cannot_be_printed_gives_its_item_back(port: CoordinationContext) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise TypeError("no words")

    async def handle(item: Item) -> None:
        raised.set()
        raise Mute

    raised = asyncio.Event()
    queue = Queues(port)("jobs", tenant_id="t", max_attempts=1)
    await queue.push("v", "1")
    worker = Worker(port, queue, handle)
    running = asyncio.create_task(worker.run())
    await raised.wait()
    worker.stop()
    counts = await running
    assert counts.failed == 1
    [letter] = await queue.dead()
    assert letter.reason == "Mute: a Mute that cannot be shown"


async def test_no_reason_keeps_an_item_from_being_given_back(cache: Cache) -> None:
    """The text of a failure is anybody's: it may be no UTF-8, or as long as a book, and memory took what the server refused."""
    queue = cache.queues("ingestion", tenant_id="acme", max_attempts=1)
    for number, reason in enumerate(("half an emoji: \ud83d", "x" * 100_000, ValueError("no text"))):
        await queue.push(number, id=str(number))
        (item,) = await queue.reserve()
        await item.nack(reason=reason)  # type: ignore[arg-type]
    reasons = [letter.reason for letter in await queue.dead()]
    assert reasons == ["half an emoji: \\ud83d", "x" * 1_000, "no text"]


async def test_a_bookkeeping_error_gives_its_item_back(
    port: CoordinationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = Queues(port)
    queue = queues("jobs", tenant_id="t", max_attempts=1)
    await queue.push("v", "1")
    handled = asyncio.Event()
    worker = Worker(port, queue, lambda item: handled.set())

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker, "_settle", broken)
    running = asyncio.create_task(worker.run())
    await handled.wait()
    worker.stop()
    await running
    await queues.close()
    assert await _states(queue) == [(1, 0, 0, 0)]


async def test_a_list_loses_nothing_that_cannot_be_read(port: CoordinationContext) -> None:
    """python-arq/arq 384: lpop took the element and raised; lrange failed for all because of one."""
    reader = Reader("new")
    lists, sets = Lists(_reading(port, reader)), Sets(_reading(port, reader))
    await lists.rpush("l", "new", "old", tenant_id="t")
    with pytest.raises(DecodeError, match="first element of list 'l'") as refused:
        await lists.lpop("l", tenant_id="t")
    raw = MSGPACK.encode("new")
    assert refused.value.raw == raw
    assert await lists.llen("l", tenant_id="t") == 2
    unreadable, old = await lists.lrange("l", tenant_id="t")
    assert unreadable == Unreadable(0, "'new' is of a version that is not known here", raw)
    assert old == "old"
    assert await lists.lpop("l", tenant_id="t", raw=True) == raw
    assert await lists.lpop("l", tenant_id="t") == "old"
    await sets.add("s", "new", "old", tenant_id="t")
    members = await sets.members("s", tenant_id="t")
    assert "old" in members
    assert [member.raw for member in members if isinstance(member, Unreadable)] == [raw]


async def test_what_takes_work_out_goes_on_while_the_server_is_full(start_redis: Callable[..., RedisServer]) -> None:
    """redis/redis 9926, 8623: `noeviction` and no room: workers must be able to drain the queue, or it stays full."""
    server = start_redis(maxmemory_bytes=30_000_000)
    async with Cache(Settings(redis_url=server.url)) as cache:
        queue = cache.queues("q", tenant_id="acme")
        await queue.push_many(range(3), ids=["a", "b", "c"])
        first, second = await queue.reserve(max_items=2, visibility_s=60)
        lock = await cache.locks.take("l", tenant_id="acme", ttl_s=60)
        reservation = await cache.budgets("b", tenant_id="acme", limit=1000).reserve(100)
        server.call("CONFIG", "SET", "maxmemory", "1")
        await first.extend(60)
        assert await cache.locks.renew("l", tenant_id="acme", token=lock.token, ttl_s=120)
        await first.ack()
        await second.nack()
        third, again = await queue.reserve(max_items=2, visibility_s=60)
        assert [third.id, again.id] == ["c", "b"]
        await third.ack()
        await reservation.commit(50)
        for _ in range(2):
            with pytest.raises(ServerReplyError, match="OOM"):
                await queue.push("more", id="d")
        await lock.release()
        server.call("CONFIG", "SET", "maxmemory", "30000000")
        await queue.push("more", id="d")
        stats = await queue.stats()
        assert (stats.acked, stats.ready, stats.in_flight) == (2, 1, 1)
