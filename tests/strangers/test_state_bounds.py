"""What has ended is forgotten: on a server that must not evict, and in a process without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alacena.coordination import Budgets, CoordinationContext, Counters, Limits, Locks, Queues
from alacena.engine.remote.local.local_backend import LocalBackend
from alacena.testing.doubles import FakeEnvironment
from tests.integration.coordination.stand import PlainKeys, port_of

if TYPE_CHECKING:
    from alacena.engine import Cache

DAY_S = 86_400.0


@pytest.fixture
async def port(cache: Cache) -> CoordinationContext:
    return port_of(cache)


class Days:
    """A store of this process on a clock that the test turns."""

    def __init__(self) -> None:
        self.environment = FakeEnvironment(seed=7)
        self.store = LocalBackend(self.environment)
        self.port = CoordinationContext(self.store, PlainKeys(), self.environment)

    def pass_by(self, seconds: float) -> None:
        self.environment.advance(seconds)

    def keys(self) -> int:
        return len(self.store.keyspace._values)


async def _left(port: CoordinationContext, *keys: str) -> list[float]:
    return [await port.call("PTTL", key) / 1000 for key in keys]


async def test_a_lock_that_was_released_leaves_a_state_that_expires(port: CoordinationContext) -> None:
    """One lock a job: 650 bytes of each stayed for ever on a server that must not evict."""
    locks = Locks(port)
    async with locks.acquire("job-1", tenant_id="acme"):
        pass
    [state] = await _left(port, locks._keys("job-1", "acme")[1])
    assert DAY_S - 60 < state < 2.1 * DAY_S
    assert [await port.call("EXISTS", key) for key in locks._keys("job-1", "acme")] == [0, 1, 0, 0]


async def test_a_fence_never_goes_back_when_the_state_was_forgotten() -> None:
    days = Days()
    locks = Locks(days.port)

    async def fence() -> int:
        given = await locks.try_acquire("l", tenant_id="t", token="me")
        assert given is not None
        await locks.release("l", tenant_id="t", token="me")
        return given

    fences = [await fence()]
    state = locks._keys("l", "t")[1]
    # Failovers have put the count far ahead of the clock: the state stays until the clock has overtaken it.
    await days.port.call("HSET", state, "f", fences[0] + int(10 * DAY_S * 1_000_000))
    for pause_s in (0, 1, 9 * DAY_S, 2 * DAY_S, 12 * DAY_S):
        days.pass_by(pause_s)
        fences.append(await fence())
    assert fences == sorted(set(fences))
    days.pass_by(30 * DAY_S)
    assert await days.port.call("EXISTS", state) == 0


async def test_a_lock_that_is_held_for_days_keeps_its_fence() -> None:
    days = Days()
    locks = Locks(days.port)
    given = await locks.try_acquire("l", tenant_id="t", token="me", ttl_s=3600)
    for _ in range(24 * 4):
        days.pass_by(3000)
        assert await locks.renew("l", tenant_id="t", token="me", ttl_s=3600)
    assert await locks.try_acquire("l", tenant_id="t", token="me", ttl_s=3600) == given


async def test_a_line_of_the_dead_is_forgotten() -> None:
    days = Days()
    keys = Locks(days.port)._keys("l", "t")
    from alacena.coordination.lock_acquisition import ACQUIRE

    for token in ("holder", "dead"):
        async with days.store.listen(f"bell:{token}"):
            await days.port.run(ACQUIRE, keys, [token, 30_000, 15_000, 6_000, "bell:"])
    assert [await days.port.call("EXISTS", key) for key in keys] == [1, 1, 1, 1]
    days.pass_by(100)
    assert [await days.port.call("EXISTS", key) for key in keys] == [0, 1, 0, 0]


async def test_a_queue_that_was_emptied_expires_and_one_that_holds_anything_does_not(port: CoordinationContext) -> None:
    queue = Queues(port, fair=False)("batch-7", tenant_id="acme", max_attempts=1)
    data, *_, done = queue._keys
    await queue.push("v", "1")
    assert await _left(port, data) == [-0.001]
    [item] = await queue.reserve()
    await item.ack()
    assert all(DAY_S - 60 < left <= DAY_S for left in await _left(port, data, done))
    await queue.push_many(["later", "now"], ids=["2", "3"], delay_s=60)
    assert await _left(port, data, done) == [-0.001, -0.001]
    await queue.push("dies", "4")
    for item in await queue.reserve(5):
        await item.nack()
    assert await _left(port, data) == [-0.001]
    assert await queue.push("v", "1") == "1"
    assert await _left(port, data) == [-0.001]


async def test_discarding_the_last_dead_letter_lets_the_queue_expire(port: CoordinationContext) -> None:
    queue = Queues(port, fair=False)("q", tenant_id="acme", max_attempts=1)
    await queue.push("v", "1")
    [item] = await queue.reserve()
    await item.nack()
    await queue.discard()
    assert all(0 < left <= DAY_S for left in await _left(port, queue._data))


async def test_a_queue_begins_anew_after_it_was_forgotten() -> None:
    days = Days()
    queue = Queues(days.port, fair=False)("q", tenant_id="t")
    await queue.push("v", "1")
    await (await queue.reserve())[0].ack()
    days.pass_by(DAY_S + 1)
    assert (await queue.push("v", "1")).outcome == "taken"
    stats = await queue.stats()
    assert (stats.pushed, stats.ready, stats.acked) == (1, 1, 0)
    days.pass_by(100 * DAY_S)
    assert len(await queue.reserve()) == 1


async def test_a_budget_that_nobody_uses_is_forgotten_when_it_was_said(port: CoordinationContext) -> None:
    forever = Budgets(port)("trial", tenant_id="acme", limit=10, keep_s=None)
    request = Budgets(port)("request-7", tenant_id="acme", limit=10, keep_s=3600)
    plain = Budgets(port)("tokens", tenant_id="acme", limit=10)
    for budget in (forever, request, plain):
        async with await budget.reserve(5) as reservation:
            await reservation.commit(5)
    assert await _left(port, forever._keys[0]) == [-0.001]
    assert all(3_500 < left <= 3_600 for left in await _left(port, request._keys[0], request._keys[2]))
    assert all(399 * DAY_S < left <= 400 * DAY_S for left in await _left(port, plain._keys[0], plain._keys[2]))


async def test_an_index_that_is_not_used_is_forgotten_and_a_tenant_struck_off_leaves_nothing(
    port: CoordinationContext,
) -> None:
    queues = Queues(port)
    await queues("q", tenant_id="acme").push("v")
    index = queues._ready_tenants("q")
    assert index is not None
    assert all(89 * DAY_S < left <= 90 * DAY_S for left in await _left(port, *index._keys))
    [turn], _ = await index.turns(5)
    index._idle["acme"] = 100
    await index.put_off(turn, None)
    assert await port.call("HGETALL", index._keys[1]) == {}
    assert await port.call("ZCARD", index._keys[0]) == 0


async def test_what_a_process_knows_of_tenants_and_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 tenants, each once: a process remembered every one of them."""
    monkeypatch.setattr("alacena.coordination.ready_tenants._MOST_KNOWN", 10)
    monkeypatch.setattr("alacena.coordination.queues._MOST_INDEXES", 10)
    days = Days()
    queues = Queues(days.port)
    for number in range(50):
        await queues("q", tenant_id=f"t{number}").push("v")
        queues(f"batch-{number}", tenant_id="t")
    index = queues._ready_tenants("q")
    assert index is not None
    assert len(index._ensured) <= 10
    assert len(queues._indexes) <= 10
    view = queues.any("q")
    taken = [await view.reserve(100) for _ in range(10)]
    assert sum(map(len, taken)) == 50
    assert len(index._idle) <= 10


async def test_the_store_of_a_process_clears_away_what_expired() -> None:
    days = Days()
    limits, counters = Limits(days.port), Counters(days.port)
    for number in range(500):
        await limits.token_bucket("rpm", tenant_id=f"t{number}", rate_per_s=1_000, burst=1)
        await counters.increment("c", tenant_id="t", idempotency_id=f"i{number}", remember_s=5)
        await counters.increment(f"d{number}", tenant_id="t", ttl_s=5)
        await counters.increment(f"d{number}", tenant_id="t", ttl_s=3)
        days.pass_by(0.02)
    assert days.keys() < 600
    days.pass_by(10)
    for _ in range(100):
        await counters.get("c", tenant_id="t")
    assert days.keys() == 1


async def test_a_write_that_has_ended_leaves_nothing_behind(cache: Cache, mode: str) -> None:
    for number in range(50):
        async with cache.write("acme", ("document", f"d{number}")):
            pass
    tier: Any = cache._parts.remote  # type: ignore[union-attr]
    if mode == "memory":
        assert tier._holds == {}
